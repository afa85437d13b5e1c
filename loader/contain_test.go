// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pidgraft/pidgraft/collector"
	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/internal/testforest"
)

// What a pass over the machine shows of a container is the forest that a pass over
// the container alone shows, with the same reasons against a dump.
func TestContain(t *testing.T) {
	privileged(t)
	machine, containers := start(t, Target{Scope: Machine, Unwatched: true}), loaders{}
	collect := func(t *testing.T, s *collector.Snapshot) (*forest.Forest, string) {
		t.Helper()
		f, err := collector.Collect(s, forest.Container, collector.Options{All: true})
		var refused collector.Refusals
		if err != nil && !errors.As(err, &refused) {
			t.Fatal(err)
		}
		return f, fmt.Sprint([]error(refused))
	}
	for _, sample := range append(testforest.Samples(), testforest.Sample{
		Name: "led from outside", Script: "outside fork init newpid\ninit setsid\noutside setns init pid\noutside fork entrant",
	}) {
		if sample.Subtree {
			continue
		}
		each := t
		t.Run(sample.Name, func(t *testing.T) {
			f := testforest.Start(t, sample.Script)
			whole := snapshot(t, machine)
			alone := snapshot(t, containers.start(each, Target{PID: f.Root(), Scope: Container}))
			contained, ok := whole.Contain(alone.Namespace)
			if !ok {
				t.Fatal("the container is not in the machine")
			}
			want, wantRefused := collect(t, alone)
			got, gotRefused := collect(t, contained)
			if diff := cmp.Diff(want, got); diff != "" || gotRefused != wantRefused {
				t.Errorf("refused %q and %q; - alone, + out of the machine:\n%s", wantRefused, gotRefused, diff)
			}
		})
	}
}
