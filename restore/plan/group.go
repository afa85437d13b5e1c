// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	"github.com/pidgraft/pidgraft/forest"
)

// Process groups are settled after all births: founders found, members join,
// founders that belong elsewhere leave. A child cannot join a group that it
// cannot see from its namespace: that one it must inherit at birth, or be put
// into by its parent (kernel-rules 11), so such groups are founded early.

// seat is where a helper can be born: in this session and namespace.
type seat struct {
	session forest.Tag
	ns      int32
}

// sit notes that n can bear helpers in its session and namespace. One that
// stays is preferred to a zombie.
func (p *planner) sit(n int32) {
	nd := &p.nodes[n]
	if nd.leader != n || nd.role != RoleTask && nd.role != RoleGhost {
		return
	}
	at := seat{nd.curSession, nd.ns}
	old, ok := p.members[at]
	if !ok || p.nodes[old].user != 0 && nd.user == 0 || p.leaves(old) && !p.leaves(n) && (nd.user == 0) == (p.nodes[old].user == 0) {
		p.members[at] = n
	}
}

// leaves reports whether n will not stay as a live process.
func (p *planner) leaves(n int32) bool {
	t := p.nodes[n].task
	return t == none || p.f.Tasks[t].State.Exited() || p.f.Tasks[t].State == forest.ExitingInit
}

// sees reports whether group g has a number in n's namespace.
func (p *planner) sees(n int32, g forest.Tag) bool { return p.seenIn(p.nodes[n].ns, g) }

// around is the innermost namespace around ns, or ns itself, from where group g is
// seen.
func (p *planner) around(ns int32, g forest.Tag) int32 {
	for ns > 0 && !p.seenIn(ns, g) {
		ns = int32(p.f.Namespaces[ns].Parent)
	}
	return ns
}

func (p *planner) seenIn(ns int32, g forest.Tag) bool {
	if g == forest.Inherited {
		return p.holderLeads && ns == 0
	}
	return g > 0 && ns != outside && p.f.Encloses(int(ns), p.f.Pid(g).Namespace)
}

// wantGroups finds, from the leaves up, in which group each process is to be
// while it bears its children, if it cannot see that group: it must be born in
// it, or be put there by its parent. Its first such child decides.
func (p *planner) wantGroups() {
	for i := p.tasks - 1; i >= 0; i-- {
		if nd := &p.nodes[i]; nd.leader == i {
			nd.want = p.wantOf(i)
		}
	}
}

func (p *planner) wantOf(i int32) forest.Tag {
	nd := &p.nodes[i]
	for _, t := range p.threadsOf(i) {
		for _, k := range p.nodes[t].kids {
			g := p.nodes[k].want
			if g == 0 || p.sees(i, g) || p.need(k) != p.need(i) || p.fromAside(i, k) {
				continue
			}
			return g
		}
	}
	if !nd.leads && !p.sees(i, nd.group) {
		return nd.group
	}
	return 0
}

// fromAside reports whether child k of process i is rather to be born in its group
// elsewhere and adopted: i is an init and could not come to its own group any more.
func (p *planner) fromAside(i, k int32) bool {
	nd := &p.nodes[i]
	return p.isInit(i) && !nd.leads && p.nodes[k].want != nd.group && p.nodes[k].signal == forest.SIGCHLD &&
		!p.sees(i, nd.group) && (nd.parent == none || !p.sees(nd.parent, nd.group))
}

// birthGroup is the group that k cannot see and is to be born in, or 0.
func (p *planner) birthGroup(k int32) forest.Tag {
	nd := &p.nodes[k]
	if nd.task == none && !nd.leads && nd.group != forest.Null && !p.sees(k, nd.group) {
		return nd.group
	}
	return nd.want
}

// groupNumber is what n calls group g.
func (p *planner) groupNumber(g forest.Tag, n int32) int32 {
	if g == forest.Inherited {
		return p.nodes[p.holder].numbers[0]
	}
	return p.f.NumberIn(g, int(p.nodes[n].ns))
}

// leadFromHolder makes the holder the leader of the group that is inherited
// from outside, and if the root is not in that, of the session too. Otherwise
// that has no number in the new namespaces, and nobody who left it could come
// back.
func (p *planner) leadFromHolder() {
	op := Op{Code: Setpgid, Child: none}
	if p.nodes[0].group != forest.Inherited {
		op = Op{Code: Setsid, Child: none}
	}
	p.nodes[p.holder].groupRef = p.change(p.holder, p.holder, op)
}

// settleLeader lets the holder lead where the root has left its first group and
// another task has not: what that is in and what the root inherited as its session
// are then one object (forest.Inherited), and not every restorer's are. A container
// has no holder: there it takes a restorer that leads its session.
func (p *planner) settleLeader() {
	if p.holder == none || p.f.Root().PGID == forest.Inherited {
		return
	}
	p.holderLeads = p.holderLeads || slices.ContainsFunc(p.f.Tasks, func(t forest.Task) bool { return t.PGID == forest.Inherited })
}

// prepareGroup sees to it that k, about to be made by a as a child of parent,
// inherits its group if there is no other way to get it there.
func (p *planner) prepareGroup(a, parent, k int32) bool {
	g := p.birthGroup(k)
	switch {
	case g == 0, p.now(a).curGroup == g:
		return true
	case p.nodes[a].task == none && p.bring(a, g):
		return true
	case p.nodes[parent].role == RoleHelper:
		return false // it may be gone before it could give
	case p.sees(parent, g) && p.now(parent).curSession == p.need(k):
		return true // giveGroup does it, or bring before its first child
	case p.bring(p.nodes[a].leader, g):
		return true
	}
	return false
}

// bearInGroup bears k, whose maker a can be in k's group at no time, by a
// helper that can: made by a in the same way as k was to be.
func (p *planner) bearInGroup(a, k int32, flags CloneFlags) {
	g := p.birthGroup(k)
	if h := p.keeper(a, k); h != none && flags == 0 {
		p.birth(h, k, Parent)
		return
	}
	ns := p.nodes[a].ns
	if ns == outside {
		ns = p.around(p.birthplace(k), g)
	}
	if !p.seenIn(ns, g) || !p.canFound(g) || p.nodes[a].tag == 0 && p.nodes[a].curGroup == g {
		p.unsupported(k, "its group %s cannot be seen from its namespace, and it cannot be born in it: %s is in group %s then",
			p.f.TagName(g), p.name(a), p.f.TagName(p.now(a).curGroup))
		return
	}
	h := p.helper(RoleHelper, ns, 0, "makes "+p.name(k)+" in group "+p.f.TagName(g)+", which that could not join itself")
	hn := &p.nodes[h]
	hn.parent, hn.session, hn.group, hn.signal = a, p.now(a).curSession, g, p.nodes[k].signal
	p.birth(a, h, flags)
	if len(p.refusals) == 0 && p.join(h, g) {
		p.birth(h, k, Parent)
	}
	if len(p.refusals) == 0 {
		p.endWithParent(h)
	}
}

// keeperKey is what a child must inherit that its parent no longer has.
type keeperKey struct {
	carrierKey
	group forest.Tag
}

// keeper is who stays in the group that k must be born in as a child of a, which has
// left that; or none.
func (p *planner) keeper(a, k int32) int32 {
	if h, ok := p.keepers[keeperKey{carrierKey{a, p.now(a).curSession, p.nodes[k].signal}, p.birthGroup(k)}]; ok {
		return h
	}
	return none
}

// keepGroup makes helpers that stay in the group that process n is about to
// leave, for those of its later children that must be born in it.
func (p *planner) keepGroup(n int32) {
	s, g := p.nodes[n].curSession, p.nodes[n].curGroup
	for _, t := range p.threadsOf(n) {
		if !p.nodes[t].born || p.via(t) != t {
			continue
		}
		for _, k := range p.nodes[t].kids {
			nd := &p.nodes[k]
			if nd.born || p.birthGroup(k) != g || p.need(k) != s && p.need(k) != free {
				continue
			}
			key := keeperKey{carrierKey{t, s, nd.signal}, g}
			if _, ok := p.keepers[key]; ok || len(p.refusals) > 0 {
				continue
			}
			h := p.helper(RoleHelper, p.nodes[t].ns, 0, "stays in group "+p.f.TagName(g)+", which "+p.name(n)+" leaves, to make its later children there")
			hn := &p.nodes[h]
			hn.parent, hn.session, hn.group, hn.signal = t, s, g, p.nodes[k].signal
			p.keepers[key] = h
			if p.birth(t, h, 0); len(p.refusals) == 0 {
				p.offerCarrier(h) // after t has left the session
			}
		}
	}
}

// keepSibling makes a sibling of n, which makes children for its parent and is about
// to leave its group, for those of them that must be born in that.
func (p *planner) keepSibling(n int32) {
	nd := &p.nodes[n]
	t := nd.curParent
	if t == none {
		return
	}
	key := carrierKey{t, nd.curSession, nd.signal}
	if !slices.Contains(p.carriers[key], n) {
		return
	}
	for _, k := range p.nodes[t].kids {
		if p.nodes[k].born || p.birthGroup(k) != nd.curGroup || p.need(k) != nd.curSession || p.nodes[k].signal != nd.signal {
			continue
		}
		if slices.ContainsFunc(p.carriers[key], func(c int32) bool { return c != n && p.nodes[c].curGroup == nd.curGroup }) {
			return
		}
		h := p.helper(RoleHelper, nd.ns, 0, "stays in group "+p.f.TagName(nd.curGroup)+", which "+p.name(n)+" leaves, to make later siblings of it there")
		hn := &p.nodes[h]
		nd = &p.nodes[n]
		hn.parent, hn.session, hn.group, hn.signal = t, nd.curSession, nd.curGroup, nd.signal
		if p.birth(n, h, Parent); len(p.refusals) == 0 {
			p.offerCarrier(h)
		}
		return
	}
}

// canBring reports whether process n can be put into group g for now, and out
// of it again, and by whom: itself, or its parent.
func (p *planner) canBring(n int32, g forest.Tag) (bySelf, byParent bool) {
	nd := &p.nodes[n]
	parent := nd.curParent
	if p.pins(n, g) {
		return false, false // it could never be ended in between (kernel-rules 23)
	}
	bySelf = p.sees(n, g)
	byParent = p.parentSees(n, g)
	if nd.founded && (nd.leads || nd.task == none) || !p.canFound(g) || !p.inSession(g, nd.curSession) {
		return false, false
	}
	if nd.task != none && !nd.leads && g != nd.group && !p.sees(n, nd.group) && !(byParent && p.sees(parent, nd.group)) {
		return false, false // it could not come to its own group again
	}
	return bySelf, byParent
}

// canBeBrought reports whether process n can be put into group g for now, by anybody.
func (p *planner) canBeBrought(n int32, g forest.Tag) bool {
	bySelf, byParent := p.canBring(n, g)
	return bySelf || byParent
}

// parentSees reports whether the parent that n has now could put it into group g, if
// that is of its session.
func (p *planner) parentSees(n int32, g forest.Tag) bool {
	parent := p.nodes[n].curParent
	return parent != none && p.sees(parent, g) && p.now(parent).curSession == p.nodes[n].curSession
}

// pins reports whether init n in group g would hold up what its own end waits
// for, with the groups that others are in now (kernel-rules 23): the end of a
// namespace waits for that of all below it, and for every init in a group that is
// led from it or from below.
func (p *planner) pins(n int32, g forest.Tag) bool {
	if !p.isInit(n) || g <= 0 || g == p.nodes[n].tag {
		return false
	}
	seen := make(map[int32]bool)
	var waits func(ns int32) bool // whether the end of n's namespace waits for that of ns
	waits = func(ns int32) bool {
		if p.f.Encloses(int(p.nodes[n].ns), int(ns)) {
			return true
		}
		if seen[ns] {
			return false
		}
		seen[ns] = true
		for at := ns; at >= 0; at = int32(p.f.Namespaces[at].Parent) {
			init := p.initOf(at)
			if init == none || !p.nodes[init].born {
				continue
			}
			if in := p.nodes[init].curGroup; in > 0 && waits(int32(p.f.Pid(in).Namespace)) {
				return true
			}
		}
		return false
	}
	return waits(int32(p.f.Pid(g).Namespace))
}

// foreign reports whether init n, in group g, holds up the end of a namespace that
// does not wait for its own anyhow.
func (p *planner) foreign(n int32, g forest.Tag) bool {
	return g > 0 && p.isInit(n) && !p.f.Encloses(p.f.Pid(g).Namespace, int(p.nodes[n].ns))
}

// bring puts process n into group g for now, if that can be done and undone,
// so that a child can inherit it.
func (p *planner) bring(n int32, g forest.Tag) bool {
	bySelf, byParent := p.canBring(n, g)
	if !bySelf && !byParent {
		return false
	}
	parent := p.nodes[n].curParent
	if p.nodes[n].curGroup != g {
		p.keepGroup(n)
		p.keepSibling(n)
	}
	ref, ok := p.found(g)
	if !ok || p.nodes[n].curGroup == g {
		return ok
	}
	after := []Ref{ref}
	if own := p.nodes[n].tag; own > 0 && p.nodes[n].founded && p.nodes[n].curGroup == own && p.used[own-1] {
		if p.keepAlive(own); len(p.refusals) > 0 {
			return false
		}
		after = append(after, p.alive[own])
	}
	var done Ref
	if bySelf {
		done = p.change(n, n, Op{Code: Setpgid, Child: none, Number: p.groupNumber(g, n)}, after...)
	} else {
		done = p.put(parent, n, g, after...)
	}
	p.joined(n, g, done)
	return true
}

// inSession reports whether group g belongs to session s.
func (p *planner) inSession(g, s forest.Tag) bool {
	if g == forest.Inherited {
		return s == g
	}
	of, ok := p.sessionOfGroup(g)
	return ok && of == s
}

// put has parent put its child k into group g.
func (p *planner) put(parent, k int32, g forest.Tag, after ...Ref) Ref {
	done := p.change(parent, k, Op{
		Code: Setpgid, Child: p.nodes[k].actor, Pid: p.number(k, p.nodes[parent].ns),
		Number: p.groupNumber(g, parent),
	}, append(after, p.now(parent).changed, p.nodes[k].arrived)...)
	p.nodes[parent].lastBorn = done // it needs the session the parent is in now
	return done
}

// canGive reports whether parent can put child k into its group.
func (p *planner) canGive(parent, k int32) bool {
	return p.sees(parent, p.nodes[k].group) && p.now(parent).curSession == p.nodes[k].session && !p.nodes[k].leads
}

// giveGroup notes that k, just born, must be put into its group by its parent,
// since it cannot see it: before the parent leaves the session, or last of all.
func (p *planner) giveGroup(k int32) {
	nd := &p.nodes[k]
	if !nd.leads && nd.group != forest.Null && !p.inGroup(k) && !p.sees(k, nd.group) {
		p.gifts = append(p.gifts, k)
	}
}

// giveBefore lets the threads of process n put their children into groups
// before n leaves the session. It reports whether all could be given, and none of
// these waits to be put somewhere for a child of its own.
func (p *planner) giveBefore(n int32, force bool) bool {
	all := true
	for i := 0; i < len(p.gifts) && len(p.refusals) == 0; i++ {
		k := p.gifts[i]
		nd := &p.nodes[k]
		if nd.curParent == none || p.nodes[nd.curParent].leader != n || p.inGroup(k) || !p.canGive(nd.curParent, k) {
			continue
		}
		if nd.stage != settled || !p.canFound(nd.group) {
			all = false
			continue
		}
		if p.moves(k) && !p.gather(k) {
			all = false
			if !force {
				continue
			}
			p.release(k)
		}
		p.give(k)
	}
	for _, t := range p.threadsOf(n) {
		for _, k := range p.nodes[t].kids {
			all = all && !p.waitsToBeBrought(k)
		}
	}
	return all
}

// waitsToBeBrought reports whether the next child of a thread of process k must be
// born in a group that k can only be put into by its parent.
func (p *planner) waitsToBeBrought(k int32) bool {
	if !p.nodes[k].born || p.nodes[k].stage == settled || p.nodes[k].next == nil {
		return false
	}
	for i, t := range p.threadsOf(k) {
		if rest := p.nodes[t].kids[p.nodes[k].next[i]:]; len(rest) > 0 {
			g := p.birthGroup(rest[0])
			if g != 0 && p.nodes[k].curGroup != g && p.need(rest[0]) == p.nodes[k].curSession && !p.sees(k, g) && p.parentSees(k, g) {
				return true
			}
		}
	}
	return false
}

// inGroup reports whether k is in its group and can stay there.
func (p *planner) inGroup(k int32) bool {
	nd := &p.nodes[k]
	return nd.curGroup == nd.group && (nd.founded || !p.moves(k))
}

// gather lets those join the group that k founds that are to be in it, so that k
// can leave. It reports whether all could.
func (p *planner) gather(k int32) bool {
	g := p.nodes[k].tag
	for _, m := range p.x.Group(g) {
		if p.nodes[m].leader == m && p.nodes[m].curGroup != g && !p.canCome(m) {
			return false
		}
	}
	p.gatherSome(k)
	return true
}

// gatherSome is gather for those that can.
func (p *planner) gatherSome(k int32) {
	g := p.nodes[k].tag
	for _, m := range p.x.Group(g) {
		if p.nodes[m].leader != m || p.nodes[m].curGroup == g || !p.canCome(m) || len(p.refusals) > 0 {
			continue
		}
		if p.sees(m, g) {
			p.join(m, g)
		} else {
			p.give(m)
		}
	}
}

// canCome reports whether process m can come to its group by now, and stay.
func (p *planner) canCome(m int32) bool {
	nd := &p.nodes[m]
	if !nd.born || p.moves(m) && !nd.founded || nd.curSession != nd.session {
		return false
	}
	return p.sees(m, nd.group) || nd.curParent != none && p.canGive(nd.curParent, m)
}

// release lets k leave the group that it founds: those who can join it now, and for
// the others a helper stays.
func (p *planner) release(k int32) {
	if !p.gather(k) {
		p.gatherSome(k)
		p.keepAlive(p.nodes[k].tag)
	}
}

func (p *planner) give(k int32) {
	g := p.nodes[k].group
	if ref, ok := p.found(g); ok {
		done := p.put(p.nodes[k].curParent, k, g, ref)
		p.joined(k, g, done)
		if p.moves(k) { // after all that had to find it in its own
			p.at(done).After = append(p.at(done).After, p.joins[p.nodes[k].tag]...)
		}
	}
}

// canFound reports whether group g exists or can be founded by now.
func (p *planner) canFound(g forest.Tag) bool {
	if g == forest.Inherited {
		return p.holderLeads
	}
	n := p.leaderOf(g)
	if n == none { // a ghost that is only a group
		s, ok := p.sessionOfGroup(g)
		if !ok {
			return false
		}
		_, ok = p.bearer(s, p.birthNamespace(g))
		return ok
	}
	nd := &p.nodes[n]
	return nd.founded || nd.born && !nd.leads && nd.curSession == nd.session
}

// leaderOf is the node that leads group g, or none; a warden is borne now.
func (p *planner) leaderOf(g forest.Tag) int32 {
	if n := p.nodeOf(g); n != none || p.f.Pid(g).Number() != 1 || !p.hidden(int32(p.f.Pid(g).Namespace)) {
		return n
	}
	p.absent(int32(p.f.Pid(g).Namespace))
	return p.nodeOf(g)
}

// birthNamespace is where the parent of the process with the number tag lives:
// an init is born from the namespace around its own.
func (p *planner) birthNamespace(tag forest.Tag) int32 {
	pid := p.f.Pid(tag)
	if pid.Number() == 1 && pid.Namespace != 0 {
		return int32(p.f.Namespaces[pid.Namespace].Parent)
	}
	return int32(pid.Namespace)
}

// sessionOfGroup is the session that all members of group g share.
func (p *planner) sessionOfGroup(g forest.Tag) (forest.Tag, bool) {
	if g <= 0 {
		return 0, false
	}
	m := p.x.Group(g)
	if len(m) == 0 {
		return 0, false
	}
	return p.f.Tasks[m[0]].SID, true
}

// found makes sure that group g exists, and returns since when.
func (p *planner) found(g forest.Tag) (Ref, bool) {
	if g == forest.Inherited {
		return p.nodes[p.holder].groupRef, true
	}
	n := p.leaderOf(g)
	if n == none {
		if n = p.bearGroupGhost(g); n == none {
			return noRef, false
		}
	}
	if !p.nodes[n].founded {
		p.keepGroup(n)
	}
	nd := &p.nodes[n]
	if !nd.founded {
		ref := p.change(n, n, Op{Code: Setpgid, Child: none})
		nd = &p.nodes[n]
		nd.groupRef = ref
		nd.founded, nd.curGroup = true, g
	}
	return nd.groupRef, true
}

// bearer is a member of session s that can bear helpers in namespace ns: it
// lives there, or further out and can enter it.
func (p *planner) bearer(s forest.Tag, ns int32) (int32, bool) {
	if n, ok := p.members[seat{s, ns}]; ok {
		return n, true
	}
	if p.absent(ns) != none {
		return none, false
	}
	if init := p.initOf(ns); init == none || !p.nodes[init].born {
		return none, false
	}
	for at := p.f.Namespaces[ns].Parent; at >= 0; at = p.f.Namespaces[at].Parent {
		if n, ok := p.members[seat{s, int32(at)}]; ok && p.owns(p.now(n).user, p.f.Namespaces[ns].Owner) {
			return n, true
		}
	}
	return none, false
}

// bearGroupGhost makes the dead leader of group g again, for as long as
// members need it to join.
func (p *planner) bearGroupGhost(g forest.Tag) int32 {
	s, _ := p.sessionOfGroup(g)
	by, ok := p.bearer(s, p.birthNamespace(g))
	if pid := p.f.Pid(g); ok && s == forest.Inherited && pid.Number() == 1 && !p.owns(p.now(by).user, p.f.Namespaces[pid.Namespace].Owner) {
		by = p.outsider() // who went into a user namespace cannot make this init
	}
	if !ok {
		m := p.x.Group(g)[0]
		p.unsupported(m, "the leader of its group %s has died, and no process of session %s in that namespace could bear it again",
			p.f.TagName(g), p.f.TagName(s))
		return none
	}
	n := p.helper(RoleGhost, int32(p.f.Pid(g).Namespace), g, "leads group "+p.f.TagName(g)+", whose leader had died")
	nd := &p.nodes[n]
	nd.parent, nd.session, nd.group = by, s, g
	p.ghosts[g] = n
	p.birth(by, n, 0)
	return n
}

// join lets a, which sees group g, put its process there.
func (p *planner) join(a int32, g forest.Tag) bool {
	n := p.nodes[a].leader
	ref, ok := p.found(g)
	if !ok {
		return false
	}
	if p.nodes[n].curGroup == g { // it was the founder
		return true
	}
	done := p.change(a, n, Op{Code: Setpgid, Child: none, Number: p.groupNumber(g, n)}, ref)
	p.joined(n, g, done)
	return true
}

// joined notes that n came into group g.
func (p *planner) joined(n int32, g forest.Tag, at Ref) {
	p.nodes[n].curGroup = g
	p.joins[g] = append(p.joins[g], at)
}

// group settles everybody's group.
func (p *planner) group() {
	for i := int32(0); i < p.tasks && len(p.refusals) == 0; i++ {
		if nd := &p.nodes[i]; nd.leader == i && !nd.leads && (p.used[nd.tag-1] || nd.group == nd.tag) {
			p.found(nd.tag)
		}
	}
	for _, k := range p.gifts {
		if len(p.refusals) == 0 && p.nodes[k].curGroup != p.nodes[k].group && !p.moves(k) {
			p.joinLate(k)
		}
	}
	for i := int32(0); i < p.tasks && len(p.refusals) == 0; i++ {
		if nd := &p.nodes[i]; nd.leader == i && !p.moves(i) && nd.curGroup != nd.group {
			p.joinLate(i)
		}
	}
	if len(p.refusals) == 0 {
		p.moveFounders()
	}
}

// joinLate puts i into its group after all births.
func (p *planner) joinLate(i int32) {
	nd := &p.nodes[i]
	switch {
	case nd.leads:
		p.unsupported(i, "it leads a session and is not in its own group")
	case p.sees(i, nd.group):
		p.join(i, nd.group)
	case nd.curParent != none && p.canGive(nd.curParent, i):
		p.give(i)
	default:
		p.unsupported(i, "its group %s cannot be seen from its namespace, nor joined any more", p.f.TagName(nd.group))
	}
}

// moves reports whether i founds a group for others and ends in another one.
func (p *planner) moves(i int32) bool {
	nd := &p.nodes[i]
	return i < p.tasks && nd.leader == i && !nd.leads && p.used[nd.tag-1] && nd.group != nd.tag
}

// moveFounders lets founders leave their groups for their own final ones. A
// group must have a member when another joins, so who moves into a founder's
// group moves before the founder leaves it; a cycle of such moves needs a
// helper that keeps one of the groups alive.
func (p *planner) moveFounders() {
	const (
		unseen = iota
		open
		done
	)
	into := make(map[forest.Tag][]int32)
	for i := int32(0); i < p.tasks; i++ {
		if p.moves(i) {
			into[p.nodes[i].group] = append(into[p.nodes[i].group], i)
		}
	}
	state := make(map[int32]int)
	var move func(i int32)
	move = func(i int32) {
		state[i] = open
		for _, m := range into[p.nodes[i].tag] {
			switch state[m] {
			case unseen:
				move(m)
			case open:
				p.keepAlive(p.nodes[i].tag)
			}
		}
		state[i] = done
		if len(p.refusals) > 0 || p.nodes[i].curGroup == p.nodes[i].group {
			return
		}
		p.leaveFor(i)
	}
	for i := int32(0); i < p.tasks; i++ {
		if p.moves(i) && state[i] == unseen {
			move(i)
		}
	}
}

// leaveFor lets founder i leave, after all that had to find it there.
func (p *planner) leaveFor(i int32) {
	nd := &p.nodes[i]
	p.joinLate(i)
	if len(p.refusals) > 0 {
		return
	}
	moved := p.nodes[i].changed
	for _, r := range p.joins[nd.tag] {
		if r.Actor != moved.Actor {
			p.at(moved).After = append(p.at(moved).After, r)
		}
	}
}

// keepAlive adds a helper that stays in group g until everybody has moved.
func (p *planner) keepAlive(g forest.Tag) {
	if _, ok := p.alive[g]; ok {
		return
	}
	ns := int32(p.f.Pid(g).Namespace)
	s := p.nodes[p.nodeOf(g)].session
	by, ok := p.bearer(s, ns)
	if !ok {
		p.unsupported(p.nodeOf(g), "it is in a cycle of groups, and nobody could keep group %s alive meanwhile", p.f.TagName(g))
		return
	}
	n := p.helper(RoleHelper, ns, 0, "stays in group "+p.f.TagName(g)+" until those that trade groups have moved")
	p.nodes[n].parent, p.nodes[n].session, p.nodes[n].group = by, s, g
	p.birth(by, n, 0)
	if len(p.refusals) == 0 && p.join(n, g) {
		p.alive[g] = p.nodes[n].changed
	}
}
