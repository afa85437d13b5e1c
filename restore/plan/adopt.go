// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	"github.com/pidgraft/pidgraft/forest"
)

// adopt plans the birth of child k of thread t below a member of its session
// further down: a throwaway child of that member makes it and dies, and t adopts
// it (kernel-rules 13, 16).
func (p *planner) adopt(t, k int32) {
	s := p.need(k)
	if !p.led(s) {
		p.bearLate(k)
		if len(p.refusals) > 0 {
			return
		}
	}
	via := p.via(t)
	if !p.canAdopt(t, via, k) {
		return
	}
	if by := p.adoptsFrom(t, via, k); by != none {
		p.handDown(by, t, k)
	}
}

// adoptsFrom is the member of the session that k needs from whose child t can
// adopt k.
func (p *planner) adoptsFrom(t, via, k int32) int32 {
	s := p.need(k)
	l := p.nodeOf(s)
	if below := p.membersBelow(via, k); len(below) > 0 {
		return below[p.choose(len(below))]
	}
	switch by := p.sponsor(t, k); {
	case by != none:
		p.leaveToInit(t)
		return by
	case !p.led(s) || !p.within(p.topOf(l), p.nodes[t].leader):
		p.unsupported(k, "its session %s is led by nobody its parent %s could adopt from", p.f.TagName(s), p.name(t))
	case via != t && !p.below(l, via):
		p.unsupported(k, "its session is led by %s, from where it would be adopted before its elder siblings", p.name(l))
	default:
		p.unsupported(k, "its session is led by %s from a deeper namespace than that of its parent %s", p.name(l), p.name(t))
	}
	return none
}

// membersBelow are the members of the session that k needs, its leader first, of
// whose child the process via can adopt k: they live below it in its namespace.
func (p *planner) membersBelow(via, k int32) []int32 {
	var list []int32
	for _, m := range p.sessionOf(k) {
		if p.nodes[m].ns == p.nodes[via].ns && m != via && p.below(m, via) && p.mayBear(m, k) {
			list = append(list, m)
		}
	}
	return list
}

// sessionOf are members of the session that k needs as they are now, its leader
// first.
func (p *planner) sessionOf(k int32) []int32 {
	s := p.need(k)
	var list []int32
	all := p.x.Session(s)
	if s == forest.Inherited && p.tasks <= maxInherited {
		for m := range p.tasks {
			all = append(all, m)
		}
	}
	if s > 0 && p.led(s) {
		list = append(list, p.nodeOf(s))
	}
	list = append(list, p.keptOut[s]...)
	for _, m := range all {
		if nd := &p.nodes[m]; nd.leader == m && nd.born && nd.curSession == s && !nd.leads && len(list) < maxMembers {
			list = append(list, m)
		}
	}
	return list
}

// maxMembers is how many members of a session are considered.
const maxMembers = 16

// maxInherited is the most tasks among which those of the session that the root
// inherited are looked for, which has no list.
const maxInherited = 4096

// handDown has a throwaway child of by, in the namespace of t, make k and die,
// so that t adopts it.
func (p *planner) handDown(by, t, k int32) {
	via := p.via(t)
	x := p.helper(RoleHelper, p.nodes[via].ns, 0, "makes "+p.name(k)+" where "+p.name(t)+" could not, and dies, so that it adopts it")
	xn := &p.nodes[x]
	xn.parent, xn.session, xn.group = by, p.now(by).curSession, p.now(by).curGroup
	if g := p.birthGroup(k); g != 0 {
		xn.group = g
	}
	xn.passing, xn.once = true, true
	if p.birth(by, x, 0); len(p.refusals) > 0 {
		return
	}
	if p.birth(x, k, 0); len(p.refusals) > 0 {
		return
	}
	// Only x can move it from the group of its children to its own.
	first := !p.nodes[k].leads && !p.inGroup(k) && !p.sees(k, p.nodes[k].group)
	if first {
		if p.build(k); len(p.refusals) == 0 && (!p.canGive(x, k) || !p.canFound(p.nodes[k].group)) {
			p.unsupported(k, "its group %s cannot be seen from its namespace, and is not there in time for its maker to put it there", p.f.TagName(p.nodes[k].group))
		}
		if len(p.refusals) > 0 {
			return
		}
		if p.moves(k) {
			p.release(k)
		}
		p.give(k)
	}
	p.nodes[k].arrived = p.endInto(x, via)
	p.nodes[k].curParent = via
	if first {
		p.offerCarrier(k)
		return
	}
	p.settle(k)
}

// below reports whether n is below the process of top now.
func (p *planner) below(n, top int32) bool {
	top = p.nodes[top].leader
	for n != none && p.nodes[n].leader != top {
		n = p.nodes[p.nodes[n].leader].curParent
	}
	return n != none
}

// adopts reports whether adoption brings k to its parent via as it is to be.
func (p *planner) adopts(via, k int32) bool {
	return via != p.beside && p.nodes[via].leader == via && p.nodes[k].signal == forest.SIGCHLD
}

// canAdopt refuses adoptions that the kernel would send elsewhere.
func (p *planner) canAdopt(t, via, k int32) bool {
	switch {
	case p.adopts(via, k):
		return true
	case via == p.beside:
		p.unsupported(k, "its parent is outside, where nobody is in session %s", p.f.TagName(p.need(k)))
	case p.nodes[via].leader != via:
		p.unsupported(k, "its parent is thread %s, and adoption goes to the first live thread of a process (kernel-rules 13)", p.name(t))
	default:
		p.unsupported(k, "its exit signal is %d, and adoption resets it to SIGCHLD (kernel-rules 15)", p.nodes[k].signal)
	}
	return false
}

// endInto plans the end of x such that its children go to heir, and returns
// when they have. Deaths that hand on children happen one after the other:
// who is a subreaper matters only then.
func (p *planner) endInto(x, heir int32) Ref {
	after := []Ref{p.nodes[heir].lastKid, p.nodes[x].lastKid, p.lastAdoption}
	temporary := !p.reaps(x, heir) && !p.nodes[heir].subreaper
	if temporary {
		after = append(after, p.do(heir, Op{Code: Subreaper, Child: none, Number: 1}, p.lastAdoption))
	}
	p.do(x, Op{Code: ExitGroup, Child: none}, after...)
	p.nodes[x].ended = true
	done := p.reap(p.nodes[x].curParent, x)
	if temporary {
		done = p.do(heir, Op{Code: Subreaper, Child: none, Number: 0}, done)
	}
	p.lastAdoption = done
	p.nodes[heir].lastKid = done
	return done
}

// reaps reports whether heir is the reaper of x's namespace, which adopts
// without being a subreaper.
func (p *planner) reaps(x, heir int32) bool {
	return p.nodes[heir].ns == p.nodes[x].ns && p.isInit(heir)
}

func (p *planner) reap(parent, child int32) Ref {
	done := p.do(parent, Op{
		Code: Reap, Child: p.nodes[child].actor, Pid: p.number(child, p.nodes[parent].ns),
	}, p.nodes[child].arrived)
	p.deaths = append(p.deaths, done)
	return done
}

// bearLate plans the birth, ahead of its place, of the one that has the leader of
// the session that k needs below it.
func (p *planner) bearLate(k int32) {
	s := p.need(k)
	top := p.nodeOf(s)
	if _, ghost := p.ghosts[s]; ghost {
		top = none
		if home, ok := p.homes[s]; ok {
			top = home
		}
	}
	p.summon(top)
	if _, ghost := p.ghosts[s]; ghost && len(p.refusals) == 0 && p.nodeOf(s) == none {
		p.bearGhost(s)
	}
}

// summon sees to it that task node n is there, if that can be, or else those above
// it: whose turn has not come is born under a helper that dies when it has.
func (p *planner) summon(n int32) {
	t, k := p.unborn(n)
	if t == none || len(p.refusals) > 0 {
		return
	}
	leader := p.nodes[t].leader
	i := slices.Index(p.threadsOf(leader), t)
	next := &p.nodes[leader].next[i]
	if t == p.beside { // its children come in any order: one on its way keeps its turn, after k
		rest := p.nodes[t].kids[*next:]
		at := slices.Index(rest, k)
		copy(rest[1:at+1], rest[:at])
		rest[0] = k
	}
	if p.nodes[t].kids[*next] != k || p.nodes[k].nest != none || p.nodes[leader].stage == early && p.need(k) == p.nodes[leader].session {
		p.bearAhead(t, k)
		return
	}
	p.bear(t, *next)
	p.nodes[leader].next[i]++
}

// comes reports whether task node n is there or can be summoned.
func (p *planner) comes(n int32) bool {
	if n != none && p.nodes[n].born {
		return true
	}
	t, k := p.unborn(n)
	return t != none && (p.adopts(p.via(t), k) || p.nodes[k].signal != forest.SIGCHLD && p.holdsByThread(t, k))
}

// unborn is the first process above task node n, or itself, that is not born, and
// the thread whose child it is to be; none if there is nobody, or its birth is
// under way.
func (p *planner) unborn(n int32) (t, k int32) {
	if n == none || n >= p.tasks {
		return none, none
	}
	k = p.nodes[n].leader
	for !p.nodes[k].born {
		t = p.nodes[k].parent
		if t == none || p.nodes[k].coming || p.nodes[k].late != none {
			break
		}
		if p.nodes[t].born && p.nodes[p.nodes[t].leader].next != nil {
			return t, k
		}
		if p.nodes[p.nodes[t].leader].born {
			break // only just, or t is a thread that is yet to come
		}
		k = p.nodes[t].leader
	}
	return none, none
}

// bearAhead plans the birth of k, a child of t whose turn has not come: under a
// helper that dies when it has.
func (p *planner) bearAhead(t, k int32) {
	p.nodes[k].coming = true
	defer func() { p.nodes[k].coming = false }()
	if init := p.missing(p.via(t), k); init != none && !p.within(init, k) {
		p.summon(init)
	}
	if len(p.refusals) == 0 {
		p.summonGroups(t, k)
	}
	if len(p.refusals) > 0 || p.nodes[k].signal != forest.SIGCHLD && p.bearByThread(t, k) {
		return
	}
	if !p.canAdopt(t, p.via(t), k) {
		return
	}
	at := t
	if n := p.nodes[k].nest; n != none && p.nodes[n].born && (p.need(k) == free || p.need(k) == p.now(n).curSession) {
		at = n
	}
	y := p.helper(RoleHelper, p.nodes[at].ns, 0, "holds "+p.name(k)+" until it is its turn among the children of "+p.name(t))
	yn := &p.nodes[y]
	yn.parent, yn.group = at, forest.Null // any
	yn.session, yn.passing, yn.once = p.need(k), true, true
	if g := p.birthGroup(k); g != 0 {
		yn.group = g
	}
	p.nodes[k].late = y
	if at != t {
		p.birth(p.via(at), y, 0)
	} else {
		p.bearAs(t, k, y)
	}
	if len(p.refusals) == 0 {
		p.spawn(y, k)
	}
}

// bearByThread is bearAhead for a child whose exit signal adoption would reset:
// under a thread of its parent's process, whose end leaves it to the leader as
// it is (kernel-rules 13, 15). It reports whether that can be done.
func (p *planner) bearByThread(t, k int32) bool {
	if !p.holdsByThread(t, k) {
		return false
	}
	y := p.helper(RoleHelper, p.nodes[t].ns, 0, "a thread that holds "+p.name(k)+" until it is its turn among the children of "+p.name(t))
	yn := &p.nodes[y]
	yn.leader, yn.ids, yn.ended, yn.once = t, p.nodes[t].ids, true, true
	p.nodes[k].late = y
	if p.birth(t, y, Thread); len(p.refusals) == 0 {
		p.spawn(y, k)
	}
	p.byThreads[t] = append(p.byThreads[t], p.nodes[y].lastBorn)
	return true
}

// holdsByThread reports whether bearByThread can be done.
func (p *planner) holdsByThread(t, k int32) bool {
	s, g := p.need(k), p.birthGroup(k)
	return p.nodes[t].leader == t && p.nodes[t].task != none && p.via(t) == t && (s == free || s == p.nodes[t].curSession) &&
		(g == 0 || g == p.nodes[t].curGroup) && int(p.nodes[t].user) == p.f.Tasks[t].UserNamespace
}

// bearAs bears helper h, which is to hold t's child k, in k's session: as a child
// of t, or if it cannot be that, of a member from whose child t adopts.
func (p *planner) bearAs(t, k, h int32) {
	via, s := p.via(t), p.nodes[h].session
	if n, ghost := p.ghosts[s]; ghost && n == none {
		p.bearGhost(s)
	}
	if s != free && s != p.now(via).curSession && !p.led(s) {
		p.bearLate(k)
	}
	switch c := p.carrier(via, s, p.nodes[h].signal, k); {
	case (s == free || s == p.now(via).curSession) && p.mayBear(via, k):
		p.birth(via, h, 0)
	case c != none:
		p.birth(c, h, Parent)
	case p.led(s) || s == free || s == p.now(via).curSession:
		if by := p.adoptsFrom(t, via, k); by != none {
			p.birth(by, h, 0)
		}
	default:
		p.unsupported(p.nodes[t].leader, "its children arrived in an order that this version cannot repeat: session %s is led from below a later one",
			p.f.TagName(s))
	}
}

// topOf is the task node under which n comes: itself, or for a ghost the
// thread that bears it.
func (p *planner) topOf(n int32) int32 {
	for n >= p.tasks {
		n = p.nodes[n].parent
	}
	return n
}

// arriveLate lets k, which was born under a helper, take its place among t's
// children.
func (p *planner) arriveLate(t, k int32) {
	y := p.nodes[k].late
	if p.nodes[y].leader == t {
		done := p.do(y, Op{Code: ExitThread, Child: none}, p.nodes[t].lastKid, p.nodes[y].lastKid)
		p.nodes[k].arrived, p.nodes[t].lastKid = done, done
	} else {
		p.nodes[k].arrived = p.endInto(y, p.via(t))
	}
	p.nodes[k].curParent = p.via(t)
	p.offerCarrier(k)
}
