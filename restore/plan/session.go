// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	"github.com/pidgraft/pidgraft/forest"
)

// A session is inherited by birth only: who is in session S was born by a
// member of S, or by S's leader, or by a leader that was itself born in S and
// had not called setsid yet (kernel-rules, Theory). So a child whose parent is
// in another session needs one of
//
//   - a parent that leads a session and was born in the child's: it forks the
//     child before its own setsid;
//   - a member of the child's session that is the parent's child too, which
//     makes a sibling (CLONE_PARENT);
//   - a member further down, whose throwaway child makes it and dies, so that
//     the parent adopts it.
//
// The first puts a demand on the parent's own birth, which travels up.

// settleHomes decides whose child the leader of each ghost session will be:
// that of a parent that needs the session for a child and is not in it.
func (p *planner) settleHomes() {
	p.settleTold()
	p.chooseHomes()
	for i := int32(1); i < p.tasks; i++ {
		nd := &p.nodes[i]
		if nd.leader != i || nd.leads || nd.parent == none {
			continue
		}
		if _, ghost := p.ghosts[nd.session]; !ghost || p.nodes[nd.parent].session == nd.session || p.toldHome(nd.session) {
			continue
		}
		switch {
		case p.isInit(nd.parent) && !p.owns(int32(p.f.Namespaces[p.nodes[nd.parent].ns].Owner), int(nd.bornUser)):
			p.homes[nd.session] = p.outsider() // from where the parent adopts
		case !p.bornIn || !p.leadsSession(nd.parent):
			p.offerHome(nd.session, nd.parent)
		}
	}
}

// chooseHomes may settle otherwise than by the rules whose child the leader of a
// ghost session will be: of the parents of members, and those above them, one that
// lives in the leader's namespace or further out.
func (p *planner) chooseHomes() {
	for _, s := range p.x.Ghosts() {
		members := p.x.Session(s)
		if len(members) == 0 || p.toldHome(s) {
			continue
		}
		var homes []int32
		for _, m := range members {
			for t := p.nodes[m].parent; t != none && t < p.tasks && len(homes) < maxHomes; t = p.nodes[p.nodes[t].leader].parent {
				if p.f.Encloses(int(p.nodes[t].ns), p.f.Pid(s).Namespace) && !slices.Contains(homes, t) {
					homes = append(homes, t)
				}
			}
		}
		if at := p.choose(len(homes) + 1); at > 0 {
			p.homes[s], p.fixed[s] = homes[at-1], true
		}
	}
}

const maxHomes = 12

// offerHome proposes thread node t as the parent of the leader of ghost
// session s. One that leads no session is preferred, since it has no other
// way to get a child of s; then the deepest, since those above it can adopt,
// and so can the leader of its process, which comes before its threads.
func (p *planner) offerHome(s forest.Tag, t int32) {
	if t != p.beside && p.nodes[t].ns != int32(p.f.Pid(s).Namespace) {
		return
	}
	at, ok := p.homes[s]
	if p.toldHome(s) {
		return
	}
	if !ok || p.leadsSession(at) && !p.leadsSession(t) ||
		p.leadsSession(at) == p.leadsSession(t) && t > at {
		p.homes[s] = t
	}
}

func (p *planner) leadsSession(n int32) bool { return p.nodes[p.nodes[n].leader].leads }

// require finds, from the leaves up, in which session every session leader
// must be born.
func (p *planner) require() {
	for i := p.tasks - 1; i >= 0; i-- {
		if p.nodes[i].leader == i {
			p.requireOf(i)
		}
	}
	if b := p.nodes[0].birth; p.bornIn && p.holder != none && p.ghosts[b] == none && b > 0 && p.f.Pid(b).Namespace == 0 {
		p.homes[b] = p.holder
	} else if b != free && b != forest.Inherited {
		p.unsupported(0, "a child of it is in session %s, which nobody in the forest could have handed to it", p.f.TagName(b))
	}
	if p.nodes[0].birth == free {
		p.nodes[0].birth = forest.Inherited
	}
	for _, tag := range p.x.Ghosts() {
		if members := p.x.Session(tag); len(members) > 0 && !p.hasHome(tag) {
			p.unsupported(members[0], "the leader of its session %s has died, and no process of that namespace could bear it again", p.f.TagName(tag))
		}
	}
}

func (p *planner) hasHome(s forest.Tag) bool {
	_, ok := p.homes[s]
	return ok
}

// requireOf settles process i, whose children are settled.
func (p *planner) requireOf(i int32) {
	up := p.toldSession(i)
	for _, t := range p.threadsOf(i) {
		for _, k := range p.nodes[t].kids {
			s := p.need(k)
			if s == free || s == p.nodes[i].session || s == up || p.inside(s, i, t, up) {
				continue
			}
			if t == i && p.nodes[k].signal == forest.SIGCHLD {
				may := up == free && p.nodes[i].leads // be born in s as well
				if p.sideways(s, i) && !(may && p.choose(2) > 0) || p.fromFurtherOut(s, i) && (!may || p.choose(2) > 0) {
					continue
				}
			}
			if (up != free || !p.nodes[i].leads) && p.nestBelow(s, i, t, k) {
				continue
			}
			if up != free {
				p.unsupported(i, "its children need two sessions that it can only be born in: %s for one, %s for %s",
					p.f.TagName(up), p.f.TagName(s), p.name(k))
				return
			}
			up = s
			if !p.nodes[i].leads {
				p.unsupported(k, "it is in session %s, but its parent %s is in %s and can neither have been born in the first nor adopt from it",
					p.f.TagName(s), p.name(i), p.f.TagName(p.nodes[i].session))
				return
			}
		}
	}
	p.nodes[i].birth = up
}

// inside reports whether session s can be had from below process i: its leader
// is there, or is a ghost whose home is there. A ghost without a home gets
// one at thread t of i if that is in its namespace, and does not rather be
// born in s itself, having no other session (up) to be born in.
func (p *planner) inside(s forest.Tag, i, t int32, up forest.Tag) bool {
	if s <= 0 {
		return false
	}
	if _, ghost := p.ghosts[s]; ghost {
		if _, ok := p.homes[s]; !ok && (!p.bornIn || !p.nodes[i].leads || up != free) {
			p.offerHome(s, t)
		}
		home, ok := p.homes[s]
		return ok && p.within(home, i)
	}
	l := p.nodeOf(s)
	return l != i && (p.within(l, i) || l != none && p.nodes[l].nest != none && p.within(p.nodes[l].nest, i))
}

// nestBelow has the leader of session s, which is a later child of somebody further
// up, born below thread t of process i, so that t can adopt k from it. It reports
// whether that can be.
func (p *planner) nestBelow(s forest.Tag, i, t, k int32) bool {
	if s <= 0 || t != i || p.nodes[k].signal != forest.SIGCHLD {
		return false
	}
	l := p.nodeOf(s)
	if l == none || l >= p.tasks || l < p.nodes[i].end || p.nodes[l].nest != none || p.nodes[l].signal != forest.SIGCHLD ||
		p.nodes[l].parent == none || !p.within(i, p.nodes[p.nodes[l].parent].leader) {
		return false
	}
	if b := p.need(l); b != free && b != p.nodes[i].session || p.birthplace(l) != p.nodes[t].ns || p.nodes[p.nodes[l].parent].ns != p.nodes[t].ns {
		return false
	}
	p.nodes[l].nest = t
	return true
}

// sideways reports whether children of init i can come from session s, though
// neither is that led from below nor is i born in it: a member of it enters
// the namespace, bears a child there and has a child of that adopted.
func (p *planner) sideways(s forest.Tag, i int32) bool {
	if s <= 0 || !p.isInit(i) {
		return false
	}
	l := p.nodeOf(s)
	if _, ghost := p.ghosts[s]; ghost {
		home, ok := p.homes[s]
		if !ok {
			return false
		}
		l = home
	}
	top := p.topOf(l) // none: from outside
	return top == none || !p.within(i, top)
}

// fromFurtherOut is sideways for a session whose leader has i below it: it
// lives further out than i does, and so do members of it.
func (p *planner) fromFurtherOut(s forest.Tag, i int32) bool {
	if s == forest.Inherited && !p.holderLeads { // by the outsider, if by nobody else
		return i != 0 && p.isInit(i)
	}
	if s <= 0 || !p.isInit(i) {
		return false
	}
	at := p.f.Pid(s).Namespace
	return s != p.nodes[i].tag && at != int(p.nodes[i].ns) && p.f.Encloses(at, int(p.nodes[i].ns))
}

// bearGhost bears the leader of ghost session s again, as a child of the
// thread that is its home, if that lives by now. It makes siblings with the
// exit signal of the first that adoption would not leave as it is.
func (p *planner) bearGhost(s forest.Tag) int32 {
	home, ok := p.homes[s]
	if !ok || !p.nodes[home].born {
		return none
	}
	g := p.helper(RoleGhost, int32(p.f.Pid(s).Namespace), s, "leads session "+p.f.TagName(s)+", whose leader had died")
	p.ghosts[s] = g
	gn := &p.nodes[g]
	gn.parent, gn.session, gn.group, gn.leads = home, s, s, true
	for _, k := range p.nodes[home].kids {
		if p.need(k) == s && p.nodes[k].signal != forest.SIGCHLD {
			gn.signal = p.nodes[k].signal
			break
		}
	}
	p.spawn(p.via(home), g)
	return g
}

// threadsOf lists the tasks of the process that node i leads.
func (p *planner) threadsOf(i int32) []int32 {
	if i >= p.tasks {
		return []int32{i}
	}
	return p.x.Threads(int(i))
}
