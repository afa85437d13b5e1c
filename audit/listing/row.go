// SPDX-License-Identifier: Apache-2.0

package listing

import (
	"github.com/pidgraft/pidgraft/audit/container"
	"github.com/pidgraft/pidgraft/audit/record"
	"github.com/pidgraft/pidgraft/audit/state"
	"github.com/pidgraft/pidgraft/forest"
)

// Kinds of objects, as State has them.
const (
	Live    = "live"    // a task carries it
	Exiting = "exiting" // the task has begun to exit
	Zombie  = "zombie"  // the task has ended, and nobody has reaped it
	Kernel  = "kernel"  // a kernel thread carries it
	Ghost   = "ghost"   // no task carries it, but some use it
	Held    = "held"    // it is taken, and nobody is seen who uses it
)

// States are all of them.
var States = []string{Live, Exiting, Zombie, Kernel, Ghost, Held}

// Row is a pid object with who uses it. All numbers are chains, the initial
// namespace's first.
type Row struct {
	Numbers   []int32 `json:"numbers"`
	Namespace uint32  `json:"namespace"` // inode of its own, innermost one; 0: not known
	Level     int     `json:"level"`     // of that, below the initial one
	Uses      Uses    `json:"uses"`
	State     string  `json:"state"`

	// Of the task that carries it; null of others.
	Process []int32 `json:"process"`
	Parent  []int32 `json:"parent"` // the parent's process; null also if it is outside
	Group   []int32 `json:"group"`
	Session []int32 `json:"session"`
	UID     *uint32 `json:"uid"`
	Start   *uint64 `json:"start"` // nanoseconds since boot
	Comm    *string `json:"comm"`  // as the process gave it itself, escaped

	record.Place
}

// Uses is how many use an object as what: as their own number (a task), as
// process (its tasks), as group and as session (processes).
type Uses struct {
	PID  int `json:"pid"`
	TGID int `json:"tgid"`
	PGID int `json:"pgid"`
	SID  int `json:"sid"`
}

// Rows are the objects of a state that are wanted, in no order. Names says whose
// a namespace is. What the kernel gives to nobody (the idle tasks' number 0) is no
// row.
func Rows(s *state.State, names func(inode uint32) container.Name, want func(*state.Object) bool) []Row {
	var rows []Row
	for o := range s.Objects() {
		if o.Namespace == nil || o.Idle() || !want(o) {
			continue
		}
		rows = append(rows, rowOf(o, names))
	}
	return rows
}

func rowOf(o *state.Object, names func(uint32) container.Name) Row {
	r := Row{Numbers: o.Numbers, Namespace: o.Namespace.Inode, Level: o.Namespace.Level, State: StateOf(o)}
	name := names(r.Namespace)
	r.Place = record.Place{Container: name.Container(), Pod: name.Pod}
	r.Uses.PGID, r.Uses.SID = len(o.Group), len(o.Session)
	if o.Process != nil {
		r.Uses.TGID = len(o.Process.Tasks)
	}
	t := o.Carrier
	if t == nil {
		return r
	}
	r.Uses.PID = 1
	comm := forest.Escape(t.Comm)
	r.UID, r.Start, r.Comm = &t.UID, &t.StartTime, &comm
	r.Process = numbers(t.Process.Object)
	r.Group, r.Session = numbers(t.Process.Group), numbers(t.Process.Session)
	// A process has one parent, whichever of its threads is asked.
	if leader := t.Process.Leader(); leader != nil && leader.Parent != nil {
		r.Parent = numbers(leader.Parent.Process.Object)
	}
	return r
}

// numbers are an object's, none of one that is not known or that nobody was given.
func numbers(o *state.Object) []int32 {
	if o == nil || o.Idle() {
		return nil
	}
	return o.Numbers
}

// StateOf is what an object is: one of States.
func StateOf(o *state.Object) string {
	t := o.Carrier
	switch {
	case t == nil && o.Process == nil && len(o.Group) == 0 && len(o.Session) == 0:
		return Held
	case t == nil:
		return Ghost
	case t.Zombie:
		return Zombie
	case t.Exiting:
		return Exiting
	case t.Kernel:
		return Kernel
	}
	return Live
}
