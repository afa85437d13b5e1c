// SPDX-License-Identifier: Apache-2.0

package state

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/pidgraft/pidgraft/audit/event"
	"github.com/pidgraft/pidgraft/collector"
)

func task(id, pid collector.ID, numbers ...event.Number) event.Task {
	return event.Task{
		ID: id, StartTime: 1, Pid: pid, Numbers: numbers, Process: pid, Group: pid, Session: pid,
	}
}

// The address of a namespace and its inode can both be another one's, elsewhere
// in the tree, before anybody has told of the end of its tasks.
func TestNamespaceComesBack(t *testing.T) {
	top := func(nr int32) event.Number { return event.Number{Nr: nr, Inode: 1, Namespace: 0x10} }
	ns := func(nr int32) event.Number { return event.Number{Nr: nr, Inode: 2, Namespace: 0x20} }
	mid := func(nr int32) event.Number { return event.Number{Nr: nr, Inode: 3, Namespace: 0x30} }
	for name, again := range map[string][]event.Number{
		"deeper":                         {top(6), mid(1), ns(1)},
		"above itself":                   {top(6), ns(2), mid(1)},
		"shallower, and not what it was": {ns(1)},
		"another inode":                  {top(6), {Nr: 1, Inode: 9, Namespace: 0x20}},
	} {
		s := New(0)
		s.Put(task(1, 0x100, top(5), ns(1)))
		s.Put(task(2, 0x200, again...))
		if err := s.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if o := s.Object(0x200); o == nil || len(o.Numbers) != len(again) {
			t.Errorf("%s: %v", name, o)
		}
	}
}

// The session of a container's init can be led from outside. Whether its leader
// lives is not known, so it is no ghost.
func TestLedFromOutside(t *testing.T) {
	s, err := FromSnapshot(&collector.Snapshot{
		Namespace:  2,
		Namespaces: []collector.Namespace{{ID: 1, Inode: 11}, {ID: 2, Parent: 1, Level: 1, Inode: 22}},
		Tasks: []collector.Task{
			{ID: 5, StartTime: 1, Pid: 50, TGID: 50, PGID: 70, SID: 70},
			{ID: 6, StartTime: 1, Pid: 60, TGID: 60, PGID: 80, SID: 70},
		},
		Pids: []collector.Pid{
			{ID: 50, Namespace: 2, Level: 1, Numbers: []int32{100, 1}, HasPID: true, HasTGID: true},
			{ID: 60, Namespace: 2, Level: 1, Numbers: []int32{101, 2}, HasPID: true, HasTGID: true},
			{ID: 70, Namespace: 1, Numbers: []int32{99}, HasPID: true, HasTGID: true, HasPGID: true, HasSID: true},
			{ID: 80, Namespace: 2, Level: 1, Numbers: []int32{102, 3}, HasPGID: true},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if c := s.Counts(); c.Ghosts != 1 {
		t.Errorf("%d ghosts, want group 102/3 alone", c.Ghosts)
	}
	if s.Object(70).Ghost() || !s.Object(80).Ghost() {
		t.Errorf("70 is a ghost: %v, 80 is: %v", s.Object(70).Ghost(), s.Object(80).Ghost())
	}
}

// Whatever is put in, in whatever order, the state does not contradict itself,
// and nothing is left of it when all tasks are gone.
func TestStateHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := New(0)
		id := func(name string, n int) collector.ID {
			return collector.ID(rapid.IntRange(1, n).Draw(t, name))
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			kind := event.Kind(rapid.IntRange(int(event.Birth), int(event.Refresh)).Draw(t, "kind"))
			e := event.Task{
				ID: id("task", 8), StartTime: uint64(rapid.IntRange(1, 2).Draw(t, "start")), Pid: 100 * id("pid", 8),
				Process: 100 * id("process", 8), Group: 100 * id("group", 8), Session: 100 * id("session", 8),
				Parent: id("parent", 8),
			}
			for range rapid.IntRange(1, 4).Draw(t, "levels") {
				e.Numbers = append(e.Numbers, event.Number{
					Nr:        int32(rapid.IntRange(1, 4).Draw(t, "nr")),
					Inode:     uint32(rapid.IntRange(1, 2).Draw(t, "inode")),
					Namespace: 1000 * id("namespace", 4),
				})
			}
			if rapid.IntRange(0, 9).Draw(t, "released") == 0 {
				e.Pid = 0
			}
			s.Apply(event.Event{Kind: kind, Task: e})
			if err := s.Check(); err != nil {
				t.Fatal(err)
			}
		}
		for task := range s.Tasks() {
			s.Remove(task.ID, task.StartTime)
		}
		if c := s.Counts(); c != (Counts{}) || len(s.numbers) > 0 {
			t.Fatalf("left: %+v, %d numbers", c, len(s.numbers))
		}
	})
}
