// SPDX-License-Identifier: Apache-2.0

package plan

import "github.com/pidgraft/pidgraft/forest"

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
	if p.holder != none {
		if p.holderLeads {
			p.leadFromHolder()
		}
		p.bear(p.holder, 0)
	} else {
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
	if nd.early {
		if nd.next[0] < nd.outer {
			return
		}
		if p.joinUser(n, p.f.Tasks[n].UserNamespace); len(p.refusals) > 0 {
			return
		}
	}
	for _, t := range nd.threads {
		p.birth(n, t, Thread)
	}
}

// inUser reports whether k and all below it can be born of somebody in user
// namespace u.
func (p *planner) inUser(u int, k int32) bool {
	for t := k; t < p.nodes[k].end; t++ {
		if !p.owns(int32(u), p.f.Tasks[t].UserNamespace) || p.isInit(t) && !p.owns(int32(u), p.f.Namespaces[p.nodes[t].ns].Owner) {
			return false
		}
	}
	return true
}

// outerKids is how many of the children of process n must be born before it
// enters its user namespace.
func (p *planner) outerKids(n int32) int {
	kids := p.nodes[n].kids
	for i := len(kids) - 1; i >= 0; i-- {
		if !p.inUser(p.f.Tasks[n].UserNamespace, kids[i]) {
			return i + 1
		}
	}
	return 0
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
		if n := p.blocked[0]; !moved && len(p.refusals) == 0 && !p.advance(n, true) && len(p.refusals) == 0 {
			p.unsupported(n, "its children wait for what only they could bring about")
		}
	}
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
		if !p.giveBefore(n) && !force {
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
	if p.missing(via, k) != none {
		return false
	}
	g, s := p.birthGroup(k), p.need(k)
	if s != free && s != p.now(via).curSession {
		if p.carrier(via, s, nd.signal) == none || p.leavesGroup(via, k) {
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
	if _, kept := p.keepers[keeperKey{carrierKey{via, nd.session, nd.signal}, g}]; kept {
		return true
	}
	bySelf, byParent := p.canBring(p.nodes[via].leader, g)
	return bySelf || byParent
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
	for _, k := range p.nodes[t].kids[at:] {
		if len(p.refusals) > 0 {
			return
		}
		if p.need(k) != s || p.carrier(t, s, p.nodes[k].signal) != none {
			continue
		}
		if !p.nodes[t].born {
			p.unsupported(k, "its parent, thread %s, is in a nested user namespace, and there only after its process has left the session of the child", p.name(t))
			return
		}
		h := p.helper(RoleHelper, p.nodes[t].ns, 0, "stays in the session that "+p.name(n)+" was born in, to make its later children there")
		hn := &p.nodes[h]
		hn.parent, hn.session, hn.group, hn.signal = t, s, p.nodes[n].curGroup, p.nodes[k].signal
		p.spawn(t, h)
	}
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
	ref := p.do(by, op, after...)
	p.nodes[n].changed = ref
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
	if init := p.missing(p.via(t), k); init != none {
		p.bearAhead(t, at, init)
	}
	p.bearFounder(t, at, p.birthGroup(k))
	if nd := &p.nodes[k]; !nd.leads && !p.sees(k, nd.group) {
		p.bearFounder(t, at, nd.group)
	}
	if len(p.refusals) > 0 {
		return
	}
	via, s := p.via(t), p.need(k)
	if via != t && !p.canAdopt(t, via, k) {
		return
	}
	if n, ghost := p.ghosts[s]; ghost && n == none {
		p.bearGhost(s)
	}
	switch c := p.carrier(via, s, p.nodes[k].signal); {
	case !p.mayBear(via, k) && via == t:
		p.bearByEntrant(t, k)
	case s == free || s == p.now(via).curSession:
		p.spawn(via, k)
	case c != none && !p.leavesGroup(via, k):
		p.birth(c, k, Parent)
		p.settle(k)
	default:
		p.adopt(t, at)
	}
}

// bearFounder plans the birth of that younger sibling of t's child at that has
// below it who is to found group g, if that must be born first.
func (p *planner) bearFounder(t int32, at int, g forest.Tag) {
	if g <= 0 || p.canFound(g) {
		return
	}
	if n := p.nodeOf(g); n != none && n < p.tasks && !p.nodes[n].born {
		p.bearAhead(t, at, n)
	}
}

// leavesGroup reports whether k, born in another group for the sake of its
// children, must be put into its own by a parent that is not parent.
func (p *planner) leavesGroup(parent, k int32) bool {
	nd := &p.nodes[k]
	return nd.want != 0 && nd.want != nd.group && !nd.leads && !p.sees(k, nd.group) && !p.canGive(parent, k)
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
	if _, ok := p.carriers[key]; !ok {
		p.carriers[key] = k
	}
}

// carrier is a child of parent in session s with the given exit signal, or
// none.
func (p *planner) carrier(parent int32, s forest.Tag, signal int32) int32 {
	if n, ok := p.carriers[carrierKey{parent, s, signal}]; ok {
		return n
	}
	return none
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
