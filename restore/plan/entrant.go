// SPDX-License-Identifier: Apache-2.0

package plan

import "github.com/pidgraft/pidgraft/forest"

// outsider is the process beside the new namespace that bears those that
// enter it from outside.
func (p *planner) outsider() int32 {
	if p.beside != none {
		return p.beside
	}
	n := int32(len(p.nodes))
	nd := p.blank(n, RoleOutsider)
	nd.ns, nd.why = outside, "bears those that enter from outside"
	nd.born, nd.curSession, nd.curGroup = true, forest.Inherited, forest.Inherited
	nd.session, nd.group = forest.Inherited, forest.Inherited
	p.nodes = append(p.nodes, nd)
	p.plan.Actors = append(p.plan.Actors, Actor{Role: nd.role, Task: none, Why: nd.why})
	p.plan.Births = append(p.plan.Births, Op{Code: Clone, Child: nd.actor, Signal: forest.SIGCHLD})
	p.beside = n
	return n
}

// outside is the namespace index of what is in none of the forest's.
const outside = -1

// birthplace is the namespace that the maker of k must live in, or enter with
// its children: that of k, or if k is an init the one around it.
func (p *planner) birthplace(k int32) int32 {
	ns := p.nodes[k].ns
	if p.isInit(k) {
		return int32(p.f.Namespaces[ns].Parent)
	}
	return ns
}

// entry is the init of the namespace that a must take for its children to
// bear k there, or none if it lives there itself.
func (p *planner) entry(a, k int32) int32 {
	want := p.birthplace(k)
	if p.nodes[a].ns == want {
		return none
	}
	init := none
	if want >= 0 {
		init = int(p.initOf(want))
		if want == 0 && p.holder != none {
			init = int(p.holder)
		}
	}
	switch {
	case init == none || !p.nodes[init].born:
		p.unsupported(k, "it entered namespace %s from outside before that had an init", p.nsName(want))
	case p.isInit(k):
		p.unsupported(k, "it is an init born in namespace %s of %s, which lives further out", p.nsName(want), p.name(a))
	case p.now(a).user != 0 || p.nodes[a].ns != outside && !p.f.Encloses(int(p.nodes[a].ns), int(want)):
		p.unsupported(k, "it was born in namespace %s of %s, which cannot enter it", p.nsName(want), p.name(a))
	}
	return int32(init)
}

// cloneInto plans a's Clone of k into the namespace of init, or if that is none
// into its own.
func (p *planner) cloneInto(a, k, init int32, op Op, after []Ref) Ref {
	if init != none {
		p.wantPidfd(init)
		held := p.do(a, Op{Code: JoinPID, Child: none, Via: p.nodes[init].actor}, p.nodes[init].cloned)
		p.holders[init] = append(p.holders[init], held)
	}
	if p.now(a).user == 0 {
		op.Numbers = p.innermostFirst(p.chain(k))
	} else {
		numbers, cursors := p.nameOuter(a, k)
		op.Numbers, after = numbers, append(after, cursors...)
	}
	ref := p.do(a, op, after...)
	if len(op.Numbers) < len(p.chain(k)) {
		p.lastUnnamed = ref
	}
	if init != none && p.nodes[a].role != RoleOutsider { // it has no children of its own
		back := p.do(a, Op{Code: JoinPID, Child: none, Via: p.nodes[a].actor})
		// It finds its own namespace through its leader.
		p.holders[p.nodes[a].leader] = append(p.holders[p.nodes[a].leader], back)
	}
	return ref
}
