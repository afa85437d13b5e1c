// SPDX-License-Identifier: Apache-2.0

package forest_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/forest/foresttest"
)

// TestIndexAgreesWithSearch compares the index with plain searches.
func TestIndexAgreesWithSearch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := foresttest.Random(t)
		x := forest.NewIndex(f)
		search := func(is func(*forest.Task) bool) []int32 {
			var found []int32
			for i := range f.Tasks {
				if is(&f.Tasks[i]) {
					found = append(found, int32(i))
				}
			}
			return found
		}
		check := func(what string, of any, got, want []int32) {
			if !slices.Equal(got, want) {
				t.Fatalf("%s of %v: %v, want %v", what, of, got, want)
			}
		}
		var ghosts []forest.Tag
		tags := []forest.Tag{forest.Outside, forest.Null, forest.Inherited}
		for i := range f.Pids {
			tags = append(tags, forest.Tag(i+1))
		}
		for _, tag := range tags {
			check("group", tag, x.Group(tag), search(func(t *forest.Task) bool { return t.IsLeader() && t.PGID == tag }))
			check("session", tag, x.Session(tag), search(func(t *forest.Task) bool { return t.IsLeader() && t.SID == tag }))
			carriers := search(func(t *forest.Task) bool { return t.Pid == tag })
			if len(carriers) == 0 {
				carriers = []int32{forest.None}
				if tag.IsPid() {
					ghosts = append(ghosts, tag)
				}
			}
			check("task", tag, []int32{int32(x.TaskOf(tag))}, carriers)
		}
		if !slices.Equal(x.Ghosts(), ghosts) {
			t.Fatalf("ghosts: %v, want %v", x.Ghosts(), ghosts)
		}
		for i := range f.Tasks {
			me := &f.Tasks[i]
			check("children", i, x.Children(i), search(func(t *forest.Task) bool { return t.IsLeader() && t.ParentThread == me.Pid }))
			var threads []int32
			if me.IsLeader() {
				threads = search(func(t *forest.Task) bool { return t.TGID == me.TGID })
			}
			check("threads", i, x.Threads(i), threads)
			if f.Tasks[x.Leader(i)].Pid != me.TGID {
				t.Fatalf("leader of %d is %d", i, x.Leader(i))
			}
		}
		check("tops", "the forest", x.Tops(), search(func(t *forest.Task) bool { return t.IsLeader() && t.Parent == forest.Outside }))
		for ns := range f.Namespaces {
			want := forest.Outside
			for i := range f.Pids {
				if f.Pids[i].Namespace == ns && f.Pids[i].Number() == 1 {
					want = forest.Tag(i + 1)
				}
			}
			if x.Init(ns) != want {
				t.Fatalf("init of %d: %v, want %v", ns, x.Init(ns), want)
			}
		}
	})
}

func TestNames(t *testing.T) {
	f := foresttest.Sample()
	for got, want := range map[string]string{
		f.TaskName(3):                    `task 19 (vi \xff\"\n)`,
		f.TaskName(5):                    "task 12/2/1 (sandbox)",
		f.TagName(forest.Inherited):      "inherited",
		f.TagName(6):                     "18/1",
		f.TagName(99):                    "#99",
		forest.StatusText(3 << 8):        "exit code 3",
		forest.StatusText(9):             "signal 9",
		forest.StatusText(0x8b):          "signal 11 (core dumped)",
		forest.Escape("a\x1b[31m\u202e"): `a\x1b[31m\u202e`,
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
