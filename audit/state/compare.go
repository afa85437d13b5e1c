// SPDX-License-Identifier: Apache-2.0

package state

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/pidgraft/pidgraft/collector"
)

// Verb is what happened to a task between two states.
type Verb uint8

const (
	Born Verb = 1 + iota
	Gone
	Changed
)

var verbs = [...]string{"", "born", "gone", "changed"}

func (v Verb) String() string {
	if int(v) < len(verbs) {
		return verbs[v]
	}
	return "unknown"
}

// Difference is a task that is not the same in two states.
type Difference struct {
	Verb Verb
	// Task is how the task is, and how it was if it is gone.
	Task *Task
	// What changed, in words; for Changed.
	What []string
}

// ParentChanged is the word for a new parent in Difference.What.
const ParentChanged = "parent"

// Compare lists the tasks that are not the same in two states of one namespace:
// their numbers, process, group, session, parent, whether they exit, whether
// they are subreapers, and the namespace of their next child. It is sorted by
// number. The reverse index is made of just these, so states that compare as
// equal have the same pid objects with the same users, but for those that no
// task in them uses.
func Compare(before, after *State) []Difference {
	var all []Difference
	for id, t := range after.tasks {
		old := before.tasks[id]
		// An exec by a thread gives it the start time of the leader.
		if old == nil || old.StartTime != t.StartTime && old.Object.ID != t.Object.ID && old.Process.Object.ID != t.Process.Object.ID {
			if old != nil {
				all = append(all, Difference{Verb: Gone, Task: old})
			}
			all = append(all, Difference{Verb: Born, Task: t})
			continue
		}
		if what := changes(old, t); len(what) > 0 {
			all = append(all, Difference{Verb: Changed, Task: t, What: what})
		}
	}
	for id, t := range before.tasks {
		if after.tasks[id] == nil {
			all = append(all, Difference{Verb: Gone, Task: t})
		}
	}
	SortDifferences(all)
	return all
}

// SortDifferences sorts by number.
func SortDifferences(all []Difference) {
	slices.SortFunc(all, func(a, b Difference) int {
		return cmp.Or(slices.Compare(a.Task.Object.Numbers, b.Task.Object.Numbers), cmp.Compare(a.Verb, b.Verb))
	})
}

// changes says what is not the same about a task.
func changes(old, now *Task) []string {
	var what []string
	note := func(name string, was, is fmt.Stringer) {
		what = append(what, fmt.Sprintf("%s %s, was %s", name, is, was))
	}
	if !sameObject(old.Object, now.Object) {
		note("number", old.Object, now.Object)
	}
	for _, use := range []struct {
		name    string
		was, is *Object
	}{
		{"process", old.Process.Object, now.Process.Object},
		{"group", old.Process.Group, now.Process.Group},
		{"session", old.Process.Session, now.Process.Session},
	} {
		if !sameObject(use.was, use.is) {
			note(use.name, use.was, use.is)
		}
	}
	// Threads have their leader's.
	if now.Leader() && old.ParentID != now.ParentID {
		what = append(what, ParentChanged)
	}
	if old.Exiting != now.Exiting {
		what = append(what, fmt.Sprintf("exiting %v, was %v", now.Exiting, old.Exiting))
	}
	if old.Process.Subreaper != now.Process.Subreaper {
		what = append(what, fmt.Sprintf("subreaper %v, was %v", now.Process.Subreaper, old.Process.Subreaper))
	}
	if !now.Exiting && (old.ChildNamespace != now.ChildNamespace || old.ChildInode != now.ChildInode) {
		what = append(what, fmt.Sprintf("pid_for_children %d, was %d", now.ChildInode, old.ChildInode))
	}
	return what
}

// sameObject: an address is the same object while its numbers are the same.
// What is not described has none to compare.
func sameObject(a, b *Object) bool {
	switch {
	case a == nil || b == nil:
		return a == b
	case a.ID != b.ID:
		return false
	}
	return a.Namespace == nil || b.Namespace == nil ||
		a.Namespace.Inode == b.Namespace.Inode && slices.Equal(a.Numbers, b.Numbers)
}

// String is the chain of an object's numbers, the outermost namespace's first.
func (o *Object) String() string {
	switch {
	case o == nil:
		return "none"
	case o.Namespace == nil:
		return "outside"
	}
	var b strings.Builder
	for i, n := range o.Numbers {
		if i > 0 {
			b.WriteByte('/')
		}
		fmt.Fprint(&b, n)
	}
	return b.String()
}

// Check holds the index of a state against itself, and says what contradicts
// what. It is for tests: whatever is put in, there is nothing to say.
func (s *State) Check() error {
	for id, t := range s.tasks {
		switch {
		case t.ID != id || t.Object == nil || t.Process == nil:
			return fmt.Errorf("task %x is not whole", uint64(id))
		case t.Process.Tasks[t.threadAt] != t:
			return fmt.Errorf("task %s is not among the threads of its process", t.Object)
		case t.Object.Carrier != t || s.objects[t.Object.ID] != t.Object && !t.Object.forgotten:
			return fmt.Errorf("task %s does not carry its object", t.Object)
		case t.Parent != nil && (t.Parent.Children[t.childAt] != t || s.tasks[t.Parent.ID] != t.Parent):
			return fmt.Errorf("task %s is not among the children of its parent", t.Object)
		}
	}
	visible, own := make(map[collector.ID]int), make(map[collector.ID]int)
	for id, o := range s.objects {
		if o.ID != id || !o.used() {
			return fmt.Errorf("object %s is not used by anything", o)
		}
		if err := s.checkObject(o); err != nil {
			return err
		}
		for ns := o.Namespace; ns != nil; ns = ns.Parent {
			visible[ns.ID]++
			if s.numbers[numberKey{ns.ID, o.Numbers[ns.Level]}] != o {
				return fmt.Errorf("object %s is not what its number at level %d stands for", o, ns.Level)
			}
		}
		if o.Namespace != nil {
			own[o.Namespace.ID]++
		}
	}
	for id, ns := range s.namespaces {
		if ns.Visible != visible[id] || ns.Own != own[id] || ns.Visible == 0 && ns.children == 0 {
			return fmt.Errorf("namespace %d has %d objects, %d of its own; %d and %d are counted",
				ns.Inode, visible[id], own[id], ns.Visible, ns.Own)
		}
	}
	return nil
}

func (s *State) checkObject(o *Object) error {
	if p := o.Process; p != nil && (p.Object != o || len(p.Tasks) == 0 || p.Group == nil || p.Session == nil) {
		return fmt.Errorf("process %s is not whole", o)
	}
	for i, p := range o.Group {
		if p.Group != o || p.groupAt != i {
			return fmt.Errorf("group %s has a member that is in %s", o, p.Group)
		}
	}
	for i, p := range o.Session {
		if p.Session != o || p.sessionAt != i {
			return fmt.Errorf("session %s has a member that is in %s", o, p.Session)
		}
	}
	return nil
}
