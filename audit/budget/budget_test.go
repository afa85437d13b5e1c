// SPDX-License-Identifier: Apache-2.0

package budget

import (
	"testing"

	"github.com/pidgraft/pidgraft/audit/event"
	"github.com/pidgraft/pidgraft/audit/state"
	"github.com/pidgraft/pidgraft/collector"
)

// put adds a task with a number in the outer namespace and, if inner is not 0,
// one in the namespace below.
func put(s *state.State, kind event.Kind, nr, inner int32) {
	e := event.Task{
		ID: collector.ID(nr), StartTime: 1, Pid: collector.ID(nr + 1000), Process: collector.ID(nr + 1000),
		Group: 1001, Session: 1001, Parent: 1,
		Numbers: []event.Number{{Nr: nr, Inode: 1, Namespace: 11}},
	}
	if inner != 0 {
		e.Numbers = append(e.Numbers, event.Number{Nr: inner, Inode: 2, Namespace: 22})
	}
	s.Apply(event.Event{Kind: kind, Task: e})
}

func TestBudgets(t *testing.T) {
	s := state.New(0)
	for nr := int32(1); nr <= 10; nr++ {
		put(s, event.Refresh, nr, 0)
	}
	for nr := int32(11); nr <= 15; nr++ {
		put(s, event.Refresh, nr, nr-10)
	}
	kernel := []collector.Namespace{
		{ID: 11, Inode: 1, Cursor: 900, PidMax: 1000},
		{ID: 22, Inode: 2, Cursor: 6, PidMax: 4000},
	}
	tr := Tracker{PidMax: 32768}
	all := tr.Budgets(s, kernel, 1e9)
	if len(all) != 2 {
		t.Fatalf("%d budgets", len(all))
	}
	outer, inner := all[0], all[1]
	if outer.Allocated != 15 || outer.Tasks != 15 || outer.Processes != 15 || outer.Births != 0 || outer.Left != 1000-300-15 || outer.BoundBy.Inode != 1 || outer.WrapIn != -1 {
		t.Errorf("outer %+v", outer)
	}
	// It has more numbers of its own than the one above has left.
	if inner.Allocated != 5 || inner.Processes != 5 || inner.Left != outer.Left || inner.BoundBy.Inode != 1 || inner.PidMax != 4000 {
		t.Errorf("inner %+v", inner)
	}
	if c := outer.Consumers; len(c) != 1 || c[0].Process.Object.Nr != 1 || c[0].Children != 14 || c[0].Threads != 1 {
		t.Errorf("consumers %+v", c)
	}

	// Two seconds and ten births later.
	for nr := int32(16); nr <= 25; nr++ {
		put(s, event.Birth, nr, nr-10)
	}
	all = tr.Budgets(s, kernel, 3e9)
	outer, inner = all[0], all[1]
	if outer.Churn != 5 || inner.Churn != 5 {
		t.Errorf("churn %v and %v", outer.Churn, inner.Churn)
	}
	if outer.WrapIn != 100.0/5 || inner.WrapIn != (4000-6)/5.0 || outer.ExhaustedIn != float64(1000-300-25)/5 {
		t.Errorf("wraps in %v and %v, exhausted in %v", outer.WrapIn, inner.WrapIn, outer.ExhaustedIn)
	}
	if outer.Used() < 0.025 || outer.Used() > 0.026 {
		t.Errorf("used %v", outer.Used())
	}

	// A namespace that is not known of has nothing to tell, and a kernel without
	// pid_max of namespaces has that of the machine.
	all = tr.Budgets(s, nil, 4e9)
	if all[0].PidMax != 32768 || all[0].Cursor != 0 || all[0].WrapIn != -1 {
		t.Errorf("unknown %+v", all[0])
	}
}
