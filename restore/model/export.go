// SPDX-License-Identifier: Apache-2.0

package model

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/pidgraft/pidgraft/forest"
)

// Forest is what a dump of the process root sees now: tags in order of first
// appearance (for each task in tree order its pid, tgid, group and session),
// namespaces likewise, each after its ancestors and its owner. Start times
// count births; inodes are made up.
//
// It fails if root is not a process that still exists, if the mode does not
// fit it, or if in a container a task has a session or group that is led from
// outside and is not the root's own.
func (k *Kernel) Forest(root TaskID, mode forest.Mode) (*forest.Forest, error) {
	t := k.task(root)
	switch {
	case t == nil || t.state == released:
		return nil, fmt.Errorf("root task %d is gone", root)
	case t.proc.leader != t:
		return nil, fmt.Errorf("root task %d is a thread", root)
	case mode == forest.Container && t.pid.numbers[t.pid.ns.level] != 1:
		return nil, fmt.Errorf("root task %d is number %s, not an init", root, t.pid)
	}
	k.exports++
	e := &exporter{k: k, root: t, ns: t.pid.ns, mode: mode, places: make([]int32, len(k.tasks))}
	e.namespaces = make(map[*pidNS]int)
	e.users = map[*userNS]int{k.hostUser: 0}
	e.f = &forest.Forest{Mode: mode, Cut: forest.Cut{Walked: mode == forest.Container}}
	e.f.UserNamespaces = []forest.UserNamespace{{Parent: -1, Setgroups: true, Inode: inodeUser}}
	e.collect()
	e.findInherited()
	if err := e.addTasks(); err != nil {
		return nil, err
	}
	e.addGhosts()
	e.describeNamespaces()
	return e.f, nil
}

// Made-up inodes count from here.
const (
	inodeUser = 3000
	inodePID  = 2000
)

// exporter is the state of one Forest.
type exporter struct {
	k    *Kernel
	f    *forest.Forest
	root *task
	ns   *pidNS
	mode forest.Mode

	tasks      []*task // in tree order
	places     []int32 // by TaskID: place in tasks, plus 1
	namespaces map[*pidNS]int
	users      map[*userNS]int
	order      []*pidNS // the reverse of namespaces

	session, group *pid // of the root, inherited from outside the forest
}

// collect puts the tasks of the forest into tree order.
func (e *exporter) collect() {
	e.walk(e.root.proc)
	if e.mode == forest.Subtree {
		return
	}
	var entrants []*process
	for _, o := range e.ns.numbers {
		p := o.process
		if p != nil && p != e.root.proc && (p.parent == nil || !e.ns.encloses(p.parent.pid.ns)) {
			entrants = append(entrants, p)
		}
	}
	slices.SortFunc(entrants, func(a, b *process) int {
		return cmp.Compare(a.leader.pid.numberIn(e.ns), b.leader.pid.numberIn(e.ns))
	})
	for _, p := range entrants {
		e.walk(p)
	}
}

// walk appends top and all below it: a thread, its children in order, the next
// thread.
func (e *exporter) walk(top *process) {
	t := top.first
	for t != nil {
		e.tasks = append(e.tasks, t)
		e.places[t.id] = int32(len(e.tasks))
		if t.firstChild != nil {
			t = t.firstChild.first
			continue
		}
		for t != nil && t.nextThread == nil { // the process is done
			switch p := t.proc; {
			case p == top:
				t = nil
			case p.nextSibling != nil:
				t = p.nextSibling.first
				goto next
			default:
				t = p.parent
			}
		}
		if t != nil {
			t = t.nextThread
		}
	next:
	}
}

// findInherited decides which session and group the root inherited: a session
// that it does not lead; a group that is not seen in the root namespace, or in
// a subtree belongs to no task of it.
func (e *exporter) findInherited() {
	p := e.root.proc
	if p.session != p.leader.pid {
		e.session = p.session
	}
	o := p.pgrp
	if !e.ns.encloses(o.ns) || e.mode == forest.Subtree && (o.task == nil || e.places[o.task.id] == 0) {
		e.group = o
	}
}

func (e *exporter) addTasks() error {
	e.f.Tasks = make([]forest.Task, len(e.tasks))
	e.f.Pids = make([]forest.Pid, 0, len(e.tasks))
	for i, t := range e.tasks {
		if err := e.addTask(&e.f.Tasks[i], t); err != nil {
			return err
		}
	}
	for i, t := range e.tasks { // parents have their tags now
		e.addParent(&e.f.Tasks[i], t)
	}
	forest.SortExitIDs(e.f.ExitIDs)
	return nil
}

func (e *exporter) addTask(out *forest.Task, t *task) error {
	p := t.proc
	out.Pid, out.TGID = e.tag(t.pid), e.tag(p.leader.pid)
	var ok bool
	if out.PGID, ok = e.groupTag(p); !ok {
		return fmt.Errorf("task %s: its group is led from outside, by %s: EBUSY", t.pid, p.pgrp)
	}
	if out.SID, ok = e.used(p.session, e.session, nil); !ok {
		return fmt.Errorf("task %s: its session is led from outside, by %s: EBUSY", t.pid, p.session)
	}
	out.ExitSignal = forest.ExitSignalThread
	if t == p.leader {
		out.ExitSignal = p.exitSignal
	}
	out.PdeathSignal, out.Subreaper = t.pdeath, p.subreaper
	out.State = t.forestState()
	if out.State == forest.Stopped {
		out.StopSignal, out.StopReported = p.stopSignal, p.stopReported
	}
	if t.exiting {
		out.ExitCode = t.exitCode
	}
	out.GroupExit, out.GroupExitCode = p.groupExit, p.groupExitCode
	out.UserNamespace = e.userNamespace(t.cred.user)
	out.ChildNamespace = forest.SameNamespace
	if t.childNS != nil && t.childNS != t.pid.ns {
		out.ChildNamespace = e.namespace(t.childNS)
	}
	out.UID, out.EUID, out.GID, out.EGID = t.cred.uid, t.cred.euid, t.cred.gid, t.cred.egid
	if x, ok := forest.NewExitIDs(out, t.cred.other); ok {
		e.f.ExitIDs = append(e.f.ExitIDs, x)
	}
	out.Comm, out.StartTime = t.comm, t.start
	return nil
}

func (e *exporter) groupTag(p *process) (forest.Tag, bool) {
	if p.pgrp == e.session && e.group != nil && e.group != e.session {
		e.f.Inexact = append(e.f.Inexact, fmt.Sprintf("task %s: its group and the root's are both inherited, and differ", p.leader.pid))
	}
	return e.used(p.pgrp, e.group, e.session)
}

// used is the tag of a group or session; inherited ones are given apart. false:
// it cannot be seen from the root namespace of a container.
func (e *exporter) used(o, inherited, other *pid) (forest.Tag, bool) {
	switch {
	case o == inherited || o == other:
		return forest.Inherited, true
	case e.ns.encloses(o.ns):
		return e.tag(o), true
	}
	return forest.Outside, e.mode == forest.Subtree
}

// tag is the tag of an object of the root namespace, given now if need be.
func (e *exporter) tag(o *pid) forest.Tag {
	if o.exported != e.k.exports {
		o.exported = e.k.exports
		e.f.Pids = append(e.f.Pids, forest.Pid{Namespace: e.namespace(o.ns), Numbers: o.numbers[e.ns.level:]})
		o.tag = forest.Tag(len(e.f.Pids))
	}
	return o.tag
}

func (e *exporter) addParent(out *forest.Task, t *task) {
	parent := t.proc.parent
	if t.proc == e.root.proc || parent == nil || e.places[parent.id] == 0 {
		return
	}
	out.Parent, out.ParentThread = parent.proc.leader.pid.tag, parent.pid.tag
}

// namespace is the index of ns, added now if need be.
func (e *exporter) namespace(ns *pidNS) int {
	if i, ok := e.namespaces[ns]; ok {
		return i
	}
	parent := -1
	if ns != e.ns {
		parent = e.namespace(ns.parent)
	}
	n := forest.Namespace{
		Parent: parent, Level: ns.level - e.ns.level, Owner: e.userNamespace(ns.owner),
		Cursor: ns.cursor, PidMax: uint32(ns.pidMax), Inode: inodePID + uint32(ns.id),
	}
	e.namespaces[ns] = len(e.f.Namespaces)
	e.f.Namespaces = append(e.f.Namespaces, n)
	e.order = append(e.order, ns)
	return len(e.f.Namespaces) - 1
}

// userNamespace is the index of u, added now if need be.
func (e *exporter) userNamespace(u *userNS) int {
	if i, ok := e.users[u]; ok {
		return i
	}
	n := forest.UserNamespace{
		Parent: e.userNamespace(u.parent), OwnerUID: u.owner, OwnerGID: u.group,
		UIDMap: u.uidMap, GIDMap: u.gidMap, Setgroups: u.setgroups, Inode: inodeUser + uint32(u.id),
	}
	e.users[u] = len(e.f.UserNamespaces)
	e.f.UserNamespaces = append(e.f.UserNamespaces, n)
	return len(e.f.UserNamespaces) - 1
}

// addGhosts adds the objects of a container that only tasks outside it use.
func (e *exporter) addGhosts() {
	if e.mode == forest.Subtree {
		return
	}
	var ghosts []*pid
	for _, o := range e.ns.numbers {
		if o.exported != e.k.exports {
			ghosts = append(ghosts, o)
		}
	}
	slices.SortFunc(ghosts, func(a, b *pid) int { return cmp.Compare(a.numberIn(e.ns), b.numberIn(e.ns)) })
	for _, o := range ghosts {
		e.tag(o)
	}
}

// describeNamespaces sets states, and leaves out what a subtree does not own:
// cursor and limit of a namespace whose init is outside it.
func (e *exporter) describeNamespaces() {
	for i, ns := range e.order {
		n := &e.f.Namespaces[i]
		n.State = ns.state()
		if e.mode == forest.Container || n.State != forest.Alive && n.State != forest.InitExiting {
			continue
		}
		if init := ns.numbers[1]; init.task == nil || e.places[init.task.id] == 0 {
			n.Cursor, n.PidMax = 0, 0
		}
	}
}
