// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore/plan"
)

// restorer is who makes the births: the Outsider, or for a plan in place a
// process of a namespace that has nobody else but its init, with a number that
// the plan has no use for.
func (e *executor) restorer() (TaskID, error) {
	if e.p.Births[0].Flags&plan.NewPID != 0 {
		return Outsider, nil
	}
	used := map[int32]bool{1: true}
	for i := range e.f.Pids {
		used[e.f.Pids[i].Numbers[0]] = true
	}
	for i := range e.p.Actors {
		for j := range e.p.Actors[i].Ops {
			if n := e.p.Actors[i].Ops[j].Numbers; len(n) > 0 {
				used[n[len(n)-1]] = true
			}
		}
	}
	for i := range e.p.Births {
		for _, n := range e.p.Births[i].Numbers {
			used[n] = true
		}
	}
	number := int32(2)
	for used[number] {
		number++
	}
	init, errno := e.k.Clone(Outsider, CloneArgs{Flags: NewPID, ExitSignal: forest.SIGCHLD})
	if errno == 0 {
		init, errno = e.k.Clone(init, CloneArgs{SetTID: []int32{number}, ExitSignal: forest.SIGCHLD})
	}
	if errno != 0 {
		return 0, fmt.Errorf("the namespace of a plan in place: %v: %s", errno, e.k.Why())
	}
	return init, nil
}
