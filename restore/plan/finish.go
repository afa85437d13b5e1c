// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	"github.com/pidgraft/pidgraft/forest"
)

// finish ends the helpers, gives the tasks what they can only get once
// everybody is in place, and lets those end that have ended.
func (p *planner) finish() {
	for i := int32(0); i < p.tasks; i++ {
		p.takeNamespace(i)
	}
	p.writeCursors()
	for n := int32(len(p.nodes)) - 1; n >= p.tasks; n-- {
		if n != p.holder && !p.nodes[n].ended {
			p.endHelper(n)
		}
	}
	// Joining a user namespace in the order of the namespaces, parents
	// first: the first member of each must be there before the others.
	for i := int32(0); i < p.tasks; i++ {
		p.attributes(i)
	}
	for u := range p.firsts {
		if u > 0 && p.firsts[u] != none {
			p.joinUser(p.firsts[u])
		}
	}
	for i := int32(0); i < p.tasks; i++ {
		if u := p.f.Tasks[i].UserNamespace; u > 0 && p.firsts[u] != i {
			p.joinUser(i)
		}
	}
	for i := int32(0); i < p.tasks; i++ {
		p.lastAttributes(i)
	}
	p.fence()
	for i := int32(0); i < p.tasks; i++ {
		p.end(i)
	}
	p.rest()
}

// endHelper ends a helper that has done its work: its children by adoption
// (an entrant's) go on, and its parent reaps it.
func (p *planner) endHelper(n int32) {
	nd := &p.nodes[n]
	parent := nd.curParent
	if nd.role == RoleEntrant {
		init := p.nodeOf(p.x.Init(int(nd.ns)))
		p.nodes[init].arrivedKids = p.endInto(n, init)
		return
	}
	after := append(append([]Ref(nil), p.joins[nd.tag]...), p.holders[n]...)
	if nd.tag == 0 {
		after = append(after, p.joins[nd.group]...) // it kept a group alive
	}
	end := p.do(n, Op{Code: ExitGroup, Child: none}, after...)
	nd.ended = true
	if parent == none { // an outsider, which the restorer collects
		p.deaths = append(p.deaths, end)
		return
	}
	p.reap(parent, n)
	p.discard(parent, nd.signal)
}

// discard makes parent forget the exit signal of a child that has ended. All
// signals are blocked while a plan runs, so it is pending, and would kill or
// stop the parent once that runs a program; ignoring it drops it
// (kernel-rules 15, 23a).
func (p *planner) discard(parent int32, signal int32) {
	switch {
	case !fatal(signal) && !stops(signal):
	case signal == sigKill || signal == sigStop:
		if !p.isInit(p.nodes[parent].leader) {
			p.unsupported(parent, "a child of it that has ended has exit signal %d, which nobody can block", signal)
		}
	default:
		p.do(parent, Op{Code: Ignore, Child: none, Signal: signal, Number: 1})
		p.do(parent, Op{Code: Ignore, Child: none, Signal: signal})
	}
}

// Signals with the same number on every architecture that is supported.
const (
	sigKill = 9
	sigStop = 19
)

// stops reports whether the default action of sig stops a process.
func stops(sig int32) bool { return sig >= 19 && sig <= 22 }

// attributes plans what a task sets on itself before it may lose its
// capabilities.
func (p *planner) attributes(i int32) {
	t := &p.f.Tasks[i]
	if t.Subreaper && t.IsLeader() {
		p.do(i, Op{Code: Subreaper, Child: none, Number: 1}, p.lastAdoption)
	}
}

// takeNamespace plans where the next child of i would be born. All births are
// over by then; what dies with its namespace is still alive.
func (p *planner) takeNamespace(i int32) {
	t := &p.f.Tasks[i]
	ns := t.ChildNamespace
	if ns == forest.SameNamespace || t.State.Exited() {
		return
	}
	state := p.f.Namespaces[ns].State
	init := p.initOf(int32(ns))
	switch {
	case p.now(i).user != 0 && state != forest.Empty:
		p.unsupported(i, "it has another namespace for its children and must be inside a nested user namespace by then")
	case init != none:
		p.wantPidfd(init)
		done := p.do(i, Op{Code: JoinPID, Child: none, Via: p.nodes[init].actor}, p.nodes[init].cloned)
		p.holders[init] = append(p.holders[init], done)
	case p.f.Namespaces[ns].Owner != 0:
		if state == forest.Dead {
			p.unsupported(i, "its children would be born in a dead namespace that a nested user namespace owns")
		} // an empty one is unshared last: lastAttributes
	default:
		p.do(i, Op{Code: UnsharePID, Child: none, Number: int32(ns)})
		if state == forest.Dead {
			p.bearDead(i, int32(ns))
		}
	}
}

// initOf is the node that is number 1 of namespace ns, or none.
func (p *planner) initOf(ns int32) int32 {
	if n, ok := p.deadInits[ns]; ok {
		return n
	}
	return p.nodeOf(p.x.Init(int(ns)))
}

// bearDead gives namespace ns, which i has just unshared, an init that ends
// when everybody has taken the namespace: nothing else leaves it dead.
func (p *planner) bearDead(i, ns int32) {
	if p.nodes[i].ns != int32(p.f.Namespaces[ns].Parent) {
		p.unsupported(i, "the dead namespace that its children would be born in lies deeper than it could have unshared it")
		return
	}
	n := p.helper(RoleHelper, p.nodes[i].ns, 0, "is the init of a namespace that is left dead")
	nd := &p.nodes[n]
	nd.ns, nd.numbers = ns, append(nd.numbers, 1)
	nd.parent, nd.session, nd.group = i, p.now(i).curSession, p.now(i).curGroup
	nd.curSession, nd.curGroup = nd.session, nd.group
	nd.cloned = p.do(i, Op{
		Code: Clone, Child: nd.actor, Numbers: p.innermostFirst(nd.numbers), Signal: nd.signal,
	})
	p.comeAlive(n, i)
	p.deadInits[ns] = n
}

// lastAttributes plans what a task does as what it is in the end.
func (p *planner) lastAttributes(i int32) {
	t := &p.f.Tasks[i]
	if ns := t.ChildNamespace; ns != forest.SameNamespace && !t.State.Exited() &&
		p.f.Namespaces[ns].State == forest.Empty && p.f.Namespaces[ns].Owner != 0 {
		if p.f.Namespaces[ns].Owner != t.UserNamespace {
			p.unsupported(i, "the empty namespace it holds is owned by another user namespace than its own")
			return
		}
		p.do(i, Op{Code: UnsharePID, Child: none, Number: int32(ns)})
	}
	if t.State.Exited() {
		p.setIDs(i)
	}
}

// setIDs gives a task that is about to end the ids that its status shows.
func (p *planner) setIDs(i int32) {
	t := &p.f.Tasks[i]
	u := t.UserNamespace
	if t.UID|t.EUID|t.GID|t.EGID == 0 && !p.now(i).owner {
		return
	}
	op := Op{Code: SetIDs, Child: none}
	ok := true
	for _, id := range []struct {
		to   *uint32
		from uint32
		uid  bool
	}{{&op.UID, t.UID, true}, {&op.EUID, t.EUID, true}, {&op.GID, t.GID, false}, {&op.EGID, t.EGID, false}} {
		in, found := p.idInside(u, id.from, id.uid)
		*id.to, ok = in, ok && found
	}
	if !ok {
		p.unsupported(i, "it ended with an id (uid %d, gid %d) that its user namespace does not map", t.UID, t.GID)
		return
	}
	p.identity = append(p.identity, p.do(i, op, p.mapped[u]))
}

// writeCursors puts the id cursors where they were; births that name their
// number do not move them (kernel-rules 3). A pid_max is written last, after
// every birth: it may be below numbers in use (kernel-rules 4).
func (p *planner) writeCursors() {
	for ns := range p.f.Namespaces {
		n := &p.f.Namespaces[ns]
		if n.State == forest.Empty || n.Cursor == 0 && (n.PidMax == 0 || n.PidMax == defaultOwnPidMax) {
			continue
		}
		by := p.writer(int32(ns))
		if by == none || len(p.refusals) > 0 {
			continue
		}
		if n.Cursor > 0 {
			p.do(by, Op{Code: Cursor, Child: none, Number: int32(n.Cursor - 1)}, p.lastUnnamed)
		}
		if n.PidMax != 0 && n.PidMax != defaultOwnPidMax {
			p.do(by, Op{Code: PidMax, Child: none, Number: int32(n.PidMax)}, p.births()...)
		}
	}
}

// births are the last Clone of every actor.
func (p *planner) births() []Ref {
	var refs []Ref
	for a := range p.plan.Actors {
		ops := p.plan.Actors[a].Ops
		for i := len(ops) - 1; i >= 0; i-- {
			if ops[i].Code == Clone {
				refs = append(refs, Ref{int32(a), int32(i)})
				break
			}
		}
	}
	return refs
}

// fence is where all changes of credentials are over. Each makes the shared
// memory dumpable again, and a task must not die by a signal while it is
// (kernel-rules 25).
func (p *planner) fence() {
	if len(p.identity) == 0 {
		return
	}
	by := int32(0)
	if p.holder != none {
		by = p.holder
	}
	p.barrier = p.do(by, Op{Code: Nop, Child: none}, p.identity...)
}

// setPdeath plans the parent-death signal of i, which fires on adoption and
// is cleared by a change of identity (kernel-rules 18). That of Init guards
// the restore until it is committed: the restorer gives it this one then.
func (p *planner) setPdeath(i int32) {
	t := &p.f.Tasks[i]
	if t.PdeathSignal == 0 {
		return
	}
	after := []Ref{p.nodes[p.nodes[i].leader].arrived}
	if parent := p.nodes[i].parent; parent != none {
		after = append(after, p.nodes[parent].arrivedKids)
	}
	p.do(i, Op{Code: Pdeath, Child: none, Signal: t.PdeathSignal}, after...)
}

// neededBy is what others do through i's namespaces, for which it must live.
func (p *planner) neededBy(i int32) []Ref {
	after := slices.Clone(p.holders[i])
	u := p.f.Tasks[i].UserNamespace
	if u == 0 || p.firsts[u] != i {
		return after
	}
	for _, j := range p.userJoins {
		if j.user == u {
			after = append(after, j.done)
		}
	}
	return append(after, p.mapped[u])
}

// end plans how task node i ends its program.
func (p *planner) end(i int32) {
	t := &p.f.Tasks[i]
	if t.State.Exited() {
		p.setPdeath(i)
	}
	switch {
	case t.State == forest.DeadLeader:
		p.do(i, Op{Code: ExitThread, Child: none, Number: t.ExitCode}, p.neededBy(i)...)
	case t.State == forest.Zombie:
		p.endZombie(i)
	}
}

func (p *planner) endZombie(i int32) {
	nd := &p.nodes[i]
	parent := p.waits(nd.parent)
	after := p.neededBy(i)
	status := p.f.Tasks[i].WaitStatus()
	sig := status & 0x7f
	killed := sig != 0 && p.isInit(i)
	if killed {
		p.do(i, Op{Code: Undumpable, Child: none}, p.barrier)
		p.do(i, Op{Code: Perish, Child: none})
	} else if sig != 0 {
		p.do(i, Op{Code: Undumpable, Child: none}, p.barrier)
		p.do(i, Op{Code: Die, Child: none, Signal: sig}, after...)
	} else {
		p.do(i, Op{Code: ExitGroup, Child: none, Number: status >> 8}, after...)
	}
	if killed {
		p.kill(i, parent, sig, append(after, p.lastOf(i), nd.arrived, p.nodes[nd.parent].arrivedKids))
	}
	done := p.do(parent, Op{
		Code: Await, Child: nd.actor, Pid: p.number(i, p.nodes[parent].ns),
	}, nd.arrived, p.nodes[nd.parent].arrivedKids)
	p.deaths = append(p.deaths, done)
	p.discard(parent, nd.signal)
}

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
		var held []Ref
		stop := Op{Code: Stop, Child: p.nodes[k].actor, Pid: p.number(k, p.nodes[i].ns)}
		for _, th := range p.threadsOf(k) {
			if t := &p.f.Tasks[th]; t.State == forest.Stopped {
				stop.Signal, stop.Number = t.StopSignal, 0
				if t.StopReported {
					stop.Number = 1
				}
				held = append(held, p.nodes[th].held)
			} else {
				held = append(held, p.lastOf(th)) // a leader that has ended
			}
		}
		if stop.Signal != 0 {
			p.do(i, stop, append(held, p.stops)...)
		}
	}
}

// kill plans the death of an init by its parent, or if that has lost the
// capabilities for it, from outside.
func (p *planner) kill(i, parent, sig int32, after []Ref) {
	op := Op{Code: Kill, Child: p.nodes[i].actor, Signal: sig}
	if t := p.nodes[parent].task; t != none && p.f.Tasks[t].UserNamespace != 0 {
		p.wantPidfd(i)
		p.doAs(Restorer, op, after...)
		return
	}
	op.Pid = p.number(i, p.nodes[parent].ns)
	p.do(parent, op, after...)
}

// rest ends the programs of all that stay. Stops come last of all, after every
// death: one could send SIGCONT to those that are stopped (kernel-rules 22).
// Who stops others holds after them, so this goes from the leaves up.
func (p *planner) rest() {
	p.fenceStops()
	for i := p.tasks - 1; i >= 0; i-- {
		if p.f.Tasks[i].State.Exited() {
			continue
		}
		p.setPdeath(i)
		p.stopChildren(i)
		p.nodes[i].held = p.do(i, Op{Code: Hold, Child: none})
	}
	if p.holder != none {
		p.stopChildren(p.holder)
	}
	if p.holder != none {
		p.do(p.holder, Op{Code: Serve, Child: none})
	}
	p.doAs(Restorer, Op{Code: End, Child: none})
}
