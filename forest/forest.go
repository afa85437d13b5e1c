// SPDX-License-Identifier: Apache-2.0

package forest

// Mode is how the target of a dump was taken.
type Mode uint8

const (
	// Container: the root is the init of a pid namespace and everything in
	// that namespace belongs to the forest.
	Container Mode = iota
	// Subtree: the root is any process; it and its descendants belong.
	Subtree
)

func (m Mode) String() string { return name([]string{"container", "subtree"}, int(m)) }

// CutMethod is how a consistent cut was reached.
type CutMethod uint8

const (
	// Optimistic: nothing was stopped; two passes under watchers agreed.
	Optimistic CutMethod = iota
	// Frozen: the target's cgroup was frozen meanwhile.
	Frozen
)

func (c CutMethod) String() string { return name([]string{"optimistic", "frozen"}, int(c)) }

// Cut says how the forest was taken.
type Cut struct {
	Method CutMethod
	// Walked: the root namespace's idr was walked and agreed with the
	// tasks, so every pid object of the namespace is in the forest. When
	// false, ghosts are known only through the tasks that use them.
	Walked bool
}

// Producer is where and by what a forest was dumped.
type Producer struct {
	Release string // uname -r
	Version string // uname -v
	Machine string // uname -m
	Tool    string // pidgraft's version
	Time    int64  // nanoseconds since 1970, wall clock
}

// Forest is a process forest: one root task and what belongs to it.
//
// Tasks are in tree order: a task, then its children (in sibling order) each
// with what is below it, then the next thread of its process with its
// children, and so on; the root first. Tasks that entered the root namespace
// from outside follow, by number. So the order of Tasks says the order of
// siblings and of threads.
type Forest struct {
	Mode           Mode
	UserNamespaces []UserNamespace // [0] is the initial user namespace
	Namespaces     []Namespace     // [0] is the root namespace
	Pids           []Pid           // tag t is Pids[t-1]
	Tasks          []Task          // [0] is the root task
	// ExitIDs are the saved and file-system ids of tasks that have exited,
	// by tag, of those only whose are not all the effective ones.
	ExitIDs []ExitIDs
	// References are who else holds the pid objects, if that was asked for,
	// in the order of SortReferences.
	References []Reference
	// Origins are how the tasks were born, in the order of Tasks, if a history
	// told; Departed are the processes in it that are gone.
	Origins  []Origin
	Departed []Departed
	Cut      Cut
	Producer Producer
	// Inexact lists why the forest cannot be rebuilt exactly; empty when it
	// can. Only a dump with --inexact writes such a forest.
	Inexact []string
}

// Pid is the object that tag names, or nil if it names none.
func (f *Forest) Pid(tag Tag) *Pid {
	if tag <= 0 || int(tag) > len(f.Pids) {
		return nil
	}
	return &f.Pids[tag-1]
}

// Root is the root task.
func (f *Forest) Root() *Task { return &f.Tasks[0] }

// NumberIn is the number of the object tag in namespace ns, or 0 if it is not
// visible there.
func (f *Forest) NumberIn(tag Tag, ns int) int32 {
	p := f.Pid(tag)
	if p == nil || !f.Encloses(ns, p.Namespace) {
		return 0
	}
	return p.Numbers[f.Namespaces[ns].Level]
}

// Encloses reports whether namespace outer is inner or one of its ancestors.
func (f *Forest) Encloses(outer, inner int) bool {
	for inner >= 0 && f.Namespaces[inner].Level > f.Namespaces[outer].Level {
		inner = f.Namespaces[inner].Parent
	}
	return inner == outer
}

// NrVpids is the sum of the depths of all pid objects, as linux-cr counts it.
func (f *Forest) NrVpids() int {
	n := 0
	for i := range f.Pids {
		n += f.Pids[i].Depth()
	}
	return n
}
