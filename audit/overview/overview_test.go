// SPDX-License-Identifier: Apache-2.0

package overview

import (
	"testing"

	"github.com/pidgraft/pidgraft/audit/budget"
	"github.com/pidgraft/pidgraft/audit/event"
	"github.com/pidgraft/pidgraft/audit/record"
	"github.com/pidgraft/pidgraft/audit/state"
	"github.com/pidgraft/pidgraft/collector"
)

// put adds a process, its session's and its parent's by number, to the machine
// or, if inner is not 0, to the namespace below.
func put(s *state.State, nr, inner, session, parent int32) {
	e := event.Task{
		ID: collector.ID(nr), StartTime: 1, Pid: collector.ID(nr + 100000), Process: collector.ID(nr + 100000),
		Group: collector.ID(nr + 100000), Session: collector.ID(session + 100000), Parent: collector.ID(parent), Comm: "t",
		Numbers: []event.Number{{Nr: nr, Inode: 1, Namespace: 11}},
	}
	if inner != 0 {
		e.Numbers = append(e.Numbers, event.Number{Nr: inner, Inode: 2, Namespace: 22})
	}
	s.Apply(event.Event{Kind: event.Refresh, Task: e})
}

func TestGrow(t *testing.T) {
	s := state.New(0)
	put(s, 1, 0, 1, 0)
	put(s, 2, 1, 2, 1)
	put(s, 3, 2, 3, 2)
	put(s, 4, 3, 3, 3)
	s.Remove(3, 1) // session 3 has lost its leader
	for nr := int32(10); nr < 10+maxProcesses; nr++ {
		put(s, nr, 0, 1, 1)
	}
	budgets := (&budget.Tracker{}).Budgets(s, nil, 1)
	namespaces := make([]Namespace, len(budgets))
	for i, b := range budgets {
		namespaces[i].Budget = record.OfBudget(b)
	}
	grow(s, budgets, namespaces)
	outer, inner := namespaces[0].Forest, namespaces[1].Forest
	if len(outer.Processes) != maxProcesses || outer.OmittedProcesses != 1 || len(outer.Ghosts) != 0 {
		t.Errorf("outside %d processes and %d omitted, %d ghosts", len(outer.Processes), outer.OmittedProcesses, len(outer.Ghosts))
	}
	if len(inner.Processes) != 2 || inner.Processes[0].Parent != 1 || inner.Processes[1].Session != 3 || inner.Processes[1].Parent != 0 {
		t.Errorf("inside %+v", inner.Processes)
	}
	if g := inner.Ghosts; len(g) != 1 || g[0].Number != 3 || g[0].Session != 1 || g[0].Group != 0 || len(g[0].Numbers) != 2 {
		t.Errorf("ghosts %+v", g)
	}
}

// There is no namespace twice, and of too many those with the most numbers stay.
func TestBounds(t *testing.T) {
	m := NewMaker(0)
	m.entries[7] = 3
	m.entries[maxNamespaces+5000] = 1
	var all []budget.Budget
	for i := range maxNamespaces + 10 {
		all = append(all, budget.Budget{Namespace: &state.Namespace{Inode: uint32(i + 1)}, Allocated: i + 2})
	}
	all = append(all, budget.Budget{Namespace: &state.Namespace{Inode: 500}, Allocated: 1})
	all = append(all, budget.Budget{Namespace: &state.Namespace{Inode: 7}, Allocated: 5000})
	var o Overview
	for _, b := range m.distinct(all) {
		o.Namespaces = append(o.Namespaces, Namespace{Budget: record.OfBudget(b)})
	}
	o.count(m)
	seen := map[uint32]int{}
	for _, ns := range o.Namespaces {
		seen[ns.Inode]++
	}
	if len(o.Namespaces) != maxNamespaces || len(seen) != maxNamespaces || o.Omitted != 10 || seen[1] != 0 || seen[7] != 1 || seen[500] != 1 {
		t.Errorf("%d namespaces, %d inodes, %d omitted", len(o.Namespaces), len(seen), o.Omitted)
	}
	if o.Entries[7] != 3 || len(m.entries) != 1 {
		t.Errorf("entries %v of %v", o.Entries[7], m.entries)
	}
	for range 3 * maxRecent {
		m.Record(&record.Record{Type: record.TypeLoss, Loss: &record.Loss{Count: 1}})
	}
	if len(m.recent) != maxRecent {
		t.Errorf("%d recent", len(m.recent))
	}
}
