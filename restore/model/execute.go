// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"math/bits"
	"strings"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore/plan"
)

// Scheduler chooses which of n runnable actors makes its next operation: a
// number from 0 to n-1. A nil Scheduler lets each actor run until it must wait.
type Scheduler func(n int) int

// Execute carries out plan p, made for forest f, on a new machine and returns
// the forest in which it ends. The plan is right if that equals f whatever the
// Scheduler chose.
//
// The error names the actor, the operation and the rule when an operation
// fails, when an actor ends before its program does, and when no actor can go
// on (a deadlock). It also refuses what must never be done: an init in a group
// that its own end waits for (rule 23).
func Execute(p *plan.Plan, f *forest.Forest, order Scheduler) (*forest.Forest, error) {
	e := &executor{
		k: New(), p: p, f: f, order: order,
		actors:  make([]actor, len(p.Actors)),
		waiters: make(map[plan.Ref][]int32), watchers: make(map[int32][]int32),
	}
	if err := e.checkRefs(); err != nil {
		return nil, err
	}
	e.k.onEnd = e.processEnded
	if err := e.start(); err != nil {
		return nil, err
	}
	if err := e.run(); err != nil {
		return nil, err
	}
	if err := e.finished(); err != nil {
		return nil, err
	}
	return e.k.Forest(e.actors[p.Root].task, f.Mode)
}

// actor is how far an actor of the plan is.
type actor struct {
	task  TaskID  // 0: not born
	next  int32   // operation
	pidfd bool    // its Clone left a pidfd
	user  *userNS // what its Keep kept; nil: nothing
	ns    *pidNS
}

type executor struct {
	k       *Kernel
	p       *plan.Plan
	f       *forest.Forest
	order   Scheduler
	actors  []actor
	actorOf []int32 // by TaskID, plus 1
	ready   []int32
	head    int // of ready, without a Scheduler

	waiters  map[plan.Ref][]int32 // actors that wait for an operation
	watchers map[int32][]int32    // actors that wait for an actor's end
	stopped  []int32              // actors found stopped, which go on after a SIGCONT
}

func (e *executor) checkRefs() error {
	in := func(a int32) bool { return a >= 0 && int(a) < len(e.actors) }
	births := e.p.Births
	if len(e.actors) < 2 || !in(int32(e.p.Root)) || len(births) == 0 || births[0].Child != plan.Init {
		return fmt.Errorf("plan of %d actors with root %d", len(e.actors), e.p.Root)
	}
	for i := range births {
		if births[i].Code != plan.Clone || !in(births[i].Child) {
			return fmt.Errorf("birth %d is none", i)
		}
	}
	for a := range e.p.Actors {
		ops := e.p.Actors[a].Ops
		if len(ops) == 0 || !ops[len(ops)-1].Code.Last() {
			return e.errorf(int32(a), "its program has no end")
		}
		for i := range ops {
			op := &ops[i]
			if op.Code.Last() != (i == len(ops)-1) {
				return e.errorf(int32(a), "op %d, %s: ends its program early", i, op.Code)
			}
			if op.Child != -1 && !in(op.Child) || !in(op.Via) && op.Via != -1 {
				return e.errorf(int32(a), "op %d, %s: names no actor", i, op.Code)
			}
			for _, r := range op.After {
				if !in(r.Actor) || r.Op < 0 || int(r.Op) >= len(e.p.Actors[r.Actor].Ops) {
					return e.errorf(int32(a), "op %d, %s: comes after no operation", i, op.Code)
				}
			}
		}
	}
	return nil
}

// start makes the births of the plan, with every signal blocked, as all others
// inherit it.
func (e *executor) start() error {
	restorer, err := e.restorer()
	if err != nil {
		return err
	}
	e.born(plan.Restorer, restorer)
	e.k.SetBlocked(restorer, true)
	for i := range e.p.Births {
		op := &e.p.Births[i]
		if errno := e.clone(restorer, op); errno != 0 {
			return e.errorf(op.Child, "its birth: %v: %s", errno, e.k.Why())
		}
	}
	return nil
}

func (e *executor) born(a int32, id TaskID) {
	e.actors[a].task = id
	for int(id) >= len(e.actorOf) {
		e.actorOf = append(e.actorOf, 0)
	}
	e.actorOf[id] = a + 1
	e.ready = append(e.ready, a)
}

// run makes operations until no actor can go on.
func (e *executor) run() error {
	for e.head < len(e.ready) {
		a := e.take()
		for {
			more, err := e.step(a)
			if err != nil {
				return err
			}
			if !more {
				break
			}
			if e.order != nil {
				e.ready = append(e.ready, a)
				break
			}
		}
	}
	return nil
}

// take removes the next actor from those that are ready.
func (e *executor) take() int32 {
	if e.order == nil {
		a := e.ready[e.head]
		e.head++
		if e.head == len(e.ready) {
			e.ready, e.head = e.ready[:0], 0
		}
		return a
	}
	i, last := e.order(len(e.ready)), len(e.ready)-1
	a := e.ready[i]
	e.ready[i] = e.ready[last]
	e.ready = e.ready[:last]
	return a
}

// step makes the next operation of actor a if it can be made, and reports
// whether a can go on after it.
func (e *executor) step(a int32) (more bool, err error) {
	s := &e.actors[a]
	op := &e.p.Actors[a].Ops[s.next]
	for _, r := range op.After {
		if e.actors[r.Actor].next <= r.Op {
			e.waiters[r] = append(e.waiters[r], a)
			return false, nil
		}
	}
	if t := e.k.task(s.task); t.exiting {
		return false, e.errorf(a, "op %d, %s: %s", s.next, op.Code, endedBefore(t))
	} else if t.proc.stopped {
		e.stopped = append(e.stopped, a)
		return false, nil
	}
	errno := e.do(a, s, op)
	if errno == EAGAIN && (op.Code == plan.Reap || op.Code == plan.Await) {
		e.watchers[op.Child] = append(e.watchers[op.Child], a)
		return false, nil
	}
	if errno != 0 {
		return false, e.errorf(a, "op %d, %s: %v: %s", s.next, op.Code, errno, e.k.Why())
	}
	done := plan.Ref{Actor: a, Op: s.next}
	s.next++
	if len(e.waiters) > 0 {
		if w, ok := e.waiters[done]; ok {
			e.ready = append(e.ready, w...)
			delete(e.waiters, done)
		}
	}
	return !op.Code.Last(), nil
}

// wakeStopped lets those try again that were stopped.
func (e *executor) wakeStopped() {
	e.ready = append(e.ready, e.stopped...)
	e.stopped = nil
}

// processEnded wakes those that wait for the end of a process.
func (e *executor) processEnded(p *process) {
	id := p.leader.id
	if len(e.watchers) == 0 || int(id) >= len(e.actorOf) || e.actorOf[id] == 0 {
		return
	}
	a := e.actorOf[id] - 1
	if w, ok := e.watchers[a]; ok {
		e.ready = append(e.ready, w...)
		delete(e.watchers, a)
	}
}

// finished says whether every program is done, and if not, why nobody can go
// on.
func (e *executor) finished() error {
	var stuck []string
	for a := range e.actors {
		s := &e.actors[a]
		ops := e.p.Actors[a].Ops
		if int(s.next) == len(ops) {
			if ops[len(ops)-1].Code == plan.Perish && !e.k.task(s.task).exiting {
				return e.errorf(int32(a), "it is at its perish and nobody killed it")
			}
			continue
		}
		if len(stuck) == 4 {
			stuck = append(stuck, "…")
			break
		}
		stuck = append(stuck, e.errorf(int32(a), "op %d, %s: %s", s.next, ops[s.next].Code, e.waitsFor(s, &ops[s.next])).Error())
	}
	if stuck == nil {
		return e.pending()
	}
	return fmt.Errorf("deadlock: %s", strings.Join(stuck, "; "))
}

// pending finds a task of the forest that would be killed or stopped once it
// unblocks its signals, to run a program: rule 23a.
func (e *executor) pending() error {
	for a := range e.actors {
		t := e.k.task(e.actors[a].task)
		p := t.proc
		if t.exiting || p.unkillable || e.p.Actors[a].Role != plan.RoleTask {
			continue
		}
		if left := p.pending &^ (ignoredSignals | p.ignored); left != 0 {
			return e.errorf(int32(a), "it holds with signal %d pending", bits.TrailingZeros64(left)+1)
		}
	}
	return nil
}

// waitsFor says in words what keeps an actor from its next operation.
func (e *executor) waitsFor(s *actor, op *plan.Op) string {
	if s.task == 0 {
		return "it was never born"
	}
	if t := e.k.task(s.task); t.exiting {
		return endedBefore(t)
	} else if t.proc.stopped {
		return "it is stopped"
	}
	for _, r := range op.After {
		if e.actors[r.Actor].next <= r.Op {
			return fmt.Sprintf("it waits for op %d, %s, of %s", r.Op, e.p.Actors[r.Actor].Ops[r.Op].Code, e.name(r.Actor))
		}
	}
	return "it waits for the end of " + e.name(op.Child)
}

func endedBefore(t *task) string {
	return fmt.Sprintf("it ended before, with status %#x", t.exitCode)
}

func (e *executor) errorf(a int32, format string, args ...any) error {
	return fmt.Errorf("%s: %s", e.name(a), fmt.Sprintf(format, args...))
}

// name is an actor as a person knows it.
func (e *executor) name(a int32) string {
	if a < 0 || int(a) >= len(e.p.Actors) {
		return fmt.Sprintf("actor %d", a)
	}
	x := &e.p.Actors[a]
	if x.Task >= 0 && x.Task < len(e.f.Tasks) {
		return fmt.Sprintf("actor %d (%s)", a, e.f.TaskName(x.Task))
	}
	if x.Why != "" {
		return fmt.Sprintf("actor %d (%s: %s)", a, x.Role, x.Why)
	}
	return fmt.Sprintf("actor %d (%s)", a, x.Role)
}
