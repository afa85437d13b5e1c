// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	"github.com/pidgraft/pidgraft/forest"
)

// finish ends the helpers, gives the tasks what they can only get once
// everybody is in place, and lets those end that have ended.
func (p *planner) finish() {
	p.man()
	for i := int32(0); i < p.tasks; i++ {
		p.makeUser(p.f.Tasks[i].UserNamespace)
		p.takeNamespace(i)
	}
	p.writeCursors()
	p.bearWaited()
	if len(p.refusals) > 0 {
		return
	}
	p.execute()
	p.endHelpers()
	for i := int32(0); i < p.tasks; i++ {
		p.attributes(i)
	}
	for i := int32(0); i < p.tasks; i++ {
		p.joinUser(i, p.f.Tasks[i].UserNamespace)
		if p.f.Tasks[i].State.Exited() {
			p.setIDs(i)
		}
	}
	p.fence()
	for i := int32(0); i < p.tasks; i++ {
		p.end(i)
	}
	p.endWaited()
	if p.endStopping(); len(p.refusals) > 0 {
		return
	}
	if p.beside != none && !p.stays() {
		p.endHelper(p.beside)
	}
	p.rest()
}

// endHelpers ends all helpers that have not ended, children first.
func (p *planner) endHelpers() {
	kids := make(map[int32][]int32)
	for n := p.tasks; n < int32(len(p.nodes)); n++ {
		kids[p.nodes[n].curParent] = append(kids[p.nodes[n].curParent], n)
	}
	var end func(n int32)
	end = func(n int32) {
		for _, k := range kids[n] {
			end(k)
		}
		delete(kids, n)
		if n != p.holder && n != p.mourner && n != p.beside && !p.nodes[n].ended {
			p.endHelper(n)
		}
	}
	for n := int32(len(p.nodes)) - 1; n >= p.tasks; n-- {
		end(n)
	}
}

// helperNeeds is what helper n must live for: joins of the group that it leads
// or keeps alive, and of its namespace.
func (p *planner) helperNeeds(n int32) []Ref {
	nd := &p.nodes[n]
	after := append(slices.Clone(p.joins[nd.tag]), p.holders[n]...)
	if nd.tag == 0 {
		after = append(after, p.joins[nd.group]...)
	}
	return after
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
	nd.ended = true
	if (nd.signal == sigKill || nd.signal == sigStop) && parent != none && !p.isInit(p.nodes[parent].leader) {
		p.do(n, Op{Code: Exec, Child: none}, nd.changed) // its end is told by SIGCHLD then
		nd.signal = forest.SIGCHLD
	}
	end := p.do(n, Op{Code: ExitGroup, Child: none}, append(p.helperNeeds(n), p.executedBy(parent))...)
	if parent == none { // an outsider, which the restorer collects
		p.deaths = append(p.deaths, end)
		return
	}
	gone := p.reap(parent, n)
	if parent == p.beside { // the ends of the inits around it come after it
		for ns := int(nd.ns); ns >= 0; ns = p.f.Namespaces[ns].Parent {
			if init := p.initOf(int32(ns)); init != none {
				p.holders[init] = append(p.holders[init], gone)
			}
		}
	}
	p.discard(parent, n)
}

// endWithParent ends helper n at once if its parent is about to die.
func (p *planner) endWithParent(n int32) {
	if parent := p.nodes[n].curParent; p.nodes[parent].passing {
		p.endHelper(n)
	}
}

// attributes plans what a task sets on itself before it may lose its
// capabilities.
func (p *planner) attributes(i int32) {
	t := &p.f.Tasks[i]
	if t.Subreaper && t.IsLeader() {
		p.do(i, Op{Code: Subreaper, Child: none, Number: 1}, p.lastAdoption)
	}
}

// rest ends the programs of all that stay. Stops come last of all, after every
// death: one could send SIGCONT to those that are stopped (kernel-rules 22).
// Who stops others holds after them, so this goes from the leaves up.
func (p *planner) rest() {
	p.fenceStops()
	for i := p.tasks - 1; i >= 0; i-- {
		if i == p.nodes[0].end-1 && p.beside != none { // those that entered all hold
			p.stopChildren(p.beside)
			p.dismiss(p.beside)
		}
		if s := p.f.Tasks[i].State; s.Exited() || s == forest.ExitingInit {
			continue
		}
		p.setPdeath(i)
		p.stopChildren(i)
		p.dismiss(i)
		p.nodes[i].held = p.do(i, Op{Code: Hold, Child: none})
	}
	if p.holder != none {
		p.stopChildren(p.holder)
		p.dismiss(p.holder)
		p.do(p.holder, Op{Code: Serve, Child: none})
	}
	if p.mourner != none {
		p.do(p.mourner, Op{Code: Serve, Child: none})
	}
	if p.stays() {
		p.do(p.beside, Op{Code: Stay, Child: none})
	}
	p.holdWardens()
	p.endExiting()
	p.stopRoot()
	p.doAs(Restorer, Op{Code: End, Child: none})
}
