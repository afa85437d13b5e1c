// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"slices"

	"github.com/pidgraft/pidgraft/collector"
)

// dropOutsiders decides about the tasks with more ancestors than the programs
// climb. Whoever belongs to the subtree has all his ancestors up to the root in
// the pass; so one whose ancestors lead to a task that is not there does not.
func dropOutsiders(s *collector.Snapshot, undecided map[collector.ID]bool) {
	if len(undecided) == 0 {
		return
	}
	tasks := make(map[collector.ID]*collector.Task, len(s.Tasks))
	for i := range s.Tasks {
		tasks[s.Tasks[i].ID] = &s.Tasks[i]
	}
	inside := make(map[collector.ID]bool, len(undecided))
	for id := range undecided {
		decide(id, tasks, undecided, inside)
	}
	s.Tasks = slices.DeleteFunc(s.Tasks, func(t collector.Task) bool {
		return undecided[t.ID] && !inside[t.ID]
	})
}

// decide climbs from a task to one that is decided, and notes what became of
// all those on the way.
func decide(id collector.ID, tasks map[collector.ID]*collector.Task, undecided, inside map[collector.ID]bool) {
	var way []collector.ID
	verdict := false
	// A chain read without locks could be a ring: no way is longer than all
	// tasks.
	for range len(tasks) + 1 {
		t := tasks[id]
		if t == nil {
			break
		}
		known, ok := inside[id]
		if !undecided[id] {
			known, ok = true, true
		}
		if ok {
			verdict = known
			break
		}
		way = append(way, id)
		if leader := tasks[t.GroupLeader]; leader != nil {
			t = leader
		}
		id = t.RealParent
	}
	for _, id := range way {
		inside[id] = verdict
	}
}
