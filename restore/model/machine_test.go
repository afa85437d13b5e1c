// SPDX-License-Identifier: Apache-2.0

package model

import (
	"slices"
	"testing"

	"github.com/pidgraft/pidgraft/forest"
)

// machine is a Kernel for tests of single rules.
type machine struct {
	*Kernel
	t *testing.T
}

func newMachine(t *testing.T) machine { return machine{New(), t} }

// container is a machine and the init of a namespace on it.
func container(t *testing.T) (machine, TaskID) {
	m := newMachine(t)
	return m, m.fork(Outsider, NewPID)
}

// ok fails the test unless errno is 0.
func (m machine) ok(errno Errno) {
	m.t.Helper()
	m.want(0, errno)
}

func (m machine) want(want, got Errno) {
	m.t.Helper()
	if got != want {
		m.t.Fatalf("got %v, want %v; last failure: %s", got, want, m.Why())
	}
	if err := m.check(); err != nil {
		m.t.Fatal(err)
	}
}

// fork makes a child with the flags given.
func (m machine) fork(a TaskID, flags ...CloneFlags) TaskID {
	m.t.Helper()
	args := CloneArgs{ExitSignal: forest.SIGCHLD}
	for _, f := range flags {
		args.Flags |= f
	}
	if args.Flags&(Parent|Thread) != 0 {
		args.ExitSignal = 0
	}
	return m.clone(a, args)
}

func (m machine) clone(a TaskID, args CloneArgs) TaskID {
	m.t.Helper()
	id, errno := m.Clone(a, args)
	m.ok(errno)
	return id
}

// named makes a child with the numbers given, innermost first.
func (m machine) named(a TaskID, numbers ...int32) TaskID {
	m.t.Helper()
	return m.clone(a, CloneArgs{SetTID: numbers, ExitSignal: forest.SIGCHLD})
}

// cannotClone expects a clone to fail.
func (m machine) cannotClone(want Errno, a TaskID, args CloneArgs) {
	m.t.Helper()
	_, errno := m.Clone(a, args)
	m.want(want, errno)
}

// nr is the innermost number of a task.
func (m machine) nr(id TaskID) int32 {
	o := m.tasks[id].pid
	return o.numbers[o.ns.level]
}

// parent is the thread whose child a process is.
func (m machine) parent(id TaskID) TaskID { return m.tasks[id].proc.parent.id }

// adopted expects each of the processes to be a child of parent.
func (m machine) adopted(parent TaskID, ids ...TaskID) {
	m.t.Helper()
	for _, id := range ids {
		if got := m.parent(id); got != parent {
			m.t.Errorf("task %d is a child of %d, want %d", id, got, parent)
		}
	}
}

// children are the processes that are children of thread id, in order.
func (m machine) children(id TaskID) []TaskID {
	var ids []TaskID
	for p := m.tasks[id].firstChild; p != nil; p = p.nextSibling {
		ids = append(ids, p.leader.id)
	}
	return ids
}

func (m machine) wantChildren(parent TaskID, want ...TaskID) {
	m.t.Helper()
	if got := m.children(parent); !slices.Equal(got, want) {
		m.t.Errorf("children of task %d: %v, want %v", parent, got, want)
	}
}

// state expects a task to be in a state; gone is that of one released.
func (m machine) state(id TaskID, want forest.State) {
	m.t.Helper()
	t := m.tasks[id]
	if t.state == released {
		m.t.Errorf("task %d is gone, want %v", id, want)
	} else if got := t.forestState(); got != want {
		m.t.Errorf("task %d is %v, want %v", id, got, want)
	}
}

func (m machine) gone(ids ...TaskID) {
	m.t.Helper()
	for _, id := range ids {
		if t := m.tasks[id]; t.state != released {
			m.t.Errorf("task %d is %v, want it gone", id, t.forestState())
		}
	}
}

// end lets processes exit, in order.
func (m machine) end(ids ...TaskID) {
	m.t.Helper()
	for _, id := range ids {
		m.ok(m.ExitGroup(id, 0))
	}
}

// status collects child and expects a wait status.
func (m machine) status(parent, child TaskID, want int32) {
	m.t.Helper()
	got, errno := m.Wait(parent, child)
	m.ok(errno)
	if got != want {
		m.t.Errorf("wait status of task %d is %#x, want %#x", child, got, want)
	}
}

// enter has a task fork into the namespace of target.
func (m machine) enter(a, target TaskID) TaskID {
	m.t.Helper()
	m.ok(m.Setns(a, target))
	return m.fork(a)
}

// nsState expects a state of the namespace of a task, also one that is gone.
func (m machine) nsState(id TaskID, want forest.NamespaceState) {
	m.t.Helper()
	if got := m.tasks[id].bornPid.ns.state(); got != want {
		m.t.Errorf("the namespace of task %d is %v, want %v", id, got, want)
	}
}

// exists reports whether the object made for a task is still there.
func (m machine) exists(id TaskID) bool {
	o := m.tasks[id].bornPid
	return o.ns.numbers[o.numbers[o.ns.level]] == o
}
