// SPDX-License-Identifier: Apache-2.0

package view

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/pidgraft/pidgraft/forest"
)

// maxIndent bounds how far a line is indented, so that a chain of a million
// processes takes a line each and not a page.
const maxIndent = 48

// Tree writes f as a tree: under each thread its children in the kernel's
// order, the other threads of a process after its leader's children, and a
// node for each pid namespace above the tasks that live in it. The columns
// before it are session and group, by their numbers in the root namespace.
func Tree(w io.Writer, f *forest.Forest, o Options) error {
	t := &tree{f: f, x: forest.NewIndex(f), o: o, w: bufio.NewWriter(w)}
	t.header()
	t.columns()
	t.walk()
	t.ghosts()
	t.references()
	t.origins()
	return t.w.Flush()
}

type tree struct {
	f       *forest.Forest
	x       *forest.Index
	o       Options
	w       *bufio.Writer
	session int // width of its column
	group   int
}

// node is a task, or a pid namespace above some tasks.
type node struct {
	task  int32
	ns    int // forest.None: a task
	tasks []int32
}

func (t *tree) header() {
	f := t.f
	counts := []string{
		plural(len(f.Tasks), "task"), plural(len(f.Pids), "pid object"),
		plural(len(f.Namespaces), "pid namespace"),
	}
	fmt.Fprintf(t.w, "%s: %s\n", f.Mode, strings.Join(counts, ", "))
	how := f.Cut.Method.String()
	if f.Cut.Walked {
		how += ", every number accounted for"
	}
	where := ""
	if p := f.Producer; p.Release != "" {
		where = fmt.Sprintf(" on Linux %s (%s)", forest.Escape(p.Release), forest.Escape(p.Machine))
	}
	fmt.Fprintf(t.w, "taken %s%s, %s\n", time.Unix(0, f.Producer.Time).UTC().Format(time.RFC3339), where, how)
	for _, why := range f.Inexact {
		fmt.Fprintln(t.w, t.o.text(dead, "cannot be rebuilt exactly: "+forest.Escape(why)))
	}
	fmt.Fprintln(t.w)
}

func (t *tree) columns() {
	t.session, t.group = len("SESSION"), len("GROUP")
	for i := range t.f.Tasks {
		k := &t.f.Tasks[i]
		t.session = max(t.session, len(number(t.f, t.x, k.SID)))
		t.group = max(t.group, len(number(t.f, t.x, k.PGID)))
	}
	fmt.Fprintln(t.w, t.o.text(dim, fmt.Sprintf("%*s  %*s  TASK", t.session, "SESSION", t.group, "GROUP")))
}

// walk prints the nodes depth first. The stack is its own: how deep a forest
// is, the dumped processes decide.
func (t *tree) walk() {
	type level struct {
		nodes []node
		next  int
	}
	stack := []level{{nodes: []node{{ns: 0, tasks: t.x.Tops()}}}}
	var last []bool // by depth: no sibling follows
	for len(stack) > 0 {
		top := &stack[len(stack)-1]
		if top.next == len(top.nodes) {
			stack = stack[:len(stack)-1]
			continue
		}
		n := top.nodes[top.next]
		top.next++
		last = append(last[:len(stack)-1], top.next == len(top.nodes))
		t.line(n, indent(last))
		if below := t.below(n); len(below) > 0 {
			stack = append(stack, level{nodes: below})
		}
	}
}

// below are the nodes under n.
func (t *tree) below(n node) []node {
	if n.ns != forest.None {
		return t.split(n.tasks, n.ns)
	}
	i := int(n.task)
	nodes := t.split(t.x.Children(i), t.home(n.task))
	if threads := t.x.Threads(i); len(threads) > 1 {
		for _, j := range threads[1:] {
			nodes = append(nodes, node{task: j, ns: forest.None})
		}
	}
	return nodes
}

// split puts neighbours that live in one other namespace under a node of it.
func (t *tree) split(tasks []int32, ns int) []node {
	var nodes []node
	for i, j := range tasks {
		home := t.home(j)
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
func (t *tree) home(task int32) int { return t.f.Pid(t.f.Tasks[task].Pid).Namespace }

// indent draws the branches that lead to a node; last says for each level
// whether it is the last of its siblings.
func indent(last []bool) string {
	var b strings.Builder
	from := 1
	if len(last)-from > maxIndent {
		from = len(last) - maxIndent
		fmt.Fprintf(&b, "[%d levels up] ", from-1)
	}
	for i := from; i < len(last); i++ {
		branch := [2][2]string{{"│  ", "   "}, {"├─ ", "└─ "}}
		at, end := 0, 0
		if i == len(last)-1 {
			at = 1
		}
		if last[i] {
			end = 1
		}
		b.WriteString(branch[at][end])
	}
	return b.String()
}

func (t *tree) line(n node, branches string) {
	branches = t.o.text(dim, branches)
	if n.ns != forest.None {
		fmt.Fprintf(t.w, "%*s  %*s  %s%s\n", t.session, "", t.group, "", branches, t.o.text(space, t.space(n.ns)))
		return
	}
	k := &t.f.Tasks[n.task]
	p, name := plain, forest.Escape(k.Comm)
	numbers := t.f.TagName(k.Pid)
	switch {
	case k.State.Exited():
		p = dead
	case !k.IsLeader():
		p = thread
	}
	if !k.IsLeader() {
		numbers = "{" + numbers + "}"
	}
	label := t.o.text(bold, numbers) + " " + t.o.text(p, name)
	if notes := t.notes(k); notes != "" {
		label += "  " + t.o.text(p, notes)
	}
	fmt.Fprintf(t.w, "%s  %s  %s%s\n", t.column(k.SID, t.session), t.column(k.PGID, t.group), branches, label)
}

func (t *tree) column(tag forest.Tag, width int) string {
	s := number(t.f, t.x, tag)
	p := plain
	if tag.IsPid() && t.x.TaskOf(tag) == forest.None {
		p = ghosts
	}
	return strings.Repeat(" ", width-len(s)) + t.o.text(p, s)
}

// space is the line of a namespace.
func (t *tree) space(ns int) string {
	n := &t.f.Namespaces[ns]
	s := namespace(t.f, ns)
	if ns == 0 {
		s += ", the root namespace"
	} else if up := n.Parent; up != 0 {
		s += fmt.Sprintf(", level %d, in %d", n.Level, t.f.Namespaces[up].Inode)
	}
	if ns == 0 && n.Owner != 0 || ns != 0 && n.Owner != t.f.Namespaces[n.Parent].Owner {
		s += ", owned by " + userNamespace(t.f, n.Owner)
	}
	return s
}

// notes are what is unusual about a task.
func (t *tree) notes(k *forest.Task) string {
	var notes []string
	add := func(when bool, note string) {
		if when {
			notes = append(notes, note)
		}
	}
	add(state(k) != "", state(k))
	add(k.IsLeader() && k.Parent == forest.Outside && k != t.f.Root(), "entered from outside")
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
		notes = append(notes, "children are born in "+namespace(t.f, k.ChildNamespace))
	}
	if k.IsLeader() && k.UserNamespace != t.usualUser(k) {
		notes = append(notes, "in "+userNamespace(t.f, k.UserNamespace))
	}
	return strings.Join(notes, "; ")
}

// usualUser is the user namespace that a task is expected in: its parent's, or
// for one whose parent is outside the owner of its pid namespace.
func (t *tree) usualUser(k *forest.Task) int {
	if p := t.x.TaskOf(k.ParentThread); p != forest.None {
		return t.f.Tasks[p].UserNamespace
	}
	return t.f.Namespaces[t.f.Pid(k.Pid).Namespace].Owner
}

// ghosts lists the numbers that no task of the forest carries.
func (t *tree) ghosts() {
	tags := t.x.Ghosts()
	if len(tags) == 0 {
		return
	}
	who := "in use, but no task carries them"
	if t.f.Mode == forest.Subtree {
		who += " (or one beside the subtree does)"
	}
	fmt.Fprintf(t.w, "\nghosts: numbers %s\n", who)
	for _, tag := range tags {
		var uses []string
		if s := t.x.Session(tag); len(s) > 0 {
			uses = append(uses, "session of "+some(t.f, s))
		}
		if g := t.x.Group(tag); len(g) > 0 {
			uses = append(uses, "group of "+some(t.f, g))
		}
		if len(uses) == 0 {
			uses = append(uses, "used only by tasks outside the forest")
		}
		where := ""
		if ns := t.f.Pid(tag).Namespace; ns != 0 {
			where = ", in " + namespace(t.f, ns)
		}
		fmt.Fprintf(t.w, "  %s: %s%s\n", t.o.text(ghosts, t.f.TagName(tag)), strings.Join(uses, "; "), where)
	}
}
