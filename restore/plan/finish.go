// SPDX-License-Identifier: Apache-2.0

package plan

import "github.com/pidgraft/pidgraft/forest"

// finish ends the helpers, gives the tasks what they can only get once
// everybody is in place, and lets those end that have ended.
func (p *planner) finish() {
	for i := int32(0); i < p.tasks; i++ {
		p.takeNamespace(i)
	}
	p.writeCursors()
	for n := int32(len(p.nodes)) - 1; n >= p.tasks; n-- {
		if n != p.holder && !p.nodes[n].ended {
			p.endHelper(n)
		}
	}
	// Joining a user namespace in the order of the namespaces, parents
	// first: the first member of each must be there before the others.
	for i := int32(0); i < p.tasks; i++ {
		p.attributes(i)
	}
	for u := range p.firsts {
		if u > 0 && p.firsts[u] != none {
			p.joinUser(p.firsts[u])
		}
	}
	for i := int32(0); i < p.tasks; i++ {
		if u := p.f.Tasks[i].UserNamespace; u > 0 && p.firsts[u] != i {
			p.joinUser(i)
		}
	}
	for i := int32(0); i < p.tasks; i++ {
		p.lastAttributes(i)
	}
	p.fence()
	for i := int32(0); i < p.tasks; i++ {
		p.end(i)
	}
	p.rest()
}

// endHelper ends a helper that has done its work: its children by adoption
// (an entrant's) go on, and its parent reaps it.
func (p *planner) endHelper(n int32) {
	nd := &p.nodes[n]
	parent := nd.curParent
	if nd.role == RoleEntrant {
		init := p.nodeOf(p.x.Init(int(nd.ns)))
		p.nodes[init].arrivedKids = p.endInto(n, init)
		return
	}
	after := append(append([]Ref(nil), p.joins[nd.tag]...), p.holders[n]...)
	if nd.tag == 0 {
		after = append(after, p.joins[nd.group]...) // it kept a group alive
	}
	end := p.do(n, Op{Code: ExitGroup, Child: none}, after...)
	nd.ended = true
	if parent == none { // an outsider, which the restorer collects
		p.deaths = append(p.deaths, end)
		return
	}
	p.reap(parent, n)
	p.discard(parent, nd.signal)
}

// attributes plans what a task sets on itself before it may lose its
// capabilities.
func (p *planner) attributes(i int32) {
	t := &p.f.Tasks[i]
	if t.Subreaper && t.IsLeader() {
		p.do(i, Op{Code: Subreaper, Child: none, Number: 1}, p.lastAdoption)
	}
}

// lastAttributes plans what a task does as what it is in the end.
func (p *planner) lastAttributes(i int32) {
	t := &p.f.Tasks[i]
	if ns := t.ChildNamespace; ns != forest.SameNamespace && !t.State.Exited() &&
		p.f.Namespaces[ns].State == forest.Empty && p.f.Namespaces[ns].Owner != 0 {
		if p.f.Namespaces[ns].Owner != t.UserNamespace {
			p.unsupported(i, "the empty namespace it holds is owned by another user namespace than its own")
			return
		}
		p.do(i, Op{Code: UnsharePID, Child: none, Number: int32(ns)})
	}
	if t.State.Exited() {
		p.setIDs(i)
	}
}

// writeCursors puts the id cursors where they were; births that name their
// number do not move them (kernel-rules 3). A pid_max is written last, after
// every birth: it may be below numbers in use (kernel-rules 4).
func (p *planner) writeCursors() {
	for ns := range p.f.Namespaces {
		n := &p.f.Namespaces[ns]
		if n.State == forest.Empty || n.Cursor == 0 && (n.PidMax == 0 || n.PidMax == defaultOwnPidMax) {
			continue
		}
		by := p.writer(int32(ns))
		if by == none || len(p.refusals) > 0 {
			continue
		}
		if n.Cursor > 0 {
			p.do(by, Op{Code: Cursor, Child: none, Number: int32(n.Cursor - 1)}, p.lastUnnamed)
		}
		if n.PidMax != 0 && n.PidMax != defaultOwnPidMax {
			p.do(by, Op{Code: PidMax, Child: none, Number: int32(n.PidMax)}, p.births()...)
		}
	}
}

// births are the last Clone of every actor.
func (p *planner) births() []Ref {
	var refs []Ref
	for a := range p.plan.Actors {
		ops := p.plan.Actors[a].Ops
		for i := len(ops) - 1; i >= 0; i-- {
			if ops[i].Code == Clone {
				refs = append(refs, Ref{int32(a), int32(i)})
				break
			}
		}
	}
	return refs
}

// rest ends the programs of all that stay. Stops come last of all, after every
// death: one could send SIGCONT to those that are stopped (kernel-rules 22).
// Who stops others holds after them, so this goes from the leaves up.
func (p *planner) rest() {
	p.fenceStops()
	for i := p.tasks - 1; i >= 0; i-- {
		if p.f.Tasks[i].State.Exited() {
			continue
		}
		p.setPdeath(i)
		p.stopChildren(i)
		p.nodes[i].held = p.do(i, Op{Code: Hold, Child: none})
	}
	if p.holder != none {
		p.stopChildren(p.holder)
	}
	if p.holder != none {
		p.do(p.holder, Op{Code: Serve, Child: none})
	}
	p.doAs(Restorer, Op{Code: End, Child: none})
}
