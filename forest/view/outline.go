// SPDX-License-Identifier: Apache-2.0

package view

import (
	"fmt"
	"strings"

	"github.com/pidgraft/pidgraft/forest"
)

// outline is the order in which a forest is read, the same in the tree and in
// every picture: under each thread its children in the kernel's order, the
// other threads of a process after its leader's children, and a node for each
// pid namespace above the tasks that live in it.
type outline struct {
	f *forest.Forest
	x *forest.Index
}

func newOutline(f *forest.Forest) outline { return outline{f: f, x: forest.NewIndex(f)} }

// node is a task, or a pid namespace above some tasks.
type node struct {
	task  int32
	ns    int // forest.None: a task
	tasks []int32
}

// visit is what a walk does at a node: depth is 0 for the root namespace, last
// says for each level down to the node whether it is the last of its siblings.
type visit func(n node, last []bool)

// walk goes over the nodes depth first; leave, which may be nil, is called when
// all below a node has been seen. The stack is its own: how deep a forest is,
// the dumped processes decide.
func (o *outline) walk(enter visit, leave func(n node)) {
	type level struct {
		nodes []node
		next  int
	}
	stack := []level{{nodes: []node{{ns: 0, tasks: o.x.Tops()}}}}
	var last []bool
	for len(stack) > 0 {
		top := &stack[len(stack)-1]
		if top.next == len(top.nodes) {
			stack = stack[:len(stack)-1]
			if len(stack) > 0 && leave != nil {
				up := &stack[len(stack)-1]
				leave(up.nodes[up.next-1])
			}
			continue
		}
		n := top.nodes[top.next]
		top.next++
		last = append(last[:len(stack)-1], top.next == len(top.nodes))
		enter(n, last)
		stack = append(stack, level{nodes: o.below(n)})
	}
}

// below are the nodes under n.
func (o *outline) below(n node) []node {
	if n.ns != forest.None {
		return o.split(n.tasks, n.ns)
	}
	i := int(n.task)
	nodes := o.split(o.x.Children(i), o.home(n.task))
	if threads := o.x.Threads(i); len(threads) > 1 {
		for _, j := range threads[1:] {
			nodes = append(nodes, node{task: j, ns: forest.None})
		}
	}
	return nodes
}

// split puts neighbours that live in one other namespace under a node of it.
func (o *outline) split(tasks []int32, ns int) []node {
	var nodes []node
	for i, j := range tasks {
		home := o.home(j)
		switch {
		case home == ns:
			nodes = append(nodes, node{task: j, ns: forest.None})
		case len(nodes) > 0 && nodes[len(nodes)-1].ns == home:
			n := &nodes[len(nodes)-1]
			n.tasks = n.tasks[:len(n.tasks)+1]
		default:
			nodes = append(nodes, node{ns: home, tasks: tasks[i : i+1 : len(tasks)]})
		}
	}
	return nodes
}

// home is the pid namespace of a task.
func (o *outline) home(task int32) int { return o.f.Pid(o.f.Tasks[task].Pid).Namespace }

// space is the line of a namespace.
func (o *outline) space(ns int) string {
	n := &o.f.Namespaces[ns]
	s := namespace(o.f, ns)
	if ns == 0 {
		s += ", the root namespace"
	} else if up := n.Parent; up != 0 {
		s += fmt.Sprintf(", level %d, in %d", n.Level, o.f.Namespaces[up].Inode)
	}
	if ns == 0 && n.Owner != 0 || ns != 0 && n.Owner != o.f.Namespaces[n.Parent].Owner {
		s += ", owned by " + userNamespace(o.f, n.Owner)
	}
	return s
}

// notes are what is unusual about a task.
func (o *outline) notes(k *forest.Task) string {
	var notes []string
	add := func(when bool, note string) {
		if when {
			notes = append(notes, note)
		}
	}
	add(state(k) != "", state(k))
	add(k.IsLeader() && k.Parent == forest.Outside && k != o.f.Root(), "entered from outside")
	add(k.Subreaper && k.IsLeader(), "subreaper")
	switch {
	case !k.IsLeader() || k.ExitSignal == forest.SIGCHLD:
	case k.ExitSignal == 0:
		notes = append(notes, "no exit signal")
	default:
		notes = append(notes, "exit signal "+signal(k.ExitSignal))
	}
	add(k.PdeathSignal != 0, "parent-death signal "+signal(k.PdeathSignal))
	if k.ChildNamespace != forest.SameNamespace {
		notes = append(notes, "children are born in "+namespace(o.f, k.ChildNamespace))
	}
	if k.IsLeader() && k.UserNamespace != o.usualUser(k) {
		notes = append(notes, "in "+userNamespace(o.f, k.UserNamespace))
	}
	return strings.Join(notes, "; ")
}

// usualUser is the user namespace that a task is expected in: its parent's, or
// for one whose parent is outside the owner of its pid namespace.
func (o *outline) usualUser(k *forest.Task) int {
	if p := o.x.TaskOf(k.ParentThread); p != forest.None {
		return o.f.Tasks[p].UserNamespace
	}
	return o.f.Namespaces[o.f.Pid(k.Pid).Namespace].Owner
}

// numbers is the chain of a task, in braces if it is not a leader.
func (o *outline) numbers(k *forest.Task) string {
	s := o.f.TagName(k.Pid)
	if !k.IsLeader() {
		s = "{" + s + "}"
	}
	return s
}

// whyGhosts is what the ghosts of the forest have in common.
func (o *outline) whyGhosts() string {
	if o.f.Mode == forest.Subtree {
		return "in use, but no task carries them (or one beside the subtree does)"
	}
	return "in use, but no task carries them"
}

// uses is who uses a ghost, and as what.
func (o *outline) uses(tag forest.Tag) string {
	var uses []string
	if s := o.x.Session(tag); len(s) > 0 {
		uses = append(uses, "session of "+some(o.f, s))
	}
	if g := o.x.Group(tag); len(g) > 0 {
		uses = append(uses, "group of "+some(o.f, g))
	}
	if len(uses) == 0 {
		return "used only by tasks outside the forest"
	}
	return strings.Join(uses, "; ")
}

// class is how a picture marks a task: "dead" if it has ended, "thread" if it does
// not lead its process, or nothing.
func class(k *forest.Task) string {
	switch {
	case k.State.Exited():
		return "dead"
	case !k.IsLeader():
		return "thread"
	}
	return ""
}
