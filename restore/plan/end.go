// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"slices"

	"github.com/pidgraft/pidgraft/forest"
)

// discard makes parent forget the exit signal of child, which has ended. All
// signals are blocked while a plan runs, so it is pending, and would kill or
// stop the parent once that runs a program; ignoring it drops it
// (kernel-rules 15, 23a).
func (p *planner) discard(parent, child int32) {
	signal := p.nodes[child].signal
	switch {
	case !fatal(signal) && !stops(signal):
	case signal == sigKill || signal == sigStop:
		if !p.isInit(p.nodes[parent].leader) && p.executedBy(parent) == noRef {
			p.unsupported(parent, "a child of it that has ended has exit signal %d, which only an exec in between survives", signal)
		}
	default:
		var born []Ref // who is born meanwhile would ignore it for good
		for _, t := range p.threadsOf(p.nodes[parent].leader) {
			born = append(born, p.nodes[t].lastBorn)
		}
		p.do(parent, Op{Code: Ignore, Child: none, Signal: signal, Number: 1}, born...)
		p.do(parent, Op{Code: Ignore, Child: none, Signal: signal})
	}
}

// Signals with the same number on every architecture that is supported.
const (
	sigHup  = 1
	sigInt  = 2
	sigKill = 9
	sigCont = 18
	sigStop = 19
)

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
	if parent := p.nodes[p.nodes[i].leader].parent; parent != none {
		after = append(after, p.nodes[parent].arrivedKids)
		if p.waits(parent) != parent {
			after = append(after, p.lastOf(parent)) // its end would send it
		}
	}
	p.do(i, Op{Code: Pdeath, Child: none, Signal: t.PdeathSignal}, after...)
}

// neededBy is what others do through i's namespaces, for which it must live.
func (p *planner) neededBy(i int32) []Ref {
	after := slices.Clone(p.holders[i])
	for u := range p.users {
		if p.users[u].gate == i {
			after = append(after, p.users[u].mapped)
		}
	}
	return after
}

// end plans how task node i ends its program.
func (p *planner) end(i int32) {
	t := &p.f.Tasks[i]
	if t.State.Exited() {
		p.setPdeath(i)
	}
	switch {
	case t.State == forest.DeadLeader:
		status := t.ExitCode
		if t.GroupExit && status&0x7f != 0 {
			status = 0 // wait reports that of the group, by which the last thread ends
		}
		p.do(i, Op{Code: ExitThread, Child: none, Number: status}, p.neededBy(i)...)
	case t.State == forest.Zombie:
		p.endZombie(i)
	}
}

func (p *planner) endZombie(i int32) {
	nd := &p.nodes[i]
	parent := p.waits(nd.parent)
	if p.stopsParent(i) {
		p.stoppers = append(p.stoppers, i)
		return
	}
	p.endProcess(i, parent, append(p.neededBy(i), p.executedBy(nd.parent)))
	done := p.do(parent, Op{
		Code: Await, Child: nd.actor, Pid: p.number(i, p.nodes[parent].ns),
	}, nd.arrived, p.nodes[nd.parent].arrivedKids)
	p.deaths = append(p.deaths, done)
	p.discard(parent, i)
}

// endProcess ends the process of thread i, its last, as its status says; if
// it is an init that is killed, by killer. It returns when it has begun.
func (p *planner) endProcess(i, killer int32, after []Ref) Ref {
	status := p.f.Tasks[i].WaitStatus()
	leader := p.nodes[i].leader
	sig := status & 0x7f
	switch {
	case sig == 0:
		return p.do(i, Op{Code: ExitGroup, Child: none, Number: status >> 8}, after...)
	case sig != sigKill || !p.isInit(leader):
		p.do(i, Op{Code: Undumpable, Child: none}, p.barrier)
		return p.do(i, Op{Code: Die, Child: none, Signal: sig}, after...)
	}
	p.do(i, Op{Code: Undumpable, Child: none}, p.barrier)
	ready := p.do(i, Op{Code: Perish, Child: none})
	after = append(after, ready, p.nodes[leader].arrived, p.nodes[p.nodes[leader].parent].arrivedKids)
	return p.kill(leader, killer, sig, after)
}

// endExiting lets those inits end, from the innermost, that then wait for their
// namespace to become empty: of all that, only what they wait for may be left.
// It comes last, after ends that stop somebody; it orphans no group.
func (p *planner) endExiting() {
	var inits []int32
	for i := p.tasks - 1; i >= 0; i-- {
		if p.f.Tasks[i].State == forest.ExitingInit {
			inits = append(inits, i)
		}
	}
	for _, ns := range p.wardenOrder() {
		if p.f.Namespaces[ns].State == forest.InitExiting {
			inits = append(inits, p.wardens[ns])
		}
	}
	if len(inits) == 0 {
		return
	}
	slices.SortStableFunc(inits, func(a, b int32) int {
		return cmp.Compare(p.f.Namespaces[p.nodes[b].ns].Level, p.f.Namespaces[p.nodes[a].ns].Level)
	})
	after := slices.Clone(p.deaths)
	for _, joins := range p.joins {
		after = append(after, joins...)
	}
	for _, i := range inits {
		if p.nodes[i].task == none {
			after = append(after, p.do(i, Op{Code: ExitGroup, Child: none}, append(p.helperNeeds(i), after...)...))
			continue
		}
		p.setPdeath(i)
		last := append(p.neededBy(i), p.lastOf(p.nodes[i].leader)) // which has ended, or is this
		begun := p.endProcess(i, none, append(last, after...))
		after = append(after, begun, p.lastOf(i))
	}
}

// kill plans the death of an init by its parent, or if that is none or has lost
// the capabilities for it, from outside.
func (p *planner) kill(i, parent, sig int32, after []Ref) Ref {
	op := Op{Code: Kill, Child: p.nodes[i].actor, Signal: sig}
	if parent == none || p.nodes[parent].task != none && p.f.Tasks[p.nodes[parent].task].UserNamespace != 0 {
		p.wantPidfd(i)
		return p.doAs(Restorer, op, after...)
	}
	op.Pid = p.number(i, p.nodes[parent].ns)
	return p.do(parent, op, after...)
}
