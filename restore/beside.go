// SPDX-License-Identifier: Apache-2.0

package restore

import "github.com/pidgraft/pidgraft/restore/plan"

// besides marks the actors that live outside of Init's namespace, whose end is
// not theirs: outsiders, and the processes that they or such processes make
// while their children are born outside. A thread ends with its process.
func (g *program) besides() []bool {
	beside := make([]bool, len(g.plan.Actors))
	next := append([]int32(nil), g.outsider...)
	for len(next) > 0 {
		a := next[len(next)-1]
		next = next[:len(next)-1]
		beside[a] = true
		inside := false
		for i := range g.plan.Actors[a].Ops {
			switch op := &g.plan.Actors[a].Ops[i]; {
			case op.Code == plan.JoinPID:
				inside = op.Via != a // or back to its own
			case op.Code == plan.Clone && !inside && !g.thread[op.Child]:
				next = append(next, op.Child)
			}
		}
	}
	return beside
}
