// SPDX-License-Identifier: Apache-2.0

package forest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// nsName names a namespace to a person: by its init, or by who would populate
// it.
func (s *side) nsName(ns int) string {
	if ns == SameNamespace {
		return "its own namespace"
	}
	if ns == 0 {
		return "the root namespace"
	}
	if init := s.index.Init(ns); init != Outside {
		return "the namespace of init " + s.TagName(init)
	}
	return fmt.Sprintf("a namespace (%v) at level %d without an init", s.Namespaces[ns].State, s.Namespaces[ns].Level)
}

func (s *side) userName(u int) string {
	if u == 0 {
		return "the initial user namespace"
	}
	return "user namespace " + strconv.Itoa(u)
}

func (d *differ) namespaces() {
	for x := range d.a.Namespaces {
		n, y := &d.a.Namespaces[x], int(d.a.ns[x])
		subject := d.a.nsName(x)
		if y == None {
			d.found = append(d.found, Difference{None, None, subject, "is missing"})
			continue
		}
		m := &d.b.Namespaces[y]
		if x != 0 && d.a.ns[n.Parent] != int32(m.Parent) {
			d.add(None, None, subject, "is a child of "+d.b.nsName(m.Parent), "of "+d.a.nsName(n.Parent))
		}
		if n.State != m.State {
			d.add(None, None, subject, "state is "+m.State.String(), n.State.String())
		}
		if n.Cursor != m.Cursor {
			d.add(None, None, subject, fmt.Sprintf("id cursor is %d", m.Cursor), fmt.Sprint(n.Cursor))
		}
		// 0: that kernel has one pid_max for the whole machine.
		if n.PidMax != m.PidMax && n.PidMax != 0 && m.PidMax != 0 {
			d.add(None, None, subject, fmt.Sprintf("pid_max is %d", m.PidMax), fmt.Sprint(n.PidMax))
		}
		if d.a.userns[n.Owner] != int32(m.Owner) {
			d.add(None, None, subject, "owner is "+d.b.userName(m.Owner), d.a.userName(n.Owner))
		}
	}
	for y, x := range d.b.ns {
		if x == None {
			d.found = append(d.found, Difference{None, None, d.b.nsName(y), "was not there"})
		}
	}
}

func (d *differ) userNamespaces() {
	for x := range d.a.UserNamespaces {
		n, y := &d.a.UserNamespaces[x], int(d.a.userns[x])
		subject := d.a.userName(x)
		if y == None {
			d.found = append(d.found, Difference{None, None, subject, "is missing"})
			continue
		}
		m := &d.b.UserNamespaces[y]
		if x != 0 && d.a.userns[n.Parent] != int32(m.Parent) {
			d.add(None, None, subject, "is a child of "+d.b.userName(m.Parent), "of "+d.a.userName(n.Parent))
		}
		if n.OwnerUID != m.OwnerUID || n.OwnerGID != m.OwnerGID {
			d.add(None, None, subject, fmt.Sprintf("owner is %d:%d", m.OwnerUID, m.OwnerGID), fmt.Sprintf("%d:%d", n.OwnerUID, n.OwnerGID))
		}
		if !slices.Equal(n.UIDMap, m.UIDMap) {
			d.add(None, None, subject, "uid map is "+mapText(m.UIDMap), mapText(n.UIDMap))
		}
		if !slices.Equal(n.GIDMap, m.GIDMap) {
			d.add(None, None, subject, "gid map is "+mapText(m.GIDMap), mapText(n.GIDMap))
		}
		if n.Setgroups != m.Setgroups {
			d.add(None, None, subject, fmt.Sprintf("setgroups is allowed: %t", m.Setgroups), strconv.FormatBool(n.Setgroups))
		}
	}
	for y, x := range d.b.userns {
		if x == None {
			d.found = append(d.found, Difference{None, None, d.b.userName(y), "was not there"})
		}
	}
}

func mapText(m []Extent) string {
	if len(m) == 0 {
		return "not written"
	}
	var b strings.Builder
	for i, e := range m {
		if i == 4 {
			fmt.Fprintf(&b, " … (%d lines)", len(m))
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%d %d %d", e.First, e.Parent, e.Count)
	}
	return b.String()
}

// pidName names an object to a person: by its task if it has one.
func (s *side) pidName(tag Tag) string {
	if i := s.index.TaskOf(tag); i != None {
		return s.TaskName(i)
	}
	return "ghost " + s.TagName(tag)
}

// pids compares the objects: that they are there, carried by a task or not, and
// their numbers and namespaces.
func (d *differ) pids() {
	for k := range d.a.Pids {
		x, y := Tag(k+1), d.a.pid[k]
		i, j := d.a.index.TaskOf(x), d.b.index.TaskOf(y)
		p, q := &d.a.Pids[k], d.b.Pid(y)
		switch {
		case q == nil:
			d.found = append(d.found, Difference{i, None, d.a.pidName(x), "is missing"})
			continue
		case i != None && j == None:
			d.found = append(d.found, Difference{i, None, d.a.pidName(x), "is a ghost, was a task"})
		case i == None && j != None:
			d.found = append(d.found, Difference{None, j, d.a.pidName(x), "is " + d.b.TaskName(j) + ", was a ghost"})
		}
		if !slices.Equal(p.Numbers, q.Numbers) {
			d.add(i, j, d.a.pidName(x), "numbers are "+q.String(), p.String())
		} else if d.a.ns[p.Namespace] != int32(q.Namespace) {
			d.add(i, j, d.a.pidName(x), "lives in "+d.b.nsName(q.Namespace), "in "+d.a.nsName(p.Namespace))
		}
	}
	for k, x := range d.b.pid {
		if x == 0 {
			y := Tag(k + 1)
			d.found = append(d.found, Difference{None, d.b.index.TaskOf(y), d.b.pidName(y), "was not there"})
		}
	}
}

func (d *differ) tasks() {
	for i := range d.a.Tasks {
		if j := d.taskB(i); j != None {
			d.task(i, j)
		}
	}
}

// task compares two tasks of the same number.
func (d *differ) task(i, j int) {
	s, t := &d.a.Tasks[i], &d.b.Tasks[j]
	add := func(is, was string) { d.add(i, j, d.a.TaskName(i), is, was) }
	tag := func(what string, x, y Tag) {
		if !d.same(x, y) {
			add(what+" is "+d.b.TagName(y), d.a.TagName(x))
		}
	}
	number := func(what string, x, y int64) {
		if x != y {
			add(what+" is "+strconv.FormatInt(y, 10), strconv.FormatInt(x, 10))
		}
	}
	tag("process", s.TGID, t.TGID)
	if s.IsLeader() && t.IsLeader() { // the same for all threads
		tag("group", s.PGID, t.PGID)
		tag("session", s.SID, t.SID)
		tag("parent", s.Parent, t.Parent)
		if d.same(s.Parent, t.Parent) {
			tag("parent thread", s.ParentThread, t.ParentThread)
		}
		if s.Subreaper != t.Subreaper {
			add(fmt.Sprintf("subreaper is %t", t.Subreaper), strconv.FormatBool(s.Subreaper))
		}
	}
	number("exit signal", int64(s.ExitSignal), int64(t.ExitSignal))
	number("parent-death signal", int64(s.PdeathSignal), int64(t.PdeathSignal))
	if s.State != t.State {
		add("is "+t.State.String(), s.State.String())
	}
	if s.State == Stopped && t.State == Stopped {
		number("stop signal", int64(s.StopSignal), int64(t.StopSignal))
		if s.StopReported != t.StopReported {
			add(fmt.Sprintf("stop was reported to its parent: %t", t.StopReported), strconv.FormatBool(s.StopReported))
		}
	}
	exited := s.State.Exited() && t.State.Exited()
	if exited && s.WaitStatus() != t.WaitStatus() {
		add("ended by "+StatusText(t.WaitStatus()), StatusText(s.WaitStatus()))
	}
	if d.a.userns[s.UserNamespace] != int32(t.UserNamespace) {
		add("is in "+d.b.userName(t.UserNamespace), "in "+d.a.userName(s.UserNamespace))
	}
	if !d.sameNS(s.ChildNamespace, t.ChildNamespace) {
		add("children are born in "+d.b.nsName(t.ChildNamespace), "in "+d.a.nsName(s.ChildNamespace))
	}
	if exited || d.o.LiveIDs {
		number("uid", int64(s.UID), int64(t.UID))
		number("effective uid", int64(s.EUID), int64(t.EUID))
		number("gid", int64(s.GID), int64(t.GID))
		number("effective gid", int64(s.EGID), int64(t.EGID))
	}
	if exited {
		x, y := d.a.OtherIDs(i), d.b.OtherIDs(j)
		number("saved uid", int64(x.SUID), int64(y.SUID))
		number("saved gid", int64(x.SGID), int64(y.SGID))
		number("file-system uid", int64(x.FSUID), int64(y.FSUID))
		number("file-system gid", int64(x.FSGID), int64(y.FSGID))
	}
	if s.Comm != t.Comm {
		add("name is "+Escape(t.Comm), Escape(s.Comm))
	}
}

// sameNS reports whether namespace x of a is y of b; SameNamespace is itself.
func (d *differ) sameNS(x, y int) bool {
	if x == SameNamespace || y == SameNamespace {
		return x == y
	}
	return d.a.ns[x] == int32(y)
}

// StatusText is a wait status in words: "exit code 3", "signal 9",
// "signal 11 (core dumped)".
func StatusText(status int32) string {
	sig := status & 0x7f
	switch {
	case sig == 0:
		return fmt.Sprintf("exit code %d", status>>8&0xff)
	case status&coreBit != 0:
		return fmt.Sprintf("signal %d (core dumped)", sig)
	}
	return fmt.Sprintf("signal %d", sig)
}

// siblings compares the order of the children of each thread, and of the
// threads of each process, among those that both forests have in that place.
func (d *differ) siblings() {
	in := make([]bool, len(d.b.Pids))
	for i := range d.a.Tasks {
		if j := d.taskB(i); j != None {
			d.sequence(i, j, "children", d.a.index.Children(i), d.b.index.Children(j), in)
			d.sequence(i, j, "threads", d.a.index.Threads(i), d.b.index.Threads(j), in)
		}
	}
}

// sequence compares two orders of tasks, x of a and y of b. Tasks that only
// one of them has are reported elsewhere. in is scratch, by tag of b, and all
// false.
func (d *differ) sequence(i, j int, what string, x, y []int32, in []bool) {
	if len(x) < 2 || len(y) < 2 || d.sameTasks(x, y) {
		return
	}
	mates := make([]Tag, 0, len(x)) // those of x, as tags of b
	for _, t := range x {
		if mate := d.a.pid[d.a.Tasks[t].Pid-1]; mate != 0 {
			mates = append(mates, mate)
			in[mate-1] = true
		}
	}
	is := make([]Tag, 0, len(y)) // those of y that are in x
	for _, t := range y {
		if tag := d.b.Tasks[t].Pid; in[tag-1] {
			is = append(is, tag)
		}
	}
	for _, tag := range mates {
		in[tag-1] = false
	}
	for _, tag := range is {
		in[tag-1] = true
	}
	was := slices.DeleteFunc(mates, func(tag Tag) bool { return !in[tag-1] })
	for _, tag := range is {
		in[tag-1] = false
	}
	if !slices.Equal(is, was) {
		d.add(i, j, d.a.TaskName(i), what+" are in order "+d.names(is), d.names(was))
	}
}

// sameTasks reports whether tasks x of a are tasks y of b, one by one.
func (d *differ) sameTasks(x, y []int32) bool {
	return slices.EqualFunc(x, y, func(i, j int32) bool {
		return d.a.pid[d.a.Tasks[i].Pid-1] == d.b.Tasks[j].Pid
	})
}

// names are the numbers of objects of b, the first dozen of them.
func (d *differ) names(tags []Tag) string {
	const most = 12
	var b strings.Builder
	for i, tag := range tags {
		if i == most {
			fmt.Fprintf(&b, " … (%d)", len(tags))
			break
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(d.b.TagName(tag))
	}
	return b.String()
}
