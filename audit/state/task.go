// SPDX-License-Identifier: Apache-2.0

package state

import (
	"github.com/pidgraft/pidgraft/audit/event"
	"github.com/pidgraft/pidgraft/collector"
)

// Flags and exit states of the kernel (include/linux/sched.h).
const (
	pfExiting  = 0x4
	pfKthread  = 0x200000
	exitZombie = 0x20
)

// Task is a thread.
type Task struct {
	ID        collector.ID
	StartTime uint64 // nanoseconds since boot
	Object    *Object
	Process   *Process
	// Parent is the task whose child it is, if that is known; ParentID and
	// ParentProcess name it and its process in any case.
	Parent                  *Task
	ParentID, ParentProcess collector.ID
	Children                []*Task
	ChildNamespace          collector.ID // 0: it has exited
	ChildInode              uint32
	UID                     uint32
	Comm                    string // bytes of an untrusted process, as of its birth, exec or last snapshot
	// Exiting: it has begun to exit. Zombie: it was seen to have ended.
	Exiting, Zombie bool
	Kernel          bool   // a kernel thread
	Since           uint64 // CLOCK_MONOTONIC of its exit event; 0: not seen

	threadAt, childAt int // where it is in Process.Tasks and Parent.Children
}

// Leader reports whether the task leads its process.
func (t *Task) Leader() bool { return t.Object == t.Process.Object }

// Process is a thread group.
type Process struct {
	Object         *Object // its tgid
	Group, Session *Object
	Tasks          []*Task
	Subreaper      bool

	groupAt, sessionAt int // where it is in Group.Group and Session.Session
}

// Leader is the task that leads the process, or nil if it is not known.
func (p *Process) Leader() *Task {
	if t := p.Object.Carrier; t != nil && t.Process == p {
		return t
	}
	return nil
}

// Put takes in how a task is. It may be new.
func (s *State) Put(t event.Task) {
	switch {
	case t.Pid == 0:
		s.Remove(t.ID, t.StartTime)
		return
	case t.Process == 0 || t.Group == 0 || t.Session == 0 || !sound(t.Numbers):
		// Read in the middle of its release: its end will be told.
		return
	}
	o := s.described(t.Pid, t.Numbers)
	if o.Carrier != nil && o.Carrier.ID != t.ID {
		// It has one carrier: the other one is gone, or handed it over in an
		// exec, which ended it.
		s.remove(o.Carrier)
		// That may have been the last user.
		o = s.described(t.Pid, t.Numbers)
	}
	// One after the other: each may retire what was found before. An object
	// that is already in use here is looked up again at the end.
	own := s.tasks[t.ID]
	if own == nil {
		own = &Task{ID: t.ID}
		s.tasks[t.ID] = own
	}
	s.carry(own, o)
	s.join(own, s.process(s.object(t.Process)))
	s.setGroup(own.Process, s.object(t.Group))
	s.setSession(own.Process, s.object(t.Session))
	for _, n := range []struct {
		o  *Object
		nr int32
	}{{own.Process.Object, t.ProcessNr}, {own.Process.Group, t.GroupNr}, {own.Process.Session, t.SessNr}} {
		if n.o.Namespace == nil {
			n.o.Nr = n.nr
			s.vague = s.vague || n.nr > 0 && t.Flags&pfExiting == 0
		}
	}
	own.Process.Subreaper = t.Subreaper
	own.fill(t)
	s.adopt(own)
}

// sound reports whether numbers can be those of a pid object.
func sound(numbers []event.Number) bool {
	for i, n := range numbers {
		if n.Namespace == 0 {
			return false
		}
		for _, above := range numbers[:i] {
			if above.Namespace == n.Namespace {
				return false
			}
		}
	}
	return len(numbers) > 0
}

func (t *Task) fill(e event.Task) {
	t.StartTime = e.StartTime
	t.ParentID, t.ParentProcess = e.Parent, e.ParentProcess
	t.ChildNamespace, t.ChildInode = e.ChildNamespace, e.ChildInode
	t.UID, t.Comm = e.UID, e.Comm
	t.Exiting = e.Flags&pfExiting != 0
	t.Zombie = e.ExitState&exitZombie != 0
	t.Kernel = e.Flags&pfKthread != 0
}

// Remove takes out a task that is no more. The start time guards against an
// address that means another task by now.
func (s *State) Remove(id collector.ID, startTime uint64) {
	if t := s.tasks[id]; t != nil && t.StartTime == startTime {
		s.remove(t)
	}
}

func (s *State) remove(t *Task) {
	if s.tasks[t.ID] != t {
		return
	}
	delete(s.tasks, t.ID)
	s.abandon(t)
	for _, c := range t.Children {
		c.Parent = nil
		s.suspect(c.Object)
	}
	t.Children = nil
	s.part(t)
	if o := t.Object; o.Carrier == t {
		o.Carrier = nil
		s.release(o)
	}
}

// carry makes o the task's own number.
func (s *State) carry(t *Task, o *Object) {
	if t.Object == o {
		o.Carrier = t
		return
	}
	old := t.Object
	t.Object, o.Carrier = o, t
	o.Held = false
	if old != nil && s.suspects[old.ID] {
		s.suspects[o.ID] = true
	}
	if old != nil && old.Carrier == t {
		old.Carrier = nil
		s.release(old)
	}
}

// process is the process whose thread group o is.
func (s *State) process(o *Object) *Process {
	if o.Process == nil {
		o.Process = &Process{Object: o}
	}
	return o.Process
}

// join makes t a thread of p.
func (s *State) join(t *Task, p *Process) {
	if t.Process == p {
		return
	}
	if t.Process != nil {
		s.part(t)
	}
	t.Process, t.threadAt = p, len(p.Tasks)
	p.Tasks = append(p.Tasks, t)
}

// part takes t out of its process, which ends with its last thread.
func (s *State) part(t *Task) {
	p := t.Process
	last := len(p.Tasks) - 1
	p.Tasks[t.threadAt] = p.Tasks[last]
	p.Tasks[t.threadAt].threadAt = t.threadAt
	p.Tasks[last] = nil
	p.Tasks = p.Tasks[:last]
	if last > 0 {
		return
	}
	s.setGroup(p, nil)
	s.setSession(p, nil)
	p.Object.Process = nil
	s.release(p.Object)
}

func (s *State) setGroup(p *Process, o *Object) {
	if p.Group == o {
		return
	}
	if old := p.Group; old != nil {
		last := len(old.Group) - 1
		old.Group[p.groupAt] = old.Group[last]
		old.Group[p.groupAt].groupAt = p.groupAt
		old.Group[last] = nil
		old.Group = old.Group[:last]
		p.Group = nil
		s.release(old)
	}
	if p.Group = o; o != nil {
		p.groupAt = len(o.Group)
		o.Group = append(o.Group, p)
	}
}

func (s *State) setSession(p *Process, o *Object) {
	if p.Session == o {
		return
	}
	if old := p.Session; old != nil {
		last := len(old.Session) - 1
		old.Session[p.sessionAt] = old.Session[last]
		old.Session[p.sessionAt].sessionAt = p.sessionAt
		old.Session[last] = nil
		old.Session = old.Session[:last]
		p.Session = nil
		s.release(old)
	}
	if p.Session = o; o != nil {
		p.sessionAt = len(o.Session)
		o.Session = append(o.Session, p)
	}
}

// adopt puts t among the children of its parent. Threads that do not lead have
// their leader's parent and are nobody's child.
func (s *State) adopt(t *Task) {
	var parent *Task
	if t.Leader() {
		parent = s.tasks[t.ParentID]
	}
	if parent == t {
		parent = nil // the first task of the machine
	}
	if t.Parent == parent {
		return
	}
	s.abandon(t)
	if t.Parent = parent; parent != nil {
		t.childAt = len(parent.Children)
		parent.Children = append(parent.Children, t)
	}
}

func (s *State) abandon(t *Task) {
	p := t.Parent
	if p == nil {
		return
	}
	last := len(p.Children) - 1
	p.Children[t.childAt] = p.Children[last]
	p.Children[t.childAt].childAt = t.childAt
	p.Children[last] = nil
	p.Children = p.Children[:last]
	t.Parent = nil
}
