// SPDX-License-Identifier: Apache-2.0

package state

import (
	"iter"
	"maps"

	"github.com/pidgraft/pidgraft/audit/event"
	"github.com/pidgraft/pidgraft/collector"
)

// State is every pid object of a namespace, at one moment.
type State struct {
	level      int // of the namespace that is audited
	tasks      map[collector.ID]*Task
	objects    map[collector.ID]*Object
	numbers    map[numberKey]*Object
	namespaces map[collector.ID]*Namespace
	suspects   map[collector.ID]bool // pid objects
	vague      bool
}

// New is a state without objects. Level is that of the namespace that is
// audited below the initial one.
func New(level int) *State {
	return &State{
		level:      level,
		tasks:      make(map[collector.ID]*Task),
		objects:    make(map[collector.ID]*Object),
		numbers:    make(map[numberKey]*Object),
		namespaces: make(map[collector.ID]*Namespace),
		suspects:   make(map[collector.ID]bool),
	}
}

// Level is that of the namespace that is audited, below the initial one.
func (s *State) Level() int { return s.level }

// Apply takes in an event.
func (s *State) Apply(e event.Event) {
	if e.Kind == event.Free {
		s.Remove(e.Task.ID, e.Task.StartTime)
		return
	}
	s.Put(e.Task)
	t := s.tasks[e.Task.ID]
	if t == nil {
		return
	}
	switch e.Kind {
	case event.Birth:
		for ns := t.Object.Namespace; ns != nil; ns = ns.Parent {
			ns.Births++
		}
	case event.Exit:
		t.Exiting, t.Since = true, e.When
		// They are somebody else's by the time they are read again.
		for _, c := range t.Children {
			s.suspect(c.Object)
		}
	}
}

// suspect notes that what is known of an object's carrier may not be so any
// more.
func (s *State) suspect(o *Object) {
	if o != nil {
		s.suspects[o.ID] = true
	}
}

// Suspects gives the tasks of which something may have changed without an
// event, and forgets that. They should be read again: after its parent's exit,
// for one, a task's new parent shows up only in the task.
func (s *State) Suspects() []*Task {
	if len(s.suspects) == 0 {
		return nil
	}
	var tasks []*Task
	for id := range s.suspects {
		if o := s.objects[id]; o != nil && o.Carrier != nil {
			tasks = append(tasks, o.Carrier)
		}
	}
	clear(s.suspects)
	return tasks
}

// Vague reports whether a process uses an object of the namespace that is audited
// of which no more is known than that. It happens when the last of its users
// seemed to be gone and was not; only a snapshot can tell.
func (s *State) Vague() bool {
	if !s.vague {
		return false
	}
	// Not of those who leave: a replay brings some back that are gone for good.
	s.vague = false
	for _, o := range s.objects {
		if o.Namespace == nil && o.Nr > 0 && (stays(o.Group) || stays(o.Session)) {
			s.vague = true
			break
		}
	}
	return s.vague
}

// stays reports whether any of the processes does not exit.
func stays(processes []*Process) bool {
	for _, p := range processes {
		for _, t := range p.Tasks {
			if !t.Exiting {
				return true
			}
		}
	}
	return false
}

// Task is the task with an identity, or nil.
func (s *State) Task(id collector.ID) *Task { return s.tasks[id] }

// Object is the pid object with an identity, or nil.
func (s *State) Object(id collector.ID) *Object { return s.objects[id] }

// Namespace is the pid namespace with an identity, or nil.
func (s *State) Namespace(id collector.ID) *Namespace { return s.namespaces[id] }

// Number is the pid object that a number of a namespace stands for, or nil.
func (s *State) Number(ns *Namespace, nr int32) *Object { return s.numbers[numberKey{ns.ID, nr}] }

// Tasks, Objects and Namespaces are all of them, in no order.
func (s *State) Tasks() iter.Seq[*Task]           { return maps.Values(s.tasks) }
func (s *State) Objects() iter.Seq[*Object]       { return maps.Values(s.objects) }
func (s *State) Namespaces() iter.Seq[*Namespace] { return maps.Values(s.namespaces) }

// Counts are how many of each there are.
type Counts struct {
	Objects, Tasks, Processes, Ghosts, Zombies, Namespaces int
}

// Counts counts.
func (s *State) Counts() Counts { return s.CountsOf(func(*Namespace) bool { return true }) }

// CountsOf counts in the namespaces that want to be counted, of which nil is that
// of objects that are not described.
func (s *State) CountsOf(counted func(*Namespace) bool) Counts {
	var c Counts
	for _, o := range s.objects {
		if !counted(o.Namespace) {
			continue
		}
		c.Objects++
		if o.Process != nil {
			c.Processes++
		}
		if o.Ghost() {
			c.Ghosts++
		}
	}
	for _, t := range s.tasks {
		if !counted(t.Object.Namespace) {
			continue
		}
		c.Tasks++
		if t.Zombie {
			c.Zombies++
		}
	}
	for _, ns := range s.namespaces {
		if counted(ns) {
			c.Namespaces++
		}
	}
	return c
}
