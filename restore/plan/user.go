// SPDX-License-Identifier: Apache-2.0

package plan

import "github.com/pidgraft/pidgraft/forest"

// Who is in a nested user namespace has no capabilities outside it, so it
// cannot name numbers at outer levels (kernel-rules 9). Tasks therefore stay
// in the initial user namespace while they bear others, and join their own at
// the end. Only the init of a pid namespace that a nested user namespace owns
// must be born inside; its children are born of an entrant in its place, which
// has outer credentials, and which dies so that the init adopts them.

// settleUsers chooses the first member of each user namespace: the init whose
// birth makes it, or else the task that will unshare it.
func (p *planner) settleUsers() {
	p.firsts = make([]int32, len(p.f.UserNamespaces))
	p.entered = make([]Ref, len(p.f.UserNamespaces))
	p.mapped = make([]Ref, len(p.f.UserNamespaces))
	for u := range p.firsts {
		p.firsts[u], p.entered[u], p.mapped[u] = none, noRef, noRef
	}
	for ns := range p.f.Namespaces {
		p.settleOwner(int32(ns))
	}
	for i := int32(0); i < p.tasks; i++ {
		u := p.f.Tasks[i].UserNamespace
		if u == 0 || len(p.refusals) > 0 {
			continue
		}
		if len(p.threadsOf(p.nodes[i].leader)) > 1 {
			p.unsupported(i, "it is a thread in a nested user namespace, where outer numbers cannot be named (kernel-rules 9)")
			return
		}
		if old := p.firsts[u]; old == none || p.leaves(old) && !p.ownsAnything(u) && !p.leaves(i) {
			p.firsts[u] = i
		}
	}
	for u := 1; u < len(p.firsts); u++ {
		if p.firsts[u] == none {
			p.refuse(&Refusal{Task: none, Kind: Unsupported, Reason: "a user namespace of the forest has no member in it"})
		}
	}
}

// ownsAnything reports whether a pid namespace belongs to user namespace u.
func (p *planner) ownsAnything(u int) bool {
	for i := range p.f.Namespaces {
		if n := &p.f.Namespaces[i]; n.Owner == u && n.State != forest.Empty {
			return true
		}
	}
	return false
}

// settleOwner checks that namespace ns can be made with its owner, and makes
// its init the first member of a nested one.
func (p *planner) settleOwner(ns int32) {
	u := p.f.Namespaces[ns].Owner
	if u == 0 || p.f.Namespaces[ns].State == forest.Empty {
		return
	}
	init := p.nodeOf(p.x.Init(int(ns)))
	switch {
	case init == none:
		return // refused by check
	case ns == 0 && p.holder != none:
		p.refuse(&Refusal{Task: none, Kind: Unsupported, Reason: "the subtree's namespace is owned by a nested user namespace"})
	case p.f.UserNamespaces[u].Parent != 0:
		p.unsupported(init, "its namespace is owned by a user namespace two or more levels down, where outer numbers cannot be named (kernel-rules 9)")
	case p.f.Tasks[init].UserNamespace != u:
		p.unsupported(init, "it is not in the user namespace that owns its pid namespace")
	case p.firsts[u] != none:
		p.unsupported(init, "its user namespace owns another pid namespace as well")
	case p.f.Tasks[init].State.Exited():
		p.unsupported(init, "it is the init of a namespace in a nested user namespace, and has ended")
	default:
		p.firsts[u] = init
		p.nodes[init].inner = true
	}
}

// setOwner makes the Clone of init k create its user namespace as well.
func (p *planner) setOwner(k int32, op *Op) {
	if !p.nodes[k].inner {
		return
	}
	u := p.f.Tasks[p.nodes[k].task].UserNamespace
	op.Flags |= NewUser | Pidfd
	op.UID, op.GID = p.f.UserNamespaces[u].OwnerUID, p.f.UserNamespaces[u].OwnerGID
}

// enterAtBirth follows the birth of an init k inside its user namespace: its
// maps are written.
func (p *planner) enterAtBirth(k int32, made Ref) {
	p.madeUser(p.f.Tasks[p.nodes[k].task].UserNamespace, k, made)
}

// bearFor makes the entrant that bears the children of init k in its place,
// as a child of a, or if that is about to die, of its parent.
func (p *planner) bearFor(a, k int32) {
	if len(p.nodes[k].kids) == 0 {
		return
	}
	if p.nodes[a].passing {
		s := p.now(a).curSession
		if a = p.nodes[a].curParent; p.now(a).curSession != s {
			p.unsupported(k, "it is an init in a nested user namespace and was adopted, and %s cannot bear children in its session", p.name(a))
			return
		}
	}
	e := p.helper(RoleEntrant, p.nodes[k].ns, 0, "bears the children of "+p.name(k)+" with all their numbers, which it could not, and leaves them to it")
	en := &p.nodes[e]
	en.parent, en.session, en.group = a, p.now(a).curSession, p.now(a).curGroup
	p.birth(a, e, 0)
	p.nodes[k].standIn = e
}

// madeUser follows the making of user namespace u, of which n is the first
// member.
func (p *planner) madeUser(u int, n int32, made Ref) {
	p.entered[u] = made
	p.identity = append(p.identity, made)
	us := &p.f.UserNamespaces[u]
	if len(us.UIDMap) == 0 && len(us.GIDMap) == 0 && us.Setgroups {
		return
	}
	p.mapped[u] = p.doAs(Restorer, Op{
		Code: WriteMaps, Child: p.nodes[n].actor, Number: int32(u),
	}, made, p.mapped[us.Parent])
	p.wantPidfd(n)
}

// wantPidfd asks for a pidfd from n's Clone.
func (p *planner) wantPidfd(n int32) {
	if r := p.nodes[n].cloned; r != noRef { // Init has one anyhow
		p.at(r).Flags |= Pidfd
	}
}

// joinUser brings task node i into its user namespace, from the initial one.
func (p *planner) joinUser(i int32) {
	u := p.f.Tasks[i].UserNamespace
	if u == 0 || p.nodes[i].inner {
		return
	}
	if p.firsts[u] != i {
		p.wantPidfd(p.firsts[u])
		done := p.do(i, Op{Code: JoinUser, Child: none, Via: p.nodes[p.firsts[u]].actor}, p.entered[u])
		p.identity = append(p.identity, done)
		p.userJoins = append(p.userJoins, userJoin{u, done})
		return
	}
	parent := p.f.UserNamespaces[u].Parent
	if parent != 0 {
		p.wantPidfd(p.firsts[parent])
		done := p.do(i, Op{Code: JoinUser, Child: none, Via: p.nodes[p.firsts[parent]].actor}, p.entered[parent])
		p.identity = append(p.identity, done)
		p.userJoins = append(p.userJoins, userJoin{parent, done})
	}
	uid, ok1 := p.idInside(parent, p.f.UserNamespaces[u].OwnerUID, true)
	gid, ok2 := p.idInside(parent, p.f.UserNamespaces[u].OwnerGID, false)
	if !ok1 || !ok2 {
		p.unsupported(i, "the owner of its user namespace has no id in the one around it")
		return
	}
	done := p.do(i, Op{Code: UnshareUser, Child: none, Number: int32(u), UID: uid, GID: gid}, p.mapped[parent])
	p.madeUser(u, i, done)
}

// userJoin is a JoinUser, during which the first member must live.
type userJoin struct {
	user int
	done Ref
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
