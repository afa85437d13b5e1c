// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	"github.com/pidgraft/pidgraft/forest"
)

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
	birth := Op{Code: Clone, Child: nd.actor, Signal: forest.SIGCHLD}
	if p.opts.Place != nil {
		birth.Numbers = p.takeNumbers(0)
	}
	p.plan.Births = append(p.plan.Births, birth)
	p.beside = n
	return n
}

// entrants makes those that entered the root namespace from outside children
// of the outsider. Their order is not that of siblings.
func (p *planner) entrants() {
	tops := p.x.Tops()[1:]
	if len(tops) == 0 {
		return
	}
	by := p.outsider()
	p.nodes[by].kids = slices.Clone(tops)
	for _, k := range tops {
		p.nodes[k].parent = by
	}
}

// stays reports whether the outsider must stay as long as the forest: one of
// its children has what would be lost with its parent, or is a warden or what an
// init waits for.
func (p *planner) stays() bool {
	return p.beside != none && (len(p.wardens)+len(p.waited) > 0 || slices.ContainsFunc(p.nodes[p.beside].kids, func(k int32) bool {
		return p.f.Tasks[k].State == forest.Zombie || p.nodes[k].signal != forest.SIGCHLD || p.feelsDeath(k) || p.isStopped(k)
	}))
}

// nextEntrant puts a child of the outsider that can be born now next.
func (p *planner) nextEntrant() {
	nd := &p.nodes[p.beside]
	rest := nd.kids[nd.next[0]:]
	if i := slices.IndexFunc(rest, func(k int32) bool { return p.ready(p.beside, k) }); i > 0 {
		rest[0], rest[i] = rest[i], rest[0]
	}
}

// fromOutside makes a helper in namespace ns, by the outsider.
func (p *planner) fromOutside(ns int32, why string) int32 {
	return p.bornOf(p.outsider(), ns, why)
}

// bornOf makes a helper in namespace ns, by by.
func (p *planner) bornOf(by, ns int32, why string) int32 {
	h := p.helper(RoleHelper, ns, 0, why)
	hn := &p.nodes[h]
	hn.session, hn.group = p.now(by).curSession, p.now(by).curGroup
	p.birth(by, h, 0)
	return h
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
	case !p.comesTo(a, want):
		p.unsupported(k, "it was born in namespace %s of %s, which cannot enter it", p.nsName(want), p.name(a))
	}
	return int32(init)
}

// takePID lets n bear its next children in the namespace of init.
func (p *planner) takePID(n, init int32) Ref {
	since := p.nodes[init].cloned
	if p.now(n).user != 0 {
		since = p.keep(init)
	} else {
		p.wantPidfd(init)
	}
	done := p.do(n, Op{Code: JoinPID, Child: none, Via: p.nodes[init].actor}, since)
	p.holders[init] = append(p.holders[init], done)
	return done
}

// cloneInto plans a's Clone of k into the namespace of init, or if that is none
// into its own.
func (p *planner) cloneInto(a, k, init int32, op Op, after []Ref) Ref {
	switch takes := p.nodes[a].takes; {
	case init == takes:
	case init != none:
		p.takePID(a, init)
	default:
		p.do(a, Op{Code: JoinPID, Child: none, Via: p.nodes[a].actor})
	}
	p.nodes[a].takes = init
	if p.now(a).user == 0 {
		op.Numbers = p.innermostFirst(p.chain(k))
		if a == p.mourner && k == 0 {
			op.Numbers = append(op.Numbers, rootsNumber)
		}
	} else {
		numbers, cursors := p.nameOuter(a, k)
		op.Numbers, after = numbers, append(after, cursors...)
	}
	ref := p.do(a, op, after...)
	if len(op.Numbers) < len(p.chain(k)) {
		p.lastUnnamed = ref
	}
	if init != none && p.nodes[a].task != none { // helpers stay there
		back := p.do(a, Op{Code: JoinPID, Child: none, Via: p.nodes[a].actor})
		p.nodes[a].takes = none
		// It finds its own namespace through its leader.
		p.holders[p.nodes[a].leader] = append(p.holders[p.nodes[a].leader], back)
	}
	return ref
}

// bearFor makes the entrant that bears the children of init k, which is inside
// a nested user namespace, in its place: as a child of a, or if that is about to
// die, of its parent. It leaves all of them at once, by adoption. Children in a
// session that k leads can only be its own, and so can inits: their namespaces
// must belong to k's user namespace or one in it.
func (p *planner) bearFor(a, k int32) {
	kids := p.nodes[k].kids
	own := slices.ContainsFunc(kids, func(c int32) bool {
		return p.need(c) == p.nodes[k].tag || p.isInit(c) || p.nodes[c].signal != forest.SIGCHLD
	})
	if len(kids) == 0 || own || p.nodes[k].user == 0 || p.now(a).user != 0 || p.nodes[k].standIn != none {
		return
	}
	if p.nodes[a].passing {
		s := p.now(a).curSession
		if a = p.nodes[a].curParent; p.now(a).curSession != s {
			return
		}
	}
	e := p.helper(RoleEntrant, p.nodes[k].ns, 0, "bears the children of "+p.name(k)+" with all their numbers, which it could not, and leaves them to it")
	en := &p.nodes[e]
	en.parent, en.session, en.group = a, p.now(a).curSession, p.now(a).curGroup
	if g := p.birthGroup(kids[0]); g != 0 && p.need(kids[0]) == en.session { // another comes from elsewhere
		en.group = g
	}
	p.birth(a, e, 0)
	p.nodes[k].standIn = e
}

// leaveToInit ends the entrant in the place of init t, which adopts what it bore,
// helpers that have work to do included.
func (p *planner) leaveToInit(t int32) {
	e := p.nodes[t].standIn
	if e == none {
		return
	}
	done := p.endInto(e, t)
	p.nodes[t].standIn = none
	for _, k := range p.nodes[t].kids {
		if p.nodes[k].curParent == e {
			p.nodes[k].curParent, p.nodes[k].arrived = t, done
			p.offerCarrier(k)
		}
	}
	for _, h := range p.wards[e] {
		if hn := &p.nodes[h]; hn.curParent == e {
			hn.curParent, hn.arrived, hn.signal = t, done, forest.SIGCHLD
			p.offerCarrier(h)
		}
	}
}

// bearByEntrant bears child k of init t, which is inside a nested user namespace
// that k is not in, from outside.
func (p *planner) bearByEntrant(t, k int32) {
	if s := p.need(k); s > 0 && p.isInit(t) && !p.led(s) {
		if p.bearLate(k); len(p.refusals) > 0 {
			return
		}
	}
	by := p.sponsor(t, k)
	switch {
	case !p.isInit(t):
		p.unsupported(k, "it must be born before its parent %s enters its user namespace, and cannot be by then", p.name(t))
	case by == none:
		p.unsupported(k, "nobody outside its namespace is in its session and could bear it there")
	case p.canAdopt(t, t, k):
		p.handDown(by, t, k)
	}
}

// sponsor is somebody in the session that k needs, whose child can be born in
// the namespace of init t, bear k, and leave it to t: somebody who lives there or
// further out (kernel-rules 13); or none.
func (p *planner) sponsor(t, k int32) int32 {
	list := p.sponsors(t, k)
	if len(list) == 0 {
		return none
	}
	return list[p.choose(len(list))]
}

// sponsors are all that there are.
func (p *planner) sponsors(t, k int32) []int32 {
	if !p.isInit(t) {
		return nil
	}
	var list []int32
	add := func(n int32) {
		if p.mayBear(n, k) && !slices.Contains(list, n) && p.comesTo(n, p.nodes[t].ns) {
			list = append(list, n)
		}
	}
	s := p.need(k)
	members := p.sessionOf(k)
	if len(members) > 0 && members[0] == p.nodeOf(s) {
		add(members[0])
	}
	for ns := p.f.Namespaces[p.nodes[t].ns].Parent; ns >= 0 && s != free; ns = p.f.Namespaces[ns].Parent {
		if n, ok := p.members[seat{s, int32(ns)}]; ok && p.now(n).curSession == s {
			add(n)
		}
	}
	for _, m := range members {
		add(m)
	}
	if s == free || s == forest.Inherited {
		list = append(list, p.outsider())
	}
	return list
}
