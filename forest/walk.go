// SPDX-License-Identifier: Apache-2.0

package forest

import (
	"strconv"
	"strings"
)

// None is the task index that stands for no task.
const None = -1

// Index answers "who uses this object, and as what" for a forest, each in
// constant time. It holds about 40 bytes a task and does not follow later
// changes to the forest.
//
// All lists are in the order of Forest.Tasks: children in sibling order,
// threads in thread order. They share memory with the index: read them only.
type Index struct {
	f       *Forest
	taskOf  []int32 // by tag - 1: the task whose own pid it is, or None
	threads lists   // by task (leaders): the tasks of its process, itself first
	childs  lists   // by task: leaders of the processes that are its children
	groups  lists   // by slot: leaders of the processes in the group
	session lists   // by slot: leaders of the processes in the session
	inits   []int32 // by namespace: tag of its number 1, or 0
	tops    []int32 // leaders whose parent is outside; the root first
}

// lists is a list of int32 for each key, in two slices (compressed rows).
type lists struct{ start, item []int32 }

func (l *lists) of(key int) []int32 {
	return l.item[l.start[key]:l.start[key+1]:l.start[key+1]]
}

// collect builds lists of the items 0..n-1 under keys 0..keys-1. keyOf gives
// an item's key, or None to leave it out. Items keep their order.
func collect(keys, n int, keyOf func(int) int) lists {
	start := make([]int32, keys+1)
	total := int32(0)
	for i := range n {
		if k := keyOf(i); k != None {
			start[k+1]++
			total++
		}
	}
	for k := range keys {
		start[k+1] += start[k]
	}
	item := make([]int32, total)
	for i := range n {
		if k := keyOf(i); k != None {
			item[start[k]] = int32(i)
			start[k]++
		}
	}
	// Every start now is the end of its list, which is the next one's start.
	copy(start[1:], start[:keys])
	start[0] = 0
	return lists{start, item}
}

// NewIndex indexes f in linear time. It expects a forest that Validate
// accepts; of another, it leaves out what names nothing.
func NewIndex(f *Forest) *Index {
	x := newRelatives(f)
	n := len(f.Tasks)
	member := func(of func(*Task) Tag) lists {
		return collect(len(f.Pids)+3, n, func(i int) int {
			if t := &f.Tasks[i]; t.IsLeader() {
				return x.slot(of(t))
			}
			return None
		})
	}
	x.groups = member(func(t *Task) Tag { return t.PGID })
	x.session = member(func(t *Task) Tag { return t.SID })
	for i := range f.Tasks {
		if t := &f.Tasks[i]; t.IsLeader() && t.Parent == Outside {
			x.tops = append(x.tops, int32(i))
		}
	}
	return x
}

// newRelatives is what of an index is about tasks, their threads and children.
func newRelatives(f *Forest) *Index {
	x := &Index{f: f, taskOf: taskOf(f), inits: inits(f)}
	n := len(f.Tasks)
	x.threads = collect(n, n, func(i int) int { return x.TaskOf(f.Tasks[i].TGID) })
	x.childs = collect(n, n, func(i int) int {
		if t := &f.Tasks[i]; t.IsLeader() {
			return x.TaskOf(t.ParentThread)
		}
		return None
	})
	return x
}

// taskOf maps tags to the tasks that carry them; the first task wins.
func taskOf(f *Forest) []int32 {
	of := make([]int32, len(f.Pids))
	for i := range of {
		of[i] = None
	}
	for i := range f.Tasks {
		if tag := f.Tasks[i].Pid; f.Pid(tag) != nil && of[tag-1] == None {
			of[tag-1] = int32(i)
		}
	}
	return of
}

// inits maps namespaces to the tag of the object that is number 1 in them and
// lives in them.
func inits(f *Forest) []int32 {
	of := make([]int32, len(f.Namespaces))
	for i := range f.Pids {
		p := &f.Pids[i]
		if len(p.Numbers) > 0 && p.Number() == 1 && p.Namespace >= 0 && p.Namespace < len(of) {
			of[p.Namespace] = int32(i + 1)
		}
	}
	return of
}

// slot is where a tag's members are kept: the special tags follow the others.
func (x *Index) slot(tag Tag) int {
	n := len(x.f.Pids)
	switch {
	case tag > 0 && int(tag) <= n:
		return int(tag) - 1
	case tag == Outside:
		return n
	case tag == Null:
		return n + 1
	case tag == Inherited:
		return n + 2
	}
	return None
}

// TaskOf is the index of the task whose own pid object is tag, or None: tag is
// special, or a ghost.
func (x *Index) TaskOf(tag Tag) int {
	if tag <= 0 || int(tag) > len(x.taskOf) {
		return None
	}
	return int(x.taskOf[tag-1])
}

// Leader is the index of the thread-group leader of task.
func (x *Index) Leader(task int) int { return x.TaskOf(x.f.Tasks[task].TGID) }

// Threads are the tasks of the process that task leads, itself first; none if
// it is not a leader.
func (x *Index) Threads(task int) []int32 { return x.threads.of(task) }

// Children are the leaders of the processes whose parent is this very thread.
func (x *Index) Children(task int) []int32 { return x.childs.of(task) }

// Group are the leaders of the processes whose group is tag, which may be
// special.
func (x *Index) Group(tag Tag) []int32 { return x.members(&x.groups, tag) }

// Session are the leaders of the processes whose session is tag, which may be
// special.
func (x *Index) Session(tag Tag) []int32 { return x.members(&x.session, tag) }

func (x *Index) members(l *lists, tag Tag) []int32 {
	if s := x.slot(tag); s != None {
		return l.of(s)
	}
	return nil
}

// Ghosts are the tags that no task of the forest carries as its own pid, in
// order. In a subtree some of them may belong to tasks outside it.
func (x *Index) Ghosts() []Tag {
	var ghosts []Tag
	for i, t := range x.taskOf {
		if t == None {
			ghosts = append(ghosts, Tag(i+1))
		}
	}
	return ghosts
}

// Init is the tag of the object that is number 1 of namespace ns, or Outside
// if the forest has none. Nobody but a namespace's init is its number 1.
func (x *Index) Init(ns int) Tag { return Tag(x.inits[ns]) }

// Tops are the leaders of the processes whose parent is outside the forest:
// the root, then those that entered from outside.
func (x *Index) Tops() []int32 { return x.tops }

// String is the object's chain of numbers, outermost first: "7/1".
func (p *Pid) String() string {
	var b strings.Builder
	for i, n := range p.Numbers {
		if i > 0 {
			b.WriteByte('/')
		}
		b.WriteString(strconv.Itoa(int(n)))
	}
	return b.String()
}

// TaskName names a task to a person: "task 7/1 (sh)". The comm is escaped.
func (f *Forest) TaskName(task int) string {
	t := &f.Tasks[task]
	return "task " + f.TagName(t.Pid) + " (" + Escape(t.Comm) + ")"
}

// TagName names a pid object to a person: by its numbers ("7/1"), a special
// tag by its word.
func (f *Forest) TagName(tag Tag) string {
	if p := f.Pid(tag); p != nil {
		return p.String()
	}
	return tag.String()
}

// Escape makes bytes of an untrusted process fit to be shown: what is not
// printable, a quote or a backslash is escaped as in a Go string.
func Escape(s string) string {
	q := strconv.Quote(s)
	return q[1 : len(q)-1]
}
