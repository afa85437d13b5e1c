// SPDX-License-Identifier: Apache-2.0

package plan

import "github.com/pidgraft/pidgraft/forest"

// takeNamespace plans where the next child of i would be born. All births are
// over by then; what dies with its namespace is still alive.
func (p *planner) takeNamespace(i int32) {
	t := &p.f.Tasks[i]
	ns := t.ChildNamespace
	if ns == forest.SameNamespace || t.State.Exited() {
		return
	}
	state, owner := p.f.Namespaces[ns].State, p.f.Namespaces[ns].Owner
	if state == forest.Empty || state == forest.Spoilt {
		if p.owns(p.now(i).user, owner) {
			p.joinUser(i, owner)
		}
		if int(p.now(i).user) != owner || int(p.nodes[i].ns) != p.f.Namespaces[ns].Parent {
			p.unsupported(i, "the %s namespace that it holds is owned by a user namespace that it cannot be in", state)
			return
		}
		p.do(i, Op{Code: UnsharePID, Child: none, Number: int32(ns)})
		if state == forest.Spoilt {
			p.spoil(i, int32(ns))
		}
		return
	}
	if p.absent(int32(ns)); len(p.refusals) > 0 {
		return
	}
	init := p.initOf(int32(ns))
	if init == none {
		if init = p.bearDead(int32(ns)); init == none {
			return
		}
	}
	if !p.owns(p.now(i).user, owner) {
		p.unsupported(i, "its children would be born in a namespace that it has no rights in any more")
		return
	}
	p.takePID(i, init)
}

// spoil makes the empty namespace ns, which i has for its children, one that
// takes none. Its id cursor says how many tried. Numbers that nobody gets are
// named if that never moved, as far as i can, so that no other cursor moves.
func (p *planner) spoil(i, ns int32) {
	op := Op{Code: Spoil, Child: none, Number: 1}
	at := int32(p.f.Namespaces[ns].Parent)
	if tries := p.f.Namespaces[ns].Cursor; tries > 0 {
		op.Number = int32(tries) - 1
	} else {
		op.Numbers = append(op.Numbers, 1)
	}
	for ; op.Numbers != nil && at >= 0 && p.owns(p.now(i).user, p.f.Namespaces[at].Owner); at = int32(p.f.Namespaces[at].Parent) {
		op.Numbers = append(op.Numbers, p.takeNumber(at))
	}
	after, unnamed := p.lastUnnamed, at >= 0
	for ; at >= 0; at = int32(p.f.Namespaces[at].Parent) {
		if !p.cursorMoves(at) {
			p.unsupported(i, "the spoilt namespace that it holds moved the id cursor of namespace %s, which nobody could undo", p.nsName(at))
			return
		}
	}
	if done := p.do(i, op, after); unnamed {
		p.lastUnnamed = done
	}
}

// initOf is the node that is number 1 of namespace ns, or none.
func (p *planner) initOf(ns int32) int32 {
	if n, ok := p.deadInits[ns]; ok {
		return n
	}
	if n, ok := p.wardens[ns]; ok {
		return n
	}
	return p.nodeOf(p.x.Init(int(ns)))
}

// bearDead makes namespace ns, in which nobody is any more, with an init that
// ends when everybody has taken the namespace.
func (p *planner) bearDead(ns int32) int32 {
	parent := int32(p.f.Namespaces[ns].Parent)
	if p.absent(parent); len(p.refusals) > 0 {
		return none
	}
	if p.initOf(parent) == none && parent != 0 && p.bearDead(parent) == none {
		return none
	}
	d := p.fromOutside(int32(p.f.Namespaces[ns].Parent), "makes a namespace that is left dead")
	if p.joinUser(d, p.f.Namespaces[ns].Owner); len(p.refusals) > 0 {
		return none
	}
	n := p.helper(RoleHelper, ns, 0, "is the init of a namespace that is left dead")
	nd := &p.nodes[n]
	nd.numbers[len(nd.numbers)-1] = 1
	nd.session, nd.group = p.now(d).curSession, p.now(d).curGroup
	if p.birth(d, n, 0); len(p.refusals) > 0 {
		return none
	}
	p.deadInits[ns] = n
	return n
}
