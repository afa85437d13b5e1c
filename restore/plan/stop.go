// SPDX-License-Identifier: Apache-2.0

package plan

import (
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
		if stop.Signal == 0 {
			continue
		}
		if !p.maySignal(i, k) {
			p.wantPidfd(k)
			sent := p.doAs(Restorer, Op{Code: Kill, Child: stop.Child, Signal: stop.Signal}, append(held, p.stops)...)
			stop.Signal, held = 0, []Ref{sent}
		}
		p.do(i, stop, append(held, p.stops)...)
	}
}

// maySignal reports whether i may send k a signal, as both are in the end
// (kill_ok_by_cred, kernel/signal.c).
func (p *planner) maySignal(i, k int32) bool {
	from, to := &p.nodes[i], &p.nodes[k]
	return p.owns(p.now(i).user, int(p.now(k).user)) || from.ids.uid == to.ids.uid || from.ids.euid == to.ids.uid
}
