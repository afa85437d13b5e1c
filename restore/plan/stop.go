// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"maps"
	"slices"

	"github.com/pidgraft/pidgraft/forest"
)

// stops reports whether the default action of sig stops a process.
func stops(sig int32) bool { return sig >= 19 && sig <= 22 }

// fenceStops is where all deaths, adoptions and changes of groups are over, if
// anybody is to be stopped: they decide which groups are orphaned.
func (p *planner) fenceStops() {
	if !slices.ContainsFunc(p.f.Tasks, func(t forest.Task) bool { return t.State == forest.Stopped }) {
		return
	}
	by := int32(0)
	if p.holder != none {
		by = p.holder
	}
	if p.f.Tasks[0].State.Exited() && p.holder == none {
		by = p.waits(0)
	}
	after := append(p.deaths, p.lastAdoption)
	for i := range p.nodes {
		if p.nodes[i].changed != noRef {
			after = append(after, p.nodes[i].changed)
		}
	}
	p.stops = p.do(by, Op{Code: Nop, Child: none}, after...)
}

// stopChildren plans that thread i stops those of its children that are
// stopped in the end. Those of a leader that has ended are its first thread's.
func (p *planner) stopChildren(i int32) {
	kids := p.nodes[i].kids
	if l := p.nodes[i].leader; l != i && p.waits(l) == i {
		kids = append(slices.Clone(kids), p.nodes[l].kids...)
	}
	for _, k := range kids {
		p.stop(i, k)
	}
}

// stop plans that by stops its child k, all of whose threads hold, if it is
// stopped in the end.
func (p *planner) stop(by, k int32) {
	op := Op{Code: Stop, Child: p.nodes[k].actor, Pid: p.number(k, p.nodes[by].ns), Signal: p.stopSignal(k)}
	if op.Signal == 0 {
		return
	}
	after := []Ref{p.stops}
	for _, th := range p.threadsOf(k) {
		t := &p.f.Tasks[th]
		if t.State == forest.Stopped && t.StopReported {
			op.Number = 1
		}
		if t.State.Exited() {
			after = append(after, p.lastOf(th)) // a leader that has ended
		} else {
			after = append(after, p.nodes[th].held)
		}
	}
	if !p.maySignal(by, k) {
		after = []Ref{p.send(by, k, op.Signal, after...)}
		op.Signal = 0
	}
	p.stopped(k, p.do(by, op, after...))
}

// endStopping ends those whose exit signal is SIGSTOP, which nobody can block:
// it stops their parent, which its own parent then lets go on. This is done
// one by one and after all other deaths, which could hang up a group with a
// stopped member (kernel-rules 22).
func (p *planner) endStopping() {
	if len(p.stoppers) == 0 {
		return
	}
	first := int32(0)
	if p.holder != none {
		first = p.holder
	}
	last := p.do(p.waits(first), Op{Code: Nop, Child: none}, append(slices.Clone(p.deaths), p.lastAdoption)...)
	for _, z := range p.stoppers {
		t := p.waits(p.nodes[z].curParent)
		k := p.nodes[t].leader
		if p.nodes[k].parent == none {
			p.unsupported(z, "its end stops its parent, which entered the namespace from outside")
			return
		}
		by := p.waits(p.nodes[k].parent)
		// What by has to do before must not need k, which is stopped by then.
		after := []Ref{last, p.lastOf(by)}
		for _, th := range p.threadsOf(k) {
			after = append(after, p.lastOf(th))
		}
		end := p.endProcess(z, by, append(p.neededBy(z), after...))
		stopped := p.do(by, Op{Code: Stop, Child: p.nodes[k].actor, Pid: p.number(k, p.nodes[by].ns)}, end)
		last = p.send(by, k, sigCont, stopped)
		p.deaths = append(p.deaths, p.do(t, Op{
			Code: Await, Child: p.nodes[z].actor, Pid: p.number(z, p.nodes[t].ns),
		}, last))
	}
}

// send plans that by sends a signal to its child k, or if it may not, the
// restorer.
func (p *planner) send(by, k, sig int32, after ...Ref) Ref {
	op := Op{Code: Kill, Child: p.nodes[k].actor, Signal: sig}
	if !p.maySignal(by, k) {
		p.wantPidfd(k)
		return p.doAs(Restorer, op, after...)
	}
	op.Pid = p.number(k, p.nodes[by].ns)
	return p.do(by, op, after...)
}

// maySignal reports whether i may send k a signal, as both are in the end
// (kill_ok_by_cred, kernel/signal.c).
func (p *planner) maySignal(i, k int32) bool {
	from, to := &p.nodes[i], &p.nodes[k]
	able := p.owns(p.now(i).user, int(p.now(k).user)) && (p.now(i).user == 0 || p.executedBy(i) == noRef)
	return able || from.ids.uid == to.ids.uid || from.ids.euid == to.ids.uid
}

// stopRoot plans the stop of a root that is the first of all: from outside.
func (p *planner) stopRoot() {
	sig := p.stopSignal(0)
	if p.holder != none || sig == 0 {
		return
	}
	stop := Op{Code: Stop, Child: Init, Signal: sig}
	var after []Ref
	for _, th := range p.threadsOf(0) {
		t := &p.f.Tasks[th]
		if t.StopReported {
			stop.Number = 1
		}
		if t.State.Exited() {
			after = append(after, p.lastOf(th))
		} else {
			after = append(after, p.nodes[th].held)
		}
	}
	p.doAs(Restorer, stop, after...)
}

// stopped notes when process k was stopped, for those that keep its group from
// being orphaned until then. SIGSTOP does not need them.
func (p *planner) stopped(k int32, done Ref) {
	if c := p.crews[p.nodes[k].group]; c != nil && p.stopSignal(k) != sigStop {
		c.stops = append(c.stops, done)
		c.waits--
	}
}

// crew are helpers that keep a group from being orphaned until its members
// are stopped: SIGTSTP, SIGTTIN and SIGTTOU stop nobody in an orphaned group,
// and one may have been orphaned since (kernel-rules 22). The inner one is in
// the group; the outer one, its parent, is in the same session but not in the
// group. The inner one leaves by setpgid, which, unlike a death or an adoption,
// sends no SIGHUP to the stopped.
type crew struct {
	outer, inner int32
	reaper       int32 // who has adopted the outer one by the end
	waits        int   // stops to come
	stops        []Ref
}

// stopsParent reports whether the end of process z stops its parent.
func (p *planner) stopsParent(z int32) bool {
	nd := &p.nodes[z]
	return nd.signal == sigStop && nd.curParent != none && p.executedBy(nd.curParent) == noRef && p.nodes[nd.curParent].task != none &&
		!p.isInit(p.nodes[nd.curParent].leader)
}

// man makes the crews: of groups that have a member stopped by a signal that
// the group does not heed as it is. All are in their groups by now, and nobody
// has ended.
func (p *planner) man() {
	stopped := make(map[forest.Tag][]int32)
	for k := int32(0); k < p.tasks; k++ {
		g := p.nodes[k].group
		if sig := p.stopSignal(k); p.nodes[k].leader == k && sig != 0 && sig != sigStop && (k > 0 || p.holder != none) {
			stopped[g] = append(stopped[g], k)
		}
	}
	for _, g := range slices.Sorted(maps.Keys(stopped)) {
		if p.orphaned(g) && len(p.refusals) == 0 {
			p.crews[g] = p.manFor(g, stopped[g])
			p.crews[g].waits = len(stopped[g])
		}
	}
}

// stopSignal is the signal that stopped process k, or 0.
func (p *planner) stopSignal(k int32) int32 {
	for _, th := range p.threadsOf(k) {
		if t := &p.f.Tasks[th]; t.State == forest.Stopped {
			return t.StopSignal
		}
	}
	return 0
}

// holdsAt says when i holds or, if it is no task, has stopped its children: the
// higher, the earlier (rest).
func (p *planner) holdsAt(i int32) int32 {
	switch i {
	case p.beside:
		return 2*p.nodes[0].end - 1 // after all that entered
	case p.holder:
		return none
	}
	return 2 * i
}

// stopper is who stops process k.
func (p *planner) stopper(k int32) int32 { return p.waits(p.nodes[k].parent) }

// manFor makes the crew of group g, of which the given members are to be
// stopped: siblings of the one that is stopped last, whose parent then ends
// them; or if that one cannot name their numbers, children of another member,
// for the init of its namespace.
func (p *planner) manFor(g forest.Tag, members []int32) *crew {
	last := slices.MinFunc(members, func(a, b int32) int {
		return cmp.Compare(p.holdsAt(p.stopper(a)), p.holdsAt(p.stopper(b)))
	})
	why := "keeps group " + p.f.TagName(g) + " from being orphaned until its members are stopped"
	hire := func(by int32, flags CloneFlags) int32 {
		h := p.helper(RoleHelper, p.nodes[by].ns, 0, why)
		nd := &p.nodes[h]
		nd.session, nd.group = p.nodes[by].curSession, g
		if flags&Parent != 0 {
			nd.signal = p.nodes[by].signal
		}
		p.birth(by, h, flags)
		p.nodes[h].ended = true // not before they have done their work
		return h
	}
	c := &crew{}
	sig := p.nodes[last].signal
	if aside := p.nodes[last].user == 0 && sig != sigKill && sig != sigStop; aside {
		c.reaper = p.stopper(last)
		c.outer = hire(last, Parent)
	} else {
		m, reaper := p.nearest(g)
		passing := hire(m, 0)
		c.reaper = p.waits(reaper)
		c.outer = hire(passing, 0)
		defer func() {
			if len(p.refusals) == 0 {
				p.nodes[c.outer].arrived = p.endInto(passing, reaper)
				p.nodes[c.outer].curParent = reaper
			}
		}()
	}
	c.inner = hire(c.outer, 0)
	if len(p.refusals) == 0 {
		p.change(c.outer, c.outer, Op{Code: Setpgid, Child: none})
	}
	return c
}

// nearest is the member of group g furthest out, of those that can name numbers
// if there are any, and the init of its namespace, which must live.
func (p *planner) nearest(g forest.Tag) (m, reaper int32) {
	m = none
	for _, o := range p.x.Group(g) {
		r := p.initOf(p.nodes[o].ns)
		if p.nodes[o].ns == 0 && p.holder != none {
			r = p.holder
		}
		if r != p.holder && p.leaves(p.waits(r)) {
			continue
		}
		if m == none {
			m, reaper = o, r
			continue
		}
		if a, b := p.nodes[o].user == 0, p.nodes[m].user == 0; a && !b ||
			a == b && p.f.Namespaces[p.nodes[o].ns].Level < p.f.Namespaces[p.nodes[m].ns].Level {
			m, reaper = o, r
		}
	}
	return m, reaper
}

// dismiss ends the crews whose work is done before i, who adopted them, holds.
func (p *planner) dismiss(i int32) {
	for _, g := range slices.Sorted(maps.Keys(p.crews)) {
		c := p.crews[g]
		if c.reaper != i {
			continue
		}
		if c.waits > 0 {
			p.unsupported(i, "it holds before the members of group %s are stopped, and is needed for that", p.f.TagName(g))
			return
		}
		p.change(c.inner, c.inner, Op{Code: Setpgid, Child: none}, c.stops...)
		p.do(c.inner, Op{Code: ExitGroup, Child: none})
		p.reap(c.outer, c.inner)
		p.do(c.outer, Op{Code: ExitGroup, Child: none})
		p.reap(i, c.outer)
		p.discard(i, c.outer)
	}
}
