// SPDX-License-Identifier: Apache-2.0

package plan

import "github.com/pidgraft/pidgraft/forest"

// Who is in a nested user namespace has no capabilities outside it, so it
// cannot name numbers at outer levels (kernel-rules 9). Tasks therefore stay
// in the initial user namespace while they bear others, and join their own at
// the end. The exceptions are what is born inside: the init of a pid namespace
// that a nested user namespace owns, and who has threads, which can be made
// only after it joined. Their children get their outer numbers from the id
// cursors, one birth after the other, or are born of an entrant.
//
// A user namespace is made by the birth of the first init that needs it, or
// else by a helper from outside. Others enter it through a descriptor that its
// maker kept, as nobody inside may use a pidfd (kernel-rules 26).

// userSpace is how far a user namespace is.
type userSpace struct {
	founder int32 // the init whose birth makes it, or none
	gate    int32 // who made it and can keep descriptors of it; none: nobody yet
	made    Ref
	mapped  Ref // what wrote its maps
}

// settleUsers finds which inits make user namespaces by their birth, and which
// processes must join theirs early.
func (p *planner) settleUsers() {
	p.users = make([]userSpace, len(p.f.UserNamespaces))
	for u := range p.users {
		p.users[u] = userSpace{none, none, noRef, noRef}
	}
	for ns := range p.f.Namespaces {
		p.settleOwner(int32(ns))
	}
	if len(p.users) == 1 {
		return
	}
	for i := range p.tasks {
		nd := &p.nodes[i]
		nd.bornUser = int32(p.f.Tasks[i].UserNamespace)
		nd.early = nd.leader == i && nd.bornUser != 0 && len(nd.threads) > 0
	}
	for i := range p.tasks {
		p.settleBorn(i)
	}
	for again := true; again; {
		again = false
		for i := p.tasks - 1; i >= 0; i-- {
			if nd := &p.nodes[i]; nd.leader == i {
				u := p.outermost(i)
				again = again || u != nd.bornUser
				nd.bornUser = u
			}
		}
	}
}

// settleBorn may have process i, which ended with ids that its user namespace does
// not map, be born further out, where they are.
func (p *planner) settleBorn(i int32) {
	nd := &p.nodes[i]
	if nd.leader != i || nd.bornUser == 0 || len(nd.threads) > 0 || !p.f.Tasks[i].State.Exited() || !p.unmapped(int(nd.bornUser), i) {
		return
	}
	out := p.bornOut
	if p.choose(2) > 0 {
		out = !out
	}
	if !out {
		return
	}
	for nd.bornUser != 0 && p.unmapped(int(nd.bornUser), i) {
		nd.bornUser = int32(p.f.UserNamespaces[nd.bornUser].Parent)
	}
}

// settleOwner finds how namespace ns comes to belong to a nested user
// namespace.
func (p *planner) settleOwner(ns int32) {
	u := p.f.Namespaces[ns].Owner
	init := p.nodeOf(p.x.Init(int(ns)))
	if u == 0 || init == none || init >= p.tasks {
		return
	}
	parent := p.f.UserNamespaces[u].Parent
	switch {
	case !p.owns(int32(u), p.f.Tasks[init].UserNamespace):
		p.unsupported(init, "it is outside the user namespace that owns its pid namespace, into which only a kernel from 7.0 on lets it be born")
	case p.users[u].founder == none && parent == 0 && (ns == 0 || !p.unmapped(u, init)):
		p.users[u].founder = init
	case ns == 0:
		p.unsupported(init, "its pid namespace is owned by a user namespace that is nested more than once")
	}
}

// owns reports whether who is in user namespace u has capabilities in user
// namespace v: that is u, or below it.
func (p *planner) owns(u int32, v int) bool {
	for v > int(u) {
		v = p.f.UserNamespaces[v].Parent
	}
	return v == int(u)
}

// founds reports whether the birth of k is to make its user namespace.
func (p *planner) founds(k int32) bool {
	u := p.f.Namespaces[p.nodes[k].ns].Owner
	return p.users[u].founder == k && p.users[u].gate == none
}

// setOwner makes the Clone of init k create a user namespace as well.
func (p *planner) setOwner(k int32, op *Op) {
	u := p.f.Namespaces[p.nodes[k].ns].Owner
	op.Flags |= NewUser | Pidfd
	op.UID, op.GID, _ = p.ownerInside(u)
}

// ownerInside is what the owner of user namespace u is called in its parent.
func (p *planner) ownerInside(u int) (uid, gid uint32, ok bool) {
	us := &p.f.UserNamespaces[u]
	uid, ok1 := p.idInside(us.Parent, us.OwnerUID, true)
	gid, ok2 := p.idInside(us.Parent, us.OwnerGID, false)
	return uid, gid, ok1 && ok2
}

// madeUser follows the making of user namespace u, of which n is the first
// member: its maps are written.
func (p *planner) madeUser(u int, n int32, made Ref) {
	space := &p.users[u]
	space.gate, space.made = n, made
	p.nodes[n].user = int32(u)
	p.identity = append(p.identity, made)
	us := &p.f.UserNamespaces[u]
	p.nodes[n].ids.own(us)
	if len(us.UIDMap) == 0 && len(us.GIDMap) == 0 && us.Setgroups {
		return
	}
	space.mapped = p.doAs(Restorer, Op{
		Code: WriteMaps, Child: p.nodes[n].actor, Number: int32(u),
	}, made, p.users[us.Parent].mapped)
	p.wantPidfd(n)
}

// makeUser sees to it that user namespace u is there, if need be by a helper
// from outside, and reports whether it is.
func (p *planner) makeUser(u int) bool {
	if u == 0 || p.users[u].gate != none {
		return true
	}
	parent := p.f.UserNamespaces[u].Parent
	if !p.makeUser(parent) {
		return false
	}
	uid, gid, ok := p.ownerInside(u)
	if !ok {
		p.refuse(&Refusal{Task: none, Kind: Unreachable, Reason: "a user namespace is owned by an id that the one around it does not map"})
		return false
	}
	h := p.fromOutside(outside, "makes a user namespace that others enter")
	p.joinUser(h, parent)
	made := p.do(h, Op{Code: UnshareUser, Child: none, Number: int32(u), UID: uid, GID: gid}, p.users[parent].mapped)
	p.madeUser(u, h, made)
	p.keep(h)
	p.holders[h] = append(p.holders[h], p.users[u].mapped)
	return true
}

// keep lets n keep descriptors of its namespaces, if it has not yet, and
// returns since when.
func (p *planner) keep(n int32) Ref {
	if p.nodes[n].kept == noRef {
		p.nodes[n].kept = p.do(n, Op{Code: Keep, Child: none})
	}
	return p.nodes[n].kept
}

// wantPidfd asks for a pidfd from n's Clone.
func (p *planner) wantPidfd(n int32) {
	if r := p.nodes[n].cloned; r != noRef { // Init has one anyhow
		p.at(r).Flags |= Pidfd
	}
}

// joinUser brings process i into user namespace u, which is that it is in or
// below.
func (p *planner) joinUser(i int32, u int) {
	if p.nodes[i].leader != i || int(p.nodes[i].user) == u || !p.makeUser(u) {
		return
	}
	if p.users[p.nodes[i].user].gate == i {
		p.keep(i) // while it is there
	}
	if p.nodes[i].task != none {
		if t := p.leavesIDs(i, u); t != none {
			p.setIDsBefore(i, t, u)
		}
	}
	gate := p.users[u].gate
	done := p.do(i, Op{Code: JoinUser, Child: none, Via: p.nodes[gate].actor}, p.keep(gate))
	p.identity = append(p.identity, done)
	p.nodes[i].user = int32(u)
}

// mayBear reports whether k, and all that it must bear, can be in their user
// namespaces in the end if it is born by a: it is born in a's, and can only go
// deeper.
func (p *planner) mayBear(a, k int32) bool {
	nd := &p.nodes[k]
	switch {
	case nd.task == none:
		return true
	case nd.leader != k:
		return p.owns(p.now(a).user, p.f.Tasks[nd.task].UserNamespace)
	}
	return p.owns(p.now(a).user, int(nd.bornUser))
}

// outermost is the innermost user namespace that process i can be born in: that it
// is in, or one further out for the sake of its children, the members of its
// session, and the namespace for its children. Children of a namespace's init may
// come from elsewhere.
func (p *planner) outermost(i int32) int32 {
	nd := &p.nodes[i]
	u := nd.bornUser
	if p.isInit(i) {
		return u
	}
	within := func(inner int) {
		for !p.owns(u, inner) {
			u = int32(p.f.UserNamespaces[u].Parent)
		}
	}
	for _, t := range p.threadsOf(i) {
		for _, k := range p.nodes[t].kids {
			if p.isInit(k) {
				within(p.f.Namespaces[p.nodes[k].ns].Owner)
			} else {
				within(int(p.nodes[k].bornUser))
			}
		}
		if ns := p.f.Tasks[t].ChildNamespace; ns != forest.SameNamespace && !p.f.Tasks[t].State.Exited() {
			within(p.f.Namespaces[ns].Owner)
		}
	}
	if nd.leads {
		for _, m := range p.x.Session(nd.tag) {
			if m != i && p.nodes[m].leader == m && !p.isInit(m) {
				within(int(p.nodes[m].bornUser))
			}
		}
	}
	return u
}

// maker is the user namespace that whoever makes init k must be in.
func (p *planner) maker(k int32) int {
	u := p.f.Namespaces[p.nodes[k].ns].Owner
	if u != 0 && p.founds(k) {
		return p.f.UserNamespaces[u].Parent
	}
	return u
}

// makesItself reports whether a can make k as it is. An init is made in the
// namespace around its own and in the user namespace that is to own it; others
// can be made from further out, by who has the right to come back or need not.
func (p *planner) makesItself(a, k int32) bool {
	at := p.nodes[a].ns
	if p.isInit(k) {
		return int(p.now(a).user) == p.maker(k) && at == p.birthplace(k)
	}
	return at == outside || at == p.birthplace(k) || p.nodes[a].once || p.owns(p.now(a).user, p.f.Namespaces[at].Owner)
}

// makeThrough bears k by a helper made in a's stead, which goes where a cannot
// and makes k as its sibling.
func (p *planner) makeThrough(a, k int32, flags CloneFlags) {
	ns, user := p.nodes[a].ns, int(p.now(a).user)
	if p.isInit(k) {
		ns, user = p.birthplace(k), p.maker(k)
	}
	if !p.owns(p.now(a).user, user) {
		p.unsupported(k, "its namespace is owned by a user namespace that %s, which would make it, cannot enter", p.name(a))
		return
	}
	h := p.helper(RoleHelper, ns, 0, "makes "+p.name(k)+" where "+p.name(a)+" cannot be")
	hn := &p.nodes[h]
	hn.session, hn.group, hn.signal = p.now(a).curSession, p.now(a).curGroup, p.nodes[k].signal
	hn.once = true
	if p.birth(a, h, flags); len(p.refusals) > 0 {
		return
	}
	if p.isInit(k) && p.nodes[k].task != none && user != int(p.now(h).user) {
		t := p.nodes[k].task
		if seen := p.leavesIDs(k, user); seen != none {
			t = seen
		}
		p.setIDsBefore(h, t, user)
	}
	if p.joinUser(h, user); len(p.refusals) > 0 {
		return
	}
	if p.birth(h, k, Parent); len(p.refusals) > 0 {
		return
	}
	p.endWithParent(h)
	p.bearFor(a, k)
}

// idInside translates an id of the initial user namespace to what it is called
// in user namespace u.
func (p *planner) idInside(u int, id uint32, uid bool) (uint32, bool) {
	if u == 0 {
		return id, true
	}
	us := &p.f.UserNamespaces[u]
	outer, ok := p.idInside(us.Parent, id, uid)
	if !ok {
		return 0, false
	}
	m := us.GIDMap
	if uid {
		m = us.UIDMap
	}
	for _, e := range m {
		if outer >= e.Parent && outer-e.Parent < e.Count {
			return e.First + (outer - e.Parent), true
		}
	}
	return 0, false
}
