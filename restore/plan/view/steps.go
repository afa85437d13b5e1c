// SPDX-License-Identifier: Apache-2.0

package view

import (
	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore/plan"
)

// steps is a plan with one legal order of its operations: who is born runs its
// program until it must wait, as in a machine with one processor.
type steps struct {
	p *plan.Plan
	f *forest.Forest

	order  []step
	number [][]int32  // by actor and operation: its place in order, plus 1; 0: never
	births []int32    // by actor: the place of the step that makes it, plus 1
	maker  []plan.Ref // by actor: the Clone that makes it; a birth's has actor Restorer
	byTag  []int32    // by tag-1: the actor that becomes its task, or -1
}

// step is an operation, or a birth by the restorer.
type step struct {
	actor int32 // who does it
	op    int32 // index in its program; birth: in Plan.Births
	birth bool
}

func newSteps(p *plan.Plan, f *forest.Forest) *steps {
	s := &steps{p: p, f: f,
		number: make([][]int32, len(p.Actors)),
		births: make([]int32, len(p.Actors)),
		maker:  make([]plan.Ref, len(p.Actors)),
		byTag:  make([]int32, len(f.Pids)),
	}
	for i := range s.byTag {
		s.byTag[i] = -1
	}
	for a := range p.Actors {
		s.number[a] = make([]int32, len(p.Actors[a].Ops))
		s.maker[a] = plan.Ref{Actor: plan.Restorer, Op: -1}
		if s.isTask(int32(a)) {
			s.byTag[f.Tasks[p.Actors[a].Task].Pid-1] = int32(a)
		}
	}
	s.run()
	return s
}

// run orders the operations. What can never run in a faulty plan is left out.
func (s *steps) run() {
	next := make([]int32, len(s.p.Actors))
	waiting := make(map[plan.Ref][]int32)
	var ready []int32
	born := func(child int32, by plan.Ref, st step) {
		s.maker[child] = by
		s.order = append(s.order, st)
		s.births[child] = int32(len(s.order))
		ready = append(ready, child)
	}
	for i := range s.p.Births {
		born(s.p.Births[i].Child, plan.Ref{Actor: plan.Restorer, Op: int32(i)}, step{plan.Restorer, int32(i), true})
	}
	ready = append([]int32{plan.Restorer}, ready...)
	for len(ready) > 0 {
		a := ready[0]
		ready = ready[1:]
		ops := s.p.Actors[a].Ops
		for ; int(next[a]) < len(ops); next[a]++ {
			i := next[a]
			if r, ok := s.waitsFor(&ops[i]); !ok {
				waiting[r] = append(waiting[r], a)
				break
			}
			if op := &ops[i]; op.Code == plan.Clone {
				born(op.Child, plan.Ref{Actor: a, Op: i}, step{a, i, false})
			} else {
				s.order = append(s.order, step{a, i, false})
			}
			s.number[a][i] = int32(len(s.order))
			done := plan.Ref{Actor: a, Op: i}
			ready = append(ready, waiting[done]...)
			delete(waiting, done)
		}
	}
}

// waitsFor is an operation that op waits for and that has not run; what waits
// for a child's end waits for its last operation.
func (s *steps) waitsFor(op *plan.Op) (plan.Ref, bool) {
	for _, r := range op.After {
		if s.number[r.Actor][r.Op] == 0 {
			return r, false
		}
	}
	if op.Code == plan.Reap || op.Code == plan.Await {
		last := plan.Ref{Actor: op.Child, Op: int32(len(s.p.Actors[op.Child].Ops)) - 1}
		if last.Op >= 0 && s.number[last.Actor][last.Op] == 0 {
			return last, false
		}
	}
	return plan.Ref{}, true
}

// opOf is the operation of a step.
func (s *steps) opOf(st step) *plan.Op {
	if st.birth {
		return &s.p.Births[st.op]
	}
	return &s.p.Actors[st.actor].Ops[st.op]
}

// clone is the Clone that makes actor a, or nil.
func (s *steps) clone(a int32) *plan.Op {
	m := s.maker[a]
	switch {
	case m.Op < 0:
		return nil
	case m.Actor == plan.Restorer:
		return &s.p.Births[m.Op]
	}
	return &s.p.Actors[m.Actor].Ops[m.Op]
}

// process is the actor that leads the process of actor a.
func (s *steps) process(a int32) int32 {
	for {
		op := s.clone(a)
		if op == nil || op.Flags&plan.Thread == 0 {
			return a
		}
		a = s.maker[a].Actor
	}
}

// sessionAt is the actor that leads the session in which the process of actor a
// is at the place at in the order, or Restorer: it has the restorer's.
func (s *steps) sessionAt(a, at int32) int32 {
	for a != plan.Restorer {
		a = s.process(a)
		for i := range s.p.Actors[a].Ops {
			if s.p.Actors[a].Ops[i].Code == plan.Setsid && s.number[a][i] != 0 && s.number[a][i] < at {
				return a
			}
		}
		a, at = s.maker[a].Actor, s.births[a]
	}
	return plan.Restorer
}

// setsid is the place of the setsid of the process of actor a, or 0.
func (s *steps) setsid(a int32) int32 {
	a = s.process(a)
	for i := range s.p.Actors[a].Ops {
		if s.p.Actors[a].Ops[i].Code == plan.Setsid {
			return s.number[a][i]
		}
	}
	return 0
}

// ends reports whether actor a is gone, or a zombie, when all is in place.
func (s *steps) ends(a int32) bool {
	ops := s.p.Actors[a].Ops
	if len(ops) == 0 {
		return false
	}
	switch ops[len(ops)-1].Code {
	case plan.Hold, plan.Serve, plan.End:
		return false
	}
	return true
}
