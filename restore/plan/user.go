// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	"github.com/pidgraft/pidgraft/forest"
)

// Who is in a nested user namespace has no capabilities outside it, so it
// cannot name numbers at outer levels (kernel-rules 9). Tasks therefore stay
// in the initial user namespace while they bear others, and join their own at
// the end. There are two exceptions. The init of a pid namespace that a nested
// user namespace owns is born inside; its children are born, if their sessions
// allow, of an entrant in its place, which has outer credentials, and which
// dies so that the init adopts them. And who has threads, or bears a namespace
// that its user namespace is to own, must be inside first: what is born inside
// gets its outer numbers from the id cursors, one birth after the other.

// settleUsers chooses the first member of each user namespace: the init whose
// birth makes it, or else the task that will unshare it.
func (p *planner) settleUsers() {
	n := len(p.f.UserNamespaces)
	p.firsts, p.entered, p.mapped = make([]int32, n), make([]Ref, n), make([]Ref, n)
	for u := range p.firsts {
		p.firsts[u], p.entered[u], p.mapped[u] = none, noRef, noRef
	}
	for ns := range p.f.Namespaces {
		if len(p.refusals) == 0 {
			p.settleOwner(int32(ns))
		}
	}
	for i := int32(0); i < p.tasks; i++ {
		u := p.f.Tasks[i].UserNamespace
		if u == 0 {
			continue
		}
		nd := &p.nodes[i]
		if nd.leader == i && !nd.founds && len(nd.threads) > 0 {
			nd.early = true
		}
		if old := p.firsts[u]; nd.leader == i && (old == none || p.leaves(old) && !p.nodes[old].founds && !p.leaves(i)) {
			p.firsts[u] = i
		}
	}
	for u := 1; u < n; u++ {
		if p.firsts[u] == none {
			p.refuse(&Refusal{Task: none, Kind: Unsupported, Reason: "a user namespace of the forest has no member in it"})
		}
	}
}

// settleOwner finds how namespace ns comes to belong to a nested user
// namespace: its init's birth makes that too, or the init's parent is in it.
func (p *planner) settleOwner(ns int32) {
	u := p.f.Namespaces[ns].Owner
	if u == 0 || p.f.Namespaces[ns].State == forest.Empty {
		return
	}
	init := p.nodeOf(p.x.Init(int(ns)))
	if init == none {
		return // refused by check
	}
	parent := p.nodes[init].parent
	from := 0
	if parent != none && parent < p.tasks {
		from = p.f.Tasks[parent].UserNamespace
	}
	switch {
	case ns == 0 && p.holder != none:
		p.refuse(&Refusal{Task: none, Kind: Unsupported, Reason: "the subtree's namespace is owned by a nested user namespace"})
	case p.f.Tasks[init].UserNamespace != u:
		p.unsupported(init, "it is not in the user namespace that owns its pid namespace")
	case from == u:
		p.enterEarly(parent)
	case p.f.UserNamespaces[u].Parent == 0 && p.firsts[u] == none:
		p.firsts[u], p.nodes[init].founds = init, true
	case p.f.UserNamespaces[u].Parent == from && p.firsts[u] == none:
		p.firsts[u], p.nodes[init].founds = init, true
		p.enterEarly(parent)
	default:
		p.unsupported(init, "its parent %s could not have made the user namespace that owns its pid namespace", p.name(parent))
	}
}

// enterEarly notes that the process of thread node t must be in its user
// namespace before it bears anybody.
func (p *planner) enterEarly(t int32) {
	if l := &p.nodes[p.nodes[t].leader]; !l.founds {
		l.early = true
	}
}

// setOwner makes the Clone of init k by a create its user namespace as well, if
// it is the first there.
func (p *planner) setOwner(a, k int32, op *Op) {
	if !p.nodes[k].founds {
		if owner := p.f.Namespaces[p.nodes[k].ns].Owner; a != none && int(p.now(a).user) != owner {
			p.unsupported(k, "its namespace belongs to another user namespace than that of %s, which would make it", p.name(a))
		}
		return
	}
	u := p.f.Tasks[p.nodes[k].task].UserNamespace
	parent := p.f.UserNamespaces[u].Parent
	uid, ok1 := p.idInside(parent, p.f.UserNamespaces[u].OwnerUID, true)
	gid, ok2 := p.idInside(parent, p.f.UserNamespaces[u].OwnerGID, false)
	if !ok1 || !ok2 || a != none && int(p.now(a).user) != parent {
		p.unsupported(k, "the owner of its user namespace has no id in the one around it, or could not be there")
		return
	}
	op.Flags |= NewUser | Pidfd
	op.UID, op.GID = uid, gid
}

// enterAtBirth follows the birth of an init k inside its user namespace: its
// maps are written.
func (p *planner) enterAtBirth(k int32, made Ref) {
	u := p.f.Tasks[p.nodes[k].task].UserNamespace
	p.nodes[k].user = int32(u)
	p.madeUser(u, k, made)
}

// bearFor makes the entrant that bears the children of init k in its place,
// as a child of a, or if that is about to die, of its parent. Children in a
// session that k leads can only be its own, and so can inits: their namespaces
// must belong to k's user namespace or one in it.
func (p *planner) bearFor(a, k int32) {
	kids := p.nodes[k].kids
	own := slices.ContainsFunc(kids, func(c int32) bool {
		return p.need(c) == p.nodes[k].tag || p.isInit(c)
	})
	if len(kids) == 0 || own || p.now(a).user != 0 {
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

// owns reports whether who is in user namespace u may name numbers in one that
// belongs to user namespace owner: that is u, or below it.
func (p *planner) owns(u, owner int32) bool {
	for owner > u {
		owner = int32(p.f.UserNamespaces[owner].Parent)
	}
	return owner == u
}

// nameOuter arranges that a, inside a nested user namespace, can make k with
// all its numbers: it names those that it may, and the id cursors of the other
// namespaces are put just before the numbers that k is to get. It returns the
// numbers to name, innermost first, and what the Clone comes after.
func (p *planner) nameOuter(a, k int32) ([]int32, []Ref) {
	chain := p.chain(k)
	u := p.now(a).user
	ns := p.nodes[k].ns
	if p.isInit(k) {
		ns = int32(p.f.Namespaces[ns].Parent) // its own belongs to u or below
	}
	for ns >= 0 && p.owns(u, int32(p.f.Namespaces[ns].Owner)) {
		ns = int32(p.f.Namespaces[ns].Parent)
	}
	if ns < 0 {
		return p.innermostFirst(chain), nil
	}
	outer := p.f.Namespaces[ns].Level + 1
	after := []Ref{p.lastUnnamed}
	for ; ns >= 0; ns = int32(p.f.Namespaces[ns].Parent) {
		by := p.writer(ns)
		if len(p.refusals) > 0 {
			return nil, nil
		}
		if by == none || !p.nodes[by].born || p.f.Namespaces[ns].Cursor == 0 {
			p.unsupported(k, "its number in namespace %s must come from an id cursor, and nobody could write that, or undo it", p.nsName(ns))
			return nil, nil
		}
		number := chain[p.f.Namespaces[ns].Level]
		after = append(after, p.do(by, Op{Code: Cursor, Child: none, Number: number - 1}, p.lastUnnamed, p.nodes[by].cloned))
	}
	return p.innermostFirst(chain[outer:]), after
}

// writer is who can write the id cursor and pid_max of namespace ns: its init,
// if that has the capability now, or else a helper from outside; none if there
// is no init yet.
func (p *planner) writer(ns int32) int32 {
	if w, ok := p.writers[ns]; ok {
		return w
	}
	by := p.initOf(ns)
	if ns == 0 && p.holder != none {
		by = p.holder
	}
	if by == none || !p.nodes[by].born || p.owns(p.nodes[by].user, int32(p.f.Namespaces[ns].Owner)) {
		return by
	}
	w := p.helper(RoleHelper, ns, 0, "writes the id cursor of namespace "+p.nsName(ns)+", whose init no longer can")
	p.writers[ns] = w
	p.birth(p.outsider(), w, 0)
	return w
}

// mayBear reports whether k can be in its user namespace in the end if it is
// born by a: it is born in a's, and from inside one that, only a new one can
// be entered, since descriptors of others cannot be used there (kernel-rules
// 26).
func (p *planner) mayBear(a, k int32) bool {
	u := int(p.now(a).user)
	if p.nodes[k].task == none || u == 0 {
		return true
	}
	own := p.f.Tasks[p.nodes[k].task].UserNamespace
	return own == u || p.nodes[k].founds || p.firsts[own] == k && p.f.UserNamespaces[own].Parent == u
}

// madeUser follows the making of user namespace u, of which n is the first
// member.
func (p *planner) madeUser(u int, n int32, made Ref) {
	p.entered[u] = made
	p.identity = append(p.identity, made)
	us := &p.f.UserNamespaces[u]
	if us.OwnerUID|us.OwnerGID != 0 {
		p.now(n).owner = true
	}
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

// joinUser brings process i into its user namespace, from the one it is in.
func (p *planner) joinUser(i int32) {
	u := p.f.Tasks[i].UserNamespace
	if l := p.nodes[i].leader; l != i || int(p.nodes[l].user) == u {
		return
	}
	now := int(p.nodes[i].user)
	if p.firsts[u] != i {
		if p.entered[u] == noRef || now != 0 {
			p.unsupported(i, "it must be in its user namespace before others are born, and cannot be by then")
			return
		}
		p.wantPidfd(p.firsts[u])
		done := p.do(i, Op{Code: JoinUser, Child: none, Via: p.nodes[p.firsts[u]].actor}, p.entered[u])
		p.identity = append(p.identity, done)
		p.userJoins = append(p.userJoins, userJoin{u, done})
		p.nodes[i].user = int32(u)
		return
	}
	parent := p.f.UserNamespaces[u].Parent
	if parent != now {
		if p.entered[parent] == noRef || now != 0 {
			p.unsupported(i, "it must be in the user namespace around its own before others are born, and cannot be by then")
			return
		}
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
	p.nodes[i].user = int32(u)
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
