// SPDX-License-Identifier: Apache-2.0

package plan

import "fmt"

// numbers gives out numbers that nobody in the forest has.
type numbers struct {
	taken map[int32]struct{}
	next  int32
}

// takeNumbers takes a free number in ns and in each namespace around it, and
// returns them outermost first. Numbers are named, so ones below 300 do as
// well (kernel-rules 3); none is given twice.
func (p *planner) takeNumbers(ns int32) []int32 {
	chain := make([]int32, p.f.Namespaces[ns].Level+1)
	for at := ns; at >= 0; at = int32(p.f.Namespaces[at].Parent) {
		chain[p.f.Namespaces[at].Level] = p.takeNumber(at)
	}
	return chain
}

func (p *planner) takeNumber(ns int32) int32 {
	if p.free == nil {
		p.free = p.takenNumbers()
	}
	s, limit := &p.free[ns], p.opts.limit()
	if p.inPlace(ns) && p.opts.Place.PidMax != 0 {
		limit = p.opts.Place.PidMax
	}
	for ; ; s.next++ {
		if s.next >= limit {
			p.refuse(&Refusal{Task: none, Kind: NotHere, Reason: fmt.Sprintf(
				"no number below %d is free for a helper in namespace %s: raise pid_max",
				limit, p.nsName(ns))})
			return 0
		}
		if _, ok := s.taken[s.next]; !ok && !(p.inPlace(ns) && p.opts.Place.Taken(s.next)) {
			s.next++
			return s.next - 1
		}
	}
}

// takenNumbers lists every number of the forest by namespace.
func (p *planner) takenNumbers() []numbers {
	free := make([]numbers, len(p.f.Namespaces))
	for i := range free {
		free[i] = numbers{taken: make(map[int32]struct{}), next: 2}
	}
	for i := range p.f.Pids {
		pid := &p.f.Pids[i]
		for at := pid.Namespace; at >= 0; at = p.f.Namespaces[at].Parent {
			free[at].taken[pid.Numbers[p.f.Namespaces[at].Level]] = struct{}{}
		}
	}
	return free
}
