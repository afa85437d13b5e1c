// SPDX-License-Identifier: Apache-2.0

package foresttest

import (
	"slices"

	"github.com/pidgraft/pidgraft/forest"
)

// exporter writes a sim down as a forest.
type exporter struct {
	s    *random
	f    *forest.Forest
	tags map[*object]forest.Tag
	ns   map[*namespace]int
	user map[*user]int
}

func (r *random) export() *forest.Forest {
	e := &exporter{
		s: r, f: &forest.Forest{Mode: r.mode},
		tags: map[*object]forest.Tag{}, ns: map[*namespace]int{}, user: map[*user]int{},
	}
	e.userIndex(r.users[0])
	e.nsIndex(r.spaces[0])
	e.process(r.root)
	if r.mode == forest.Container {
		var tops []*process
		for _, p := range r.procs {
			if p.parent == nil && p != r.root {
				tops = append(tops, p)
			}
		}
		slices.SortFunc(tops, func(a, b *process) int { return int(a.leader.pid.numbers[0] - b.leader.pid.numbers[0]) })
		for _, p := range tops {
			e.process(p)
		}
	}
	e.parents()
	e.details()
	r.references(e.f)
	r.exitIDs(e.f)
	r.origins(e.f)
	return e.f
}

// userIndex and nsIndex number what is used, parents first.
func (e *exporter) userIndex(u *user) int {
	if i, ok := e.user[u]; ok {
		return i
	}
	rec := u.record
	rec.Parent = -1
	if u.parent != nil {
		rec.Parent = e.userIndex(u.parent)
	}
	e.f.UserNamespaces = append(e.f.UserNamespaces, rec)
	e.user[u] = len(e.f.UserNamespaces) - 1
	return e.user[u]
}

func (e *exporter) nsIndex(n *namespace) int {
	if i, ok := e.ns[n]; ok {
		return i
	}
	rec := forest.Namespace{
		Parent: -1, Level: n.level, Owner: e.userIndex(n.owner), State: n.state,
		Cursor: n.cursor, PidMax: n.pidMax, Inode: 4026531836 + uint32(len(e.ns)),
	}
	if n.parent != nil {
		rec.Parent = e.nsIndex(n.parent)
	}
	e.f.Namespaces = append(e.f.Namespaces, rec)
	e.ns[n] = len(e.f.Namespaces) - 1
	return e.ns[n]
}

func (e *exporter) tag(o *object) forest.Tag {
	if o.ns == nil {
		return o.special
	}
	if t, ok := e.tags[o]; ok {
		return t
	}
	e.f.Pids = append(e.f.Pids, forest.Pid{Namespace: e.nsIndex(o.ns), Numbers: slices.Clone(o.numbers)})
	e.tags[o] = forest.Tag(len(e.f.Pids))
	return e.tags[o]
}

func (e *exporter) process(p *process) {
	for _, t := range p.threads {
		task := t.task
		task.Pid = e.tag(t.pid)
		task.TGID = e.tag(p.leader.pid)
		task.PGID = e.tag(p.pgid)
		task.SID = e.tag(p.sid)
		task.Subreaper = p.subreaper
		task.GroupExit, task.GroupExitCode = p.groupExit, p.groupCode
		task.UserNamespace = e.userIndex(p.user)
		task.ExitSignal = forest.ExitSignalThread
		if t == p.leader {
			task.ExitSignal = p.signal
		}
		task.ChildNamespace = forest.SameNamespace
		if t.childNS != nil {
			task.ChildNamespace = e.nsIndex(t.childNS)
		}
		e.f.Tasks = append(e.f.Tasks, task)
		for _, c := range t.children {
			e.process(c)
		}
	}
}

// parents fills in the parents, whose tags are all known now.
func (e *exporter) parents() {
	of := map[forest.Tag]*process{}
	for _, p := range e.s.procs {
		of[e.tag(p.leader.pid)] = p
	}
	for i := range e.f.Tasks {
		t := &e.f.Tasks[i]
		if of[t.TGID] == nil {
			panic("foresttest: a process in the tree is not in the list")
		}
		if up := of[t.TGID].parent; up != nil && of[t.TGID] != e.s.root {
			t.Parent, t.ParentThread = e.tag(up.proc.leader.pid), e.tag(up.pid)
		}
	}
}

// details draws what is the dump's, not the machine's.
func (e *exporter) details() {
	r, f := e.s, e.f
	f.Cut.Walked = r.oneIn(2, "walked")
	f.Cut.Method = forest.CutMethod(r.int(0, 1, "cut"))
	f.Producer = forest.Producer{
		Release: pick(r, []string{"", "6.18.1-x", "5.10.0-28-cloud-amd64", "7.3.0+deb13-amd64", "odd"}, "release"),
		Version: pick(r, []string{"", "#1 SMP"}, "version"),
		Machine: pick(r, []string{"x86_64", "aarch64", ""}, "machine"),
		Tool:    pick(r, []string{"", "0.1.0", "v1.2.3-rc1+dirty"}, "tool"),
		Time:    int64(r.int(-2, 1<<62, "time")),
	}
	for range r.int(0, 2, "inexact") {
		f.Inexact = append(f.Inexact, pick(r, []string{"", "task 7/1 (sh): traced", "\x00\xff\n"}, "reason"))
	}
}
