// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"cmp"
	"errors"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/pidgraft/pidgraft/bpf"
	"github.com/pidgraft/pidgraft/collector"
	"github.com/pidgraft/pidgraft/internal/testforest"
)

// Where the idr cannot be walked the task iterator shows the same tasks of a
// container, in every field, and the same pid objects but for those that no task
// of it uses; and it finds the target as the look-up in the idr does.
func TestIteratorShowsWhatTheWalkShows(t *testing.T) {
	privileged(t)
	walk, iterate := loaders{}, loaders{}
	for _, sample := range testforest.Samples() {
		if sample.Subtree {
			continue
		}
		each := t
		t.Run(sample.Name, func(t *testing.T) {
			f := testforest.Start(t, sample.Script)
			target := Target{PID: f.Root(), Scope: Container, Unwatched: true}
			walking, iterating := walk.start(each, target), iterate.start(each, target)
			walked := snapshot(t, walking)
			if !walked.Walked {
				t.Fatalf("not walked: %v", walking.WalkError())
			}

			if find := iterating.coll.Programs[bpf.PidsProgFind]; find != nil {
				iterating.walkErr = errors.New("as if the idr could not be walked")
				if err := find.Close(); err != nil {
					t.Fatal(err)
				}
				delete(iterating.coll.Programs, bpf.PidsProgFind)
			}
			if err := iterating.find(); err != nil {
				t.Fatal(err)
			}
			if err := iterating.choose(f.Root()); err != nil {
				t.Fatal(err)
			}
			if iterating.target != walking.target {
				t.Errorf("target: found %+v by the iterator, %+v in the idr", iterating.target, walking.target)
			}
			iterated := snapshot(t, iterating)
			if iterated.Walked || iterated.IDR != nil || iterated.Root != walked.Root {
				t.Errorf("iterated: walked %t, root %#x; want root %#x", iterated.Walked, iterated.Root, walked.Root)
			}
			byID := func(a, b collector.Task) int { return cmp.Compare(a.ID, b.ID) }
			if diff := gocmp.Diff(slices.SortedFunc(slices.Values(walked.Tasks), byID),
				slices.SortedFunc(slices.Values(iterated.Tasks), byID)); diff != "" {
				t.Errorf("tasks (- walked, + iterated):\n%s", diff)
			}
			all := map[collector.ID]collector.Pid{}
			for _, p := range walked.Pids {
				all[p.ID] = p
			}
			for _, p := range iterated.Pids {
				if diff := gocmp.Diff(all[p.ID], p); diff != "" {
					t.Errorf("pid object (- walked, + iterated):\n%s", diff)
				}
			}
		})
	}
}
