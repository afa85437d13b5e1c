// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"slices"

	"github.com/pidgraft/pidgraft/forest"
)

// A subtree may use namespaces of which it does not have the init: somebody
// outside forked that, or has adopted it. Such a namespace gets an init that
// is outside again, a child of the outsider that holds as long as the forest
// lives: a warden. Likewise what an init waits for may be outside: that is a
// zombie that entered, whose parent, the outsider, does not collect it.

// hidden reports whether namespace ns lives, or its init waits, and that is
// outside the forest.
func (p *planner) hidden(ns int32) bool {
	n := &p.f.Namespaces[ns]
	return ns != 0 && p.f.Mode == forest.Subtree && (n.State == forest.Alive || n.State == forest.InitExiting) &&
		p.x.TaskOf(p.x.Init(int(ns))) == forest.None
}

// absent is who must be born before anybody can enter namespace ns, its init or
// whoever that must come from; none if there is nothing to wait for. Wardens are
// borne now.
func (p *planner) absent(ns int32) int32 {
	if init := p.initOf(ns); init != none || !p.hidden(ns) {
		if init == none || p.nodes[init].born {
			return none
		}
		return init
	}
	if first := p.absent(int32(p.f.Namespaces[ns].Parent)); first != none {
		return first
	}
	return p.bearWarden(ns)
}

// bearWarden bears the init of a namespace that is hidden, from outside; or if
// it leads a group in a session of the forest, of a member of that, whose parent
// loses it. It returns who must be born before.
func (p *planner) bearWarden(ns int32) int32 {
	parent, owner := int32(p.f.Namespaces[ns].Parent), p.f.Namespaces[ns].Owner
	why := "the init of a namespace whose init is outside the forest"
	tag := p.x.Init(int(ns))
	s, grouped := p.sessionOfGroup(tag)
	if !grouped || s == forest.Inherited {
		by := p.outsider()
		if p.holderLeads {
			by = p.holder // what is inherited is led by that
		}
		h := p.bornOf(by, parent, "makes "+why)
		if p.joinUser(h, owner); len(p.refusals) > 0 {
			return none
		}
		p.addWarden(h, ns, tag, why, Parent)
		return none
	}
	by, ok := p.bearer(s, parent)
	if l := p.nodeOf(s); !ok && l != none && !p.nodes[l].born {
		return l
	}
	if heir := p.wardens[parent]; ok && (parent == 0 && p.holder != none || heir != 0) && p.owns(p.now(by).user, p.f.Namespaces[parent].Owner) {
		if parent == 0 {
			heir = p.holder
		}
		h := p.helper(RoleHelper, parent, 0, "makes "+why+", and loses it")
		hn := &p.nodes[h]
		hn.session, hn.group, hn.once = p.now(by).curSession, p.now(by).curGroup, true
		p.birth(by, h, 0)
		if len(p.refusals) == 0 {
			p.joinUser(h, owner)
		}
		n := p.addWarden(h, ns, tag, why, 0)
		if len(p.refusals) == 0 {
			p.nodes[n].arrived = p.endInto(h, heir)
			p.nodes[n].curParent = heir
		}
		return none
	}
	p.refuse(&Refusal{Task: none, Tag: tag, Kind: Unsupported, Reason: "namespace " + p.nsName(ns) +
		" lives outside the forest, and its init leads a group in a session of it, where nobody could bear it"})
	return none
}

// addWarden has h, just made for that, bear the warden of namespace ns.
func (p *planner) addWarden(h, ns int32, tag forest.Tag, why string, flags CloneFlags) int32 {
	n := p.helper(RoleWarden, ns, tag, why)
	nd := &p.nodes[n]
	if tag == 0 {
		nd.numbers[len(nd.numbers)-1] = 1
	} else {
		p.ghosts[tag] = n
	}
	nd.session, nd.group = p.now(h).curSession, p.now(h).curGroup
	p.wardens[ns] = n
	if len(p.refusals) == 0 {
		p.birth(h, n, flags)
	}
	p.nodes[n].ended = true // not before Init
	return n
}

// bearWaited bears those that inits outside the forest, or with nothing in
// it to wait for, wait for.
func (p *planner) bearWaited() {
	for ns := range p.f.Namespaces {
		if p.hidden(int32(ns)) && p.f.Namespaces[ns].State == forest.InitExiting {
			p.waited = append(p.waited, int32(ns))
		}
	}
	for _, ns := range p.waited {
		if p.absent(ns); len(p.refusals) > 0 {
			return
		}
		z := p.fromOutside(ns, "is what namespace "+p.nsName(ns)+" waits for, and nobody collects")
		p.nodes[z].ended = true
		p.zombies = append(p.zombies, z)
	}
}

// endWaited lets those end.
func (p *planner) endWaited() {
	for _, z := range p.zombies {
		end := p.do(z, Op{Code: ExitGroup, Child: none}, p.helperNeeds(z)...)
		p.deaths = append(p.deaths, end, p.do(p.beside, Op{Code: Await, Child: p.nodes[z].actor}, end))
	}
}

// holdWardens ends the programs of the wardens that live on. They end with
// their parent at the latest.
func (p *planner) holdWardens() {
	for _, ns := range p.wardenOrder() {
		if n := p.wardens[ns]; p.f.Namespaces[ns].State == forest.Alive {
			p.do(n, Op{Code: Pdeath, Child: none, Signal: sigKill}, p.nodes[n].arrived)
			p.nodes[n].held = p.do(n, Op{Code: Hold, Child: none}, p.helperNeeds(n)...)
		}
	}
}

// wardenOrder lists the namespaces of wardens, inner ones first.
func (p *planner) wardenOrder() []int32 {
	order := make([]int32, 0, len(p.wardens))
	for ns := range p.wardens {
		order = append(order, ns)
	}
	slices.SortFunc(order, func(a, b int32) int {
		if c := cmp.Compare(p.f.Namespaces[b].Level, p.f.Namespaces[a].Level); c != 0 {
			return c
		}
		return cmp.Compare(a, b)
	})
	return order
}
