// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/pidgraft/pidgraft/collector"
)

// A tree of tasks, of which the programs showed those of the subtree and the
// undecided; afterwards just those of the subtree are left.
func TestDropOutsiders(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const root = 1
		n := rapid.IntRange(1, 60).Draw(t, "tasks")
		bound := rapid.IntRange(1, 5).Draw(t, "bound")
		parent := map[collector.ID]collector.ID{}
		leader := map[collector.ID]collector.ID{}
		// Task 0 is nobody; -1, as an ID, is the first of the machine.
		const machine = ^collector.ID(0)
		ids := []collector.ID{machine}
		for i := range n {
			id := collector.ID(i + 1)
			of := ids[rapid.IntRange(0, len(ids)-1).Draw(t, "parent")]
			parent[id], leader[id] = of, id
			if of != machine && id != root && rapid.IntRange(0, 3).Draw(t, "thread") == 0 {
				leader[id], parent[id] = leader[of], parent[leader[of]]
			}
			ids = append(ids, id)
		}
		member := func(id collector.ID, steps int) (inside, decided bool) {
			for range steps {
				id = leader[id]
				if id == root {
					return true, true
				}
				if id = parent[id]; id == machine || id == 0 {
					return false, true
				}
			}
			return false, false
		}
		s := &collector.Snapshot{}
		undecided := map[collector.ID]bool{}
		want := map[collector.ID]bool{}
		for _, id := range ids[1:] {
			if inside, _ := member(id, n+2); inside {
				want[id] = true
			}
			inside, decided := member(id, bound)
			if decided && !inside {
				continue
			}
			undecided[id] = !decided
			s.Tasks = append(s.Tasks, collector.Task{ID: id, GroupLeader: leader[id], RealParent: parent[id]})
		}
		for id, u := range undecided {
			if !u {
				delete(undecided, id)
			}
		}
		dropOutsiders(s, undecided)
		if len(s.Tasks) != len(want) {
			t.Fatalf("%d tasks are left, want %d", len(s.Tasks), len(want))
		}
		for _, task := range s.Tasks {
			if !want[task.ID] {
				t.Fatalf("task %d is left", task.ID)
			}
		}
	})
}

// Parents read without locks can form a ring.
func TestDropOutsidersRing(t *testing.T) {
	s := &collector.Snapshot{Tasks: []collector.Task{
		{ID: 1, GroupLeader: 1, RealParent: 2},
		{ID: 2, GroupLeader: 2, RealParent: 1},
	}}
	dropOutsiders(s, map[collector.ID]bool{1: true, 2: true})
	if len(s.Tasks) != 0 {
		t.Errorf("%d tasks are left, want none", len(s.Tasks))
	}
}
