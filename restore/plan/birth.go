// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"slices"

	"github.com/pidgraft/pidgraft/forest"
)

// carrierKey is what a child must inherit from whoever makes it with
// CLONE_PARENT: its parent (by) and session and the exit signal.
type carrierKey struct {
	parent  int32
	session forest.Tag
	signal  int32
}

// grow plans every birth: the holder of a subtree if there is one, the root,
// from there down, each process whole before its next sibling, and at last
// those that enter from outside.
func (p *planner) grow() {
	switch {
	case p.holder != none:
		if p.holderLeads {
			p.leadFromHolder()
		}
		p.bear(p.holder, 0)
	case p.mourner != none:
		p.bear(p.mourner, 0)
	default:
		p.bearRoot()
	}
	if p.beside != none && len(p.refusals) == 0 {
		p.build(p.beside)
	}
	p.growRest()
}

// bearRoot starts with the root as the first task of the new namespace.
func (p *planner) bearRoot() {
	const root = 0
	p.comeAlive(root, none)
	nd := &p.nodes[root]
	nd.curSession, nd.curGroup = forest.Inherited, forest.Inherited
	if !nd.leads {
		p.sit(root)
	}
	if u := p.f.Namespaces[nd.ns].Owner; u != 0 {
		birth := &p.plan.Births[0]
		p.setOwner(root, birth)
		if len(p.plan.Actors[Init].Ops) == 0 {
			p.do(root, Op{Code: Nop, Child: none})
		}
		p.madeUser(u, root, Ref{Actor: Init})
		p.bearFor(p.outsider(), root)
	}
	if len(p.refusals) == 0 {
		p.build(root)
	}
}

// hold adds the init of the new namespace of a subtree, or what stands for it in
// the restorer's own.
func (p *planner) hold() {
	n := int32(len(p.nodes))
	nd := p.blank(n, RoleHolder)
	nd.actor, nd.numbers = Init, []int32{1}
	nd.session, nd.group = forest.Inherited, forest.Inherited
	nd.born, nd.curSession, nd.curGroup = true, forest.Inherited, forest.Inherited
	p.nodes = append(p.nodes, nd)
	p.plan.Actors[Init] = Actor{Role: RoleHolder, Task: none, Why: "number 1 of the new namespace: reaps, and ends with the root"}
	p.holder = n
	p.nodes[n].kids = []int32{0}
	p.nodes[0].parent = n
	if p.opts.Place != nil {
		p.holdInPlace(n)
	}
}

// rootGone reports whether the root of a container has ended, or begun to: it can
// neither commit nor report the restore.
func rootGone(f *forest.Forest, x *forest.Index) bool {
	return slices.ContainsFunc(x.Threads(0), func(t int32) bool {
		return f.Tasks[t].State == forest.Zombie || f.Tasks[t].State == forest.ExitingInit
	})
}

// mourn adds the init of a namespace around that of a root that has ended: its
// parent, who keeps what is left of it. One more level above the root's is not seen
// from inside.
func (p *planner) mourn() {
	n := int32(len(p.nodes))
	nd := p.blank(n, RoleHolder)
	nd.actor, nd.ns, nd.numbers = Init, outside, []int32{1}
	nd.session, nd.group = forest.Inherited, forest.Inherited
	nd.born, nd.curSession, nd.curGroup = true, forest.Inherited, forest.Inherited
	nd.kids = []int32{0}
	p.nodes = append(p.nodes, nd)
	p.plan.Actors[Init] = Actor{Role: RoleHolder, Task: none, Why: "number 1 of a namespace around the forest's: the parent of the root, which has ended"}
	p.mourner = n
	p.nodes[0].parent = n
}

// rootsNumber is what the root is called in its mourner's namespace.
const rootsNumber = 2

// stage is how far a process is in bearing its children.
type stage uint8

const (
	unborn  stage = iota
	early         // bears those that must be born before its setsid
	late          // bears the others
	settled       // has borne all
)

// build lets process n, just born, bear its threads and children, as far as it
// can by now.
func (p *planner) build(n int32) {
	nd := &p.nodes[n]
	nd.next = make([]int, len(p.threadsOf(n)))
	nd.stage = late
	if nd.leads {
		nd.stage = early
	}
	if nd.early {
		nd.outer = p.outerKids(n)
	}
	if p.bearThreads(n); len(p.refusals) > 0 {
		return
	}
	p.advance(n, false)
	if p.nodes[n].stage != settled {
		p.blocked = append(p.blocked, n)
	}
}

// bearThreads bears the threads of process n, if it has not yet and can by now.
// One in a nested user namespace must be there before, and before that have
// borne those of its children that are not.
func (p *planner) bearThreads(n int32) {
	nd := &p.nodes[n]
	if len(nd.threads) == 0 || p.nodes[nd.threads[0]].born {
		return
	}
	if u := p.f.Tasks[n].UserNamespace; nd.early && int(nd.user) != u {
		if nd.next[0] < nd.outer || nd.stage == early && p.outsideOf(u, nd.tag) {
			return
		}
		if p.keepOut(n, u); len(p.refusals) == 0 {
			p.joinUser(n, u)
		}
		if len(p.refusals) > 0 {
			return
		}
	}
	for _, t := range nd.threads {
		p.birth(n, t, Thread)
	}
}

// keepOut makes a helper that stays in the session of process n, which is about to
// enter user namespace u, for members that must be born outside of that: n's
// sibling if that can be, as who makes siblings can bear children as well.
func (p *planner) keepOut(n int32, u int) {
	s := p.nodes[n].curSession
	if s <= 0 || len(p.keptOut[s]) > 0 || p.isInit(n) || p.nodes[n].curParent == none {
		return
	}
	if !p.outsideOf(u, s) {
		return
	}
	h := p.helper(RoleHelper, p.nodes[n].ns, 0, "stays in the session of "+p.name(n)+", which enters a user namespace, to make others outside of that")
	hn := &p.nodes[h]
	hn.parent, hn.session, hn.group, hn.signal = p.nodes[n].curParent, s, p.nodes[n].curGroup, p.nodes[n].signal
	if p.nodes[hn.parent].passing { // it would lose it
		hn.parent, hn.signal = n, forest.SIGCHLD
		p.birth(n, h, 0)
	} else {
		p.birth(n, h, Parent)
		p.offerCarrier(h)
	}
	p.keptOut[s] = append(p.keptOut[s], h)
}

// outsideOf reports whether a member of session s that is still to be born must be
// born outside of user namespace u.
func (p *planner) outsideOf(u int, s forest.Tag) bool {
	return slices.ContainsFunc(p.x.Session(s), func(m int32) bool {
		return p.nodes[m].leader == m && !p.nodes[m].born && !p.owns(int32(u), int(p.nodes[m].bornUser))
	})
}

// inUser reports whether k and all below it can be born of somebody in user
// namespace u.
func (p *planner) inUser(u int, k int32) bool {
	for t := k; t < p.nodes[k].end; t++ {
		if !p.owns(int32(u), int(p.nodes[p.nodes[t].leader].bornUser)) || p.isInit(t) && !p.owns(int32(u), p.f.Namespaces[p.nodes[t].ns].Owner) {
			return false
		}
	}
	return true
}

// outerKids is how many of the children of process n must be born before it
// enters its user namespace. An init may adopt others later.
func (p *planner) outerKids(n int32) int {
	kids := p.nodes[n].kids
	all, own := 0, 0
	for i, k := range kids {
		if !p.inUser(p.f.Tasks[n].UserNamespace, k) {
			all = i + 1
			if !p.isInit(n) || p.nodes[k].signal != forest.SIGCHLD {
				own = i + 1
			}
		}
	}
	if own < all && p.choose(2) > 0 {
		return own
	}
	return all
}

// growRest lets those go on that had to wait for others, and when nobody can,
// forces one to find another way.
func (p *planner) growRest() {
	for len(p.refusals) == 0 {
		waiting := p.blocked
		p.blocked = nil
		moved := false
		for i := 0; i < len(waiting) && len(p.refusals) == 0; i++ {
			moved = p.advance(waiting[i], false) || moved
			if p.nodes[waiting[i]].stage != settled {
				p.blocked = append(p.blocked, waiting[i])
			}
		}
		if len(p.blocked) == 0 {
			return
		}
		if moved || len(p.refusals) > 0 {
			continue
		}
		if n := p.forced(); !p.advance(n, true) && len(p.refusals) == 0 {
			p.unsupported(n, "its children wait for what only they could bring about")
		}
	}
}

// forced is the process that has to find another way when nobody can go on: one
// whose next child can do without a namespace that is yet to come, if there is
// one, or can have that come before it.
func (p *planner) forced() int32 {
	list := slices.Clone(p.blocked)
	slices.SortStableFunc(list, func(a, b int32) int {
		return cmp.Compare(p.lacks(a), p.lacks(b))
	})
	return list[p.choose(len(list))]
}

// lacks is 1 if the next child of process n that waits must be born in a
// namespace whose init only others can bear.
func (p *planner) lacks(n int32) int {
	for i, t := range p.threadsOf(n) {
		if rest := p.nodes[t].kids[p.nodes[n].next[i]:]; len(rest) > 0 && p.nodes[t].born {
			init := p.missing(p.via(t), rest[0])
			if by, _ := p.unborn(init); init == none || by != none {
				return 0
			}
		}
	}
	return 1
}

// advance lets process n bear what it can, and reports whether it did
// anything. With force, it finds another way for one child that it would
// rather wait with.
func (p *planner) advance(n int32, force bool) bool {
	moved := false
	if p.nodes[n].stage == early {
		var all bool
		never := false
		if moved, all = p.bearAll(n, p.nodes[n].session, &never); !all && p.needsEarly(n) {
			if !force {
				return moved
			}
			more := false
			if more, all = p.bearAll(n, p.nodes[n].session, &force); !all {
				return moved || more
			}
		}
		if len(p.refusals) > 0 {
			return moved
		}
		if !p.giveBefore(n, force) && !force {
			return moved
		}
		for i, t := range p.threadsOf(n) {
			p.keepSession(n, t, p.nodes[n].next[i])
		}
		if len(p.refusals) > 0 {
			return moved
		}
		p.setsid(n)
		p.offerCarrier(n)
		p.nodes[n].stage, moved = late, true
		if p.bearThreads(n); len(p.refusals) > 0 {
			return true
		}
	}
	if p.nodes[n].stage == late {
		more, all := p.bearAll(n, free, &force)
		moved = moved || more
		if all {
			p.nodes[n].stage, moved = settled, true
		}
	}
	return moved
}

// needsEarly reports whether a child of process n that is still to be born needs
// the session that n is about to leave.
func (p *planner) needsEarly(n int32) bool {
	for i, t := range p.threadsOf(n) {
		for _, k := range p.nodes[t].kids[p.nodes[n].next[i]:] {
			if p.need(k) == p.nodes[n].curSession {
				return true
			}
		}
	}
	return false
}

// bearAll bears the children of process n, each thread's in sibling order, up
// to the first that must be born in session stop. A child that would need the
// process to change its group, or a session that is yet to come, waits and
// lets those of other threads and processes go first. It reports whether any
// was born and whether all were.
func (p *planner) bearAll(n int32, stop forest.Tag, force *bool) (moved, all bool) {
	for {
		// One of those that its threads wait for may have been summoned.
		if p.bearThreads(n); len(p.refusals) > 0 {
			return moved, false
		}
		borne, waits := false, false
		for i, t := range p.threadsOf(n) {
			for p.nodes[n].next[i] < len(p.nodes[t].kids) && p.nodes[t].born {
				if t == p.beside {
					p.nextEntrant()
				}
				k := p.nodes[t].kids[p.nodes[n].next[i]]
				if stop != free && p.need(k) == stop {
					break
				}
				if !*force && !p.ready(t, k) {
					waits = true
					break
				}
				*force = false
				p.bear(t, p.nodes[n].next[i])
				p.nodes[n].next[i]++
				borne = true
				if p.bearThreads(n); len(p.refusals) > 0 {
					return true, false
				}
			}
		}
		moved = moved || borne
		if !borne {
			return moved, !waits
		}
	}
}

// ready reports whether k can be born as a child of t without more ado.
func (p *planner) ready(t, k int32) bool {
	nd := &p.nodes[k]
	via := p.via(t)
	if p.missing(via, k) != none || nd.nest != none && p.nodes[p.nodes[nd.nest].leader].stage != settled {
		return false
	}
	g, s := p.birthGroup(k), p.need(k)
	if s != free && s != p.now(via).curSession {
		if p.carrier(via, s, nd.signal, k) == none || p.leavesGroup(via, k) {
			if !p.led(s) || t == p.beside {
				return false
			}
			if !nd.leads && !p.sees(k, nd.group) && !p.canFound(nd.group) {
				return false // its maker must give it that before it dies
			}
		}
		return g == 0 || p.canFound(g)
	}
	if g == 0 || p.now(via).curGroup == g || p.sees(via, g) && p.now(via).curSession == s && p.canFound(g) {
		return true
	}
	if p.keeper(via, k) != none {
		return true
	}
	return p.canBeBrought(p.nodes[via].leader, g)
}

// givesGroup reports whether k, born of a, can inherit the group that it cannot
// see, or come there later.
func (p *planner) givesGroup(a, k int32) bool {
	g, s := p.birthGroup(k), p.need(k)
	if s != free && s != p.now(a).curSession {
		a = p.carrier(a, s, p.nodes[k].signal, k)
	}
	if g == 0 || a == none || p.now(a).curGroup == g || p.sees(a, g) {
		return true
	}
	if p.keeper(a, k) != none {
		return true
	}
	return p.canBeBrought(p.nodes[a].leader, g)
}

// bearInGroupOf bears k, child of init t, by somebody in the group that it is to
// be born in, and reports whether there is one.
func (p *planner) bearInGroupOf(t, k int32) bool {
	g := p.birthGroup(k)
	for _, by := range p.sponsors(t, k) {
		if p.now(by).curGroup == g || p.sees(by, g) && p.canFound(g) {
			p.leaveToInit(t)
			p.handDown(by, t, k)
			return true
		}
	}
	return false
}

// missing is the init of the namespace that a must enter to bear k, if that is
// not born by now; or none.
func (p *planner) missing(a, k int32) int32 {
	at := p.birthplace(k)
	if at < 0 || p.nodes[a].ns == at {
		return none
	}
	return p.absent(at)
}

// led reports whether session s has a leader by now.
func (p *planner) led(s forest.Tag) bool {
	l := p.nodeOf(s)
	return l != none && p.nodes[l].born && p.nodes[l].curSession == s
}

// keepSession makes helpers that stay in the session that process n was born
// in, for those children of its thread t from index at on that need it.
func (p *planner) keepSession(n, t int32, at int) {
	s := p.nodes[n].curSession
	if p.via(t) != t {
		return // the entrant stays in it
	}
	var kids []int32
	for _, k := range p.nodes[t].kids[at:] {
		if p.need(k) == s {
			kids = append(kids, k)
		}
	}
	slices.SortStableFunc(kids, func(a, b int32) int { // who leaves a group may not come back
		return cmp.Compare(p.brings(n, a), p.brings(n, b))
	})
	for _, k := range kids {
		if len(p.refusals) > 0 {
			return
		}
		if p.keptFor(t, k) {
			continue
		}
		if !p.nodes[t].born {
			p.unsupported(k, "its parent, thread %s, is in a nested user namespace, and there only after its process has left the session of the child", p.name(t))
			return
		}
		if p.summonGroups(t, k); p.nodes[k].late != none || len(p.refusals) > 0 {
			continue // it has come with them
		}
		if g := p.birthGroup(k); g != 0 && p.nodes[n].curGroup != g {
			p.bring(n, g)
		}
		h := p.helper(RoleHelper, p.nodes[t].ns, 0, "stays in the session that "+p.name(n)+" was born in, to make its later children there")
		hn := &p.nodes[h]
		hn.parent, hn.session, hn.group, hn.signal = t, s, p.nodes[n].curGroup, p.nodes[k].signal
		p.spawn(t, h)
	}
}

// brings is 1 if process n must come to another group for a child k of it.
func (p *planner) brings(n, k int32) int {
	if g := p.birthGroup(k); g != 0 && p.nodes[n].curGroup != g {
		return 1
	}
	return 0
}

// keptFor reports whether there is a child of thread t that can make k in its session
// and the group that it must be born in.
func (p *planner) keptFor(t, k int32) bool {
	c := p.carrier(t, p.need(k), p.nodes[k].signal, k)
	if c == none {
		return false
	}
	g := p.birthGroup(k)
	if g == 0 || p.nodes[c].curGroup == g || p.sees(t, g) && p.canFound(g) {
		return true
	}
	return p.canBeBrought(c, g)
}

// setsid makes n the leader of its session.
func (p *planner) setsid(n int32) {
	ref := p.change(n, n, Op{Code: Setsid, Child: none})
	nd := &p.nodes[n]
	nd.curSession, nd.curGroup = nd.tag, nd.tag
	nd.founded, nd.groupRef = true, ref
	p.sit(n)
}

// change plans op, by which actor by changes the session or group of the
// process that n leads. What its threads bore before must have been born
// before, and what they bear later, after.
func (p *planner) change(by, n int32, op Op, after ...Ref) Ref {
	after = append(append(after, p.nodes[n].changed), p.byThreads[n]...)
	for _, t := range p.threadsOf(n) {
		after = append(after, p.nodes[t].lastBorn)
	}
	if op.Code == Setpgid && op.Number != 0 && p.isInit(n) {
		after = append(after, p.left...)
	}
	left := p.foreign(n, p.nodes[n].curGroup)
	ref := p.do(by, op, after...)
	p.nodes[n].changed = ref
	if left {
		p.left = append(p.left, ref)
	}
	return ref
}

// now is the node that has the session and group of n's process.
func (p *planner) now(n int32) *node { return &p.nodes[p.nodes[n].leader] }

// lastOf is the last operation in n's program so far.
func (p *planner) lastOf(n int32) Ref {
	a := p.nodes[n].actor
	if len(p.plan.Actors[a].Ops) == 0 {
		return noRef
	}
	return Ref{Actor: a, Op: int32(len(p.plan.Actors[a].Ops) - 1)}
}

// via is who bears t's children: itself, or the entrant in its place.
func (p *planner) via(t int32) int32 {
	if s := p.nodes[t].standIn; s != none {
		return s
	}
	return t
}

// bear plans the birth of the child at index at of thread t, by whichever way
// its session allows, and then builds it.
func (p *planner) bear(t int32, at int) {
	k := p.nodes[t].kids[at]
	if p.nodes[k].late != none {
		p.arriveLate(t, k)
		return
	}
	p.nodes[k].coming = true
	defer func() { p.nodes[k].coming = false }()
	if init := p.missing(p.via(t), k); init != none {
		p.summon(init)
	}
	if p.summonGroups(t, k); len(p.refusals) > 0 {
		return
	}
	via, s := p.via(t), p.need(k)
	if via != t && !p.canAdopt(t, via, k) {
		return
	}
	if n, ghost := p.ghosts[s]; ghost && n == none {
		p.bearGhost(s)
	}
	switch c := p.carrier(via, s, p.nodes[k].signal, k); {
	case !p.mayBear(via, k) && via == t:
		p.bearByEntrant(t, k)
	case p.isInit(t) && p.nodes[k].signal == forest.SIGCHLD && !p.givesGroup(via, k) && p.bearInGroupOf(t, k):
	case s == free || s == p.now(via).curSession:
		p.spawn(via, k)
	case c != none && !p.leavesGroup(via, k):
		p.birth(c, k, Parent)
		p.settle(k)
	default:
		p.adopt(t, k)
	}
}

// summonGroups sees to it that the groups are there that k, about to be born for t,
// cannot join itself.
func (p *planner) summonGroups(t, k int32) {
	for _, g := range []forest.Tag{p.birthGroup(k), p.nodes[k].group} {
		if g > 0 && !p.sees(k, g) && (g != p.nodes[k].group || !p.canGive(t, k) || p.comes(p.founderOf(g))) {
			p.summonFounder(g) // else t puts it there later
		}
	}
}

// summonFounder sees to it that who is to found group g is there, or if that has
// died, the init of its namespace.
func (p *planner) summonFounder(g forest.Tag) {
	if g <= 0 || p.canFound(g) {
		return
	}
	if n := p.founderOf(g); n != none && !p.nodes[n].born {
		p.summon(n)
	}
}

// founderOf is the task that founds group g, or if that has died, the init of the
// namespace that it is born in again; or none.
func (p *planner) founderOf(g forest.Tag) int32 {
	if g <= 0 {
		return none
	}
	n := p.nodeOf(g)
	if n == none {
		n = p.initOf(p.birthNamespace(g))
	}
	if n < p.tasks {
		return n
	}
	return none
}

// leavesGroup reports whether k, in another group for the sake of its children or
// because it founds that, must be put into its own by a parent that is not parent.
func (p *planner) leavesGroup(parent, k int32) bool {
	nd := &p.nodes[k]
	return (nd.want != 0 && nd.want != nd.group || p.moves(k)) && !nd.leads && !p.sees(k, nd.group) && !p.canGive(parent, k)
}

// spawn makes k a plain child of a and builds it.
func (p *planner) spawn(a, k int32) {
	p.birth(a, k, 0)
	p.settle(k)
}

// settle remembers k, which is now among its parent's children, as one that
// can make siblings, and lets it bear its own.
func (p *planner) settle(k int32) {
	if len(p.refusals) > 0 {
		return
	}
	if !p.nodes[k].leads {
		p.offerCarrier(k)
	}
	p.build(k)
}

// offerCarrier notes that k can make siblings in its session. A namespace's
// init cannot (kernel-rules 14); nor can who cannot name outer numbers.
func (p *planner) offerCarrier(k int32) {
	nd := &p.nodes[k]
	if nd.leader != k || nd.curParent == none || p.isInit(k) {
		return
	}
	if nd.curSession == p.now(nd.curParent).session {
		return // the parent can do it itself, now and later
	}
	key := carrierKey{nd.curParent, nd.curSession, nd.signal}
	if list := p.carriers[key]; len(list) < maxMembers && !slices.Contains(list, k) {
		p.carriers[key] = append(list, k)
	}
}

// carrier is a child of parent in session s with the given exit signal, that can
// make k or a helper which does, or none. One in k's group is preferred, then one
// outside of nested user namespaces, then one further out.
func (p *planner) carrier(parent int32, s forest.Tag, signal, k int32) int32 {
	best, least := int32(none), 0
	for _, n := range p.carriers[carrierKey{parent, s, signal}] {
		if !p.mayBear(n, k) || !p.comesTo(n, p.birthplace(k)) {
			continue
		}
		cost := p.level(n)
		if p.nodes[n].user != 0 {
			cost += 1 << 8
		}
		if g := p.birthGroup(k); g != 0 && p.nodes[n].curGroup != g {
			cost += 1 << 9
		}
		if best == none || cost < least {
			best, least = n, cost
		}
	}
	return best
}

// level is how deep n lives.
func (p *planner) level(n int32) int {
	if p.nodes[n].ns == outside {
		return -1
	}
	return p.f.Namespaces[p.nodes[n].ns].Level
}

// comesTo reports whether n lives in namespace ns or can have its children there.
func (p *planner) comesTo(n, ns int32) bool {
	at := p.nodes[n].ns
	return at == ns || ns != outside && p.owns(p.now(n).user, p.f.Namespaces[ns].Owner) && (at == outside || p.f.Encloses(int(at), int(ns)))
}

// birth plans the Clone of k by a. With Parent, k is a's sibling; with Thread,
// a thread of a's process.
func (p *planner) birth(a, k int32, flags CloneFlags) {
	if !p.mayBear(a, k) {
		p.unsupported(k, "it must be born inside a nested user namespace, by %s, and is not in that in the end (kernel-rules 9)", p.name(a))
		return
	}
	parent := a
	if flags&Parent != 0 {
		parent = p.nodes[a].curParent
	}
	if flags&Thread == 0 && !p.prepareGroup(a, parent, k) {
		p.bearInGroup(a, k, flags)
		return
	}
	if flags&Thread == 0 && !p.makesItself(a, k) {
		p.makeThrough(a, k, flags)
		return
	}
	op := Op{
		Code: Clone, Flags: flags, Child: p.nodes[k].actor,
		Signal: p.nodes[k].signal,
	}
	var after []Ref
	if flags&Thread != 0 {
		op.Signal = 0
	} else {
		after = append(after, p.nodes[parent].lastKid, p.now(a).changed)
		if p.isInit(k) {
			if p.foreign(k, p.now(a).curGroup) {
				after = append(after, p.left...)
			}
			op.Flags |= NewPID
			if u := p.f.Namespaces[p.nodes[k].ns].Owner; u != 0 && p.founds(k) {
				p.setOwner(k, &op)
			}
		}
	}
	enters := int32(none)
	if flags&Thread == 0 {
		if enters = p.entry(a, k); len(p.refusals) > 0 {
			return
		}
	}
	ref := p.cloneInto(a, k, enters, op, after)
	if len(p.refusals) > 0 {
		return
	}
	p.comeAlive(k, parent)
	nd := &p.nodes[k]
	nd.cloned, nd.arrived, nd.ids = ref, ref, p.nodes[a].ids
	if flags&Thread != 0 {
		nd.curParent = p.nodes[a].curParent
		return
	}
	nd.curSession, nd.curGroup, nd.user = p.now(a).curSession, p.now(a).curGroup, p.now(a).user
	p.nodes[a].lastBorn = ref
	p.nodes[parent].lastKid = ref
	if nd.task == none && p.nodes[parent].role == RoleEntrant {
		p.wards[parent] = append(p.wards[parent], k)
	}
	if !nd.leads {
		p.sit(k)
	}
	if op.Flags&NewUser != 0 {
		u := p.f.Namespaces[p.nodes[k].ns].Owner
		p.madeUser(u, k, ref)
		p.nodes[a].ids.disown(&p.f.UserNamespaces[u])
	}
	if op.Flags&NewPID != 0 && p.nodes[k].task != none {
		p.bearFor(a, k)
	}
	p.giveGroup(k)
}

// comeAlive marks k born as a child of parent and starts its program.
func (p *planner) comeAlive(k, parent int32) {
	nd := &p.nodes[k]
	nd.born, nd.curParent = true, parent
	if nd.task == none {
		return
	}
	if comm := p.f.Tasks[nd.task].Comm; comm != "" {
		p.do(k, Op{Code: Comm, Child: none, Text: comm})
	}
}
