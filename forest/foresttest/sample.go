// SPDX-License-Identifier: Apache-2.0

package foresttest

import (
	"strconv"
	"strings"

	"github.com/pidgraft/pidgraft/forest"
)

// row is a task with its ids by their numbers: "11/1". An empty tgid, pgid or
// sid is the process's own number; "-" is the root's by inheritance.
type row struct {
	pid, tgid, pgid, sid string
	parent, thread       string // no thread: the leader; no parent: outside
	task                 forest.Task
}

// place says in which namespace each number lives.
type place map[string]int

// build gives tags in order of first appearance, by the seed's rules.
func build(f *forest.Forest, where place, rows []row) *forest.Forest {
	tags := map[string]forest.Tag{"": forest.Outside, "-": forest.Inherited}
	tag := func(chain string) forest.Tag {
		if t, ok := tags[chain]; ok {
			return t
		}
		p := forest.Pid{Namespace: where[chain]}
		for _, s := range strings.Split(chain, "/") {
			n, err := strconv.Atoi(s)
			if err != nil {
				panic(err)
			}
			p.Numbers = append(p.Numbers, int32(n))
		}
		f.Pids = append(f.Pids, p)
		tags[chain] = forest.Tag(len(f.Pids))
		return tags[chain]
	}
	for _, r := range rows {
		or := func(id, other string) string {
			if id == "" {
				return other
			}
			return id
		}
		t := r.task
		t.Pid = tag(r.pid)
		t.TGID = tag(or(r.tgid, r.pid))
		t.PGID = tag(or(r.pgid, or(r.tgid, r.pid)))
		t.SID = tag(or(r.sid, or(r.tgid, r.pid)))
		t.Parent, t.ParentThread = tag(r.parent), tag(or(r.thread, r.parent))
		if !t.IsLeader() {
			t.ExitSignal = forest.ExitSignalThread
		} else if t.ExitSignal == 0 {
			t.ExitSignal = forest.SIGCHLD
		}
		if t.ChildNamespace == 0 {
			t.ChildNamespace = forest.SameNamespace
		}
		t.StartTime = uint64(len(f.Tasks)+1) * 1000
		f.Tasks = append(f.Tasks, t)
	}
	return f
}

// Sample is a container with one of nearly everything: namespaces in every
// state and three deep, one with its own user namespace; threads, a child of a
// later thread, a dead leader, zombies, a stopped task, an entrant; ghosts as
// group, as session and as the init of a dead namespace. It is the same at
// every call.
func Sample() *forest.Forest {
	f := &forest.Forest{
		UserNamespaces: []forest.UserNamespace{
			{Parent: -1, Setgroups: true, Inode: 4026531837},
			{
				Parent: 0, OwnerUID: 1000, OwnerGID: 1001, Inode: 4026532300,
				UIDMap: []forest.Extent{{First: 0, Parent: 1000, Count: 1}, {First: 1, Parent: 100000, Count: 65536}},
				GIDMap: []forest.Extent{{First: 0, Parent: 1001, Count: 1}},
			},
			{Parent: 1, OwnerUID: 1000, OwnerGID: 1001, Setgroups: true, Inode: 4026532301},
		},
		Namespaces: []forest.Namespace{
			{Parent: -1, Level: 0, Cursor: 24, PidMax: 4194304, Inode: 4026532200},
			{Parent: 0, Level: 1, Owner: 1, Cursor: 4, PidMax: 4194304, Inode: 4026532201},
			{Parent: 1, Level: 2, Owner: 2, Cursor: 2, PidMax: 301, Inode: 4026532202},
			{Parent: 0, Level: 1, State: forest.InitExiting, Cursor: 3, PidMax: 4194304, Inode: 4026532203},
			{Parent: 0, Level: 1, State: forest.Dead, Cursor: 2, PidMax: 4194304, Inode: 4026532204},
			{Parent: 0, Level: 1, State: forest.Empty, PidMax: 4194304, Inode: 4026532205},
			{Parent: 0, Level: 1, State: forest.Spoilt, PidMax: 4194304, Inode: 4026532206},
		},
		Cut: forest.Cut{Method: forest.Frozen, Walked: true},
		Producer: forest.Producer{
			Release: "6.18.5-cloud-amd64", Version: "#1 SMP PREEMPT_DYNAMIC", Machine: "x86_64",
			Tool: "0.1.0", Time: 1_700_000_000_123_456_789,
		},
	}
	where := place{
		"11/1": 1, "12/2/1": 2, "13/3": 1, "16/1": 3, "17/2": 3, "18/1": 4,
	}
	zombie := func(code int32, more forest.Task) forest.Task {
		more.State, more.ExitCode = forest.Zombie, code
		return more
	}
	return build(f, where, []row{
		{pid: "1", pgid: "-", sid: "-", task: forest.Task{Comm: "init", Subreaper: true}},
		{pid: "7", parent: "1", task: forest.Task{Comm: "sh", UID: 1000, EUID: 1001, GID: 1002, EGID: 1003, PdeathSignal: 15}},
		{pid: "9", pgid: "6", sid: "7", parent: "7", task: forest.Task{Comm: "cat", ExitSignal: 10}},
		{pid: "19", pgid: "18/1", sid: "7", parent: "7", task: forest.Task{
			Comm: "vi \xff\"\n", State: forest.Stopped, StopSignal: 20, StopReported: true,
		}},
		{pid: "11/1", pgid: "7", sid: "7", parent: "7", task: forest.Task{Comm: "bwrap", UserNamespace: 1}},
		{pid: "12/2/1", parent: "11/1", task: forest.Task{Comm: "sandbox", UserNamespace: 2}},
		{pid: "13/3", pgid: "7", sid: "7", parent: "11/1", task: zombie(3<<8, forest.Task{
			Comm: "true", UserNamespace: 1, GroupExit: true, GroupExitCode: 3 << 8, UID: 1000, EUID: 1000, GID: 1001, EGID: 1001,
		})},
		{pid: "8", tgid: "7", pgid: "7", sid: "7", parent: "1", task: forest.Task{Comm: "worker"}},
		{pid: "20", pgid: "7", sid: "7", parent: "7", thread: "8", task: zombie(0x8b, forest.Task{Comm: "crash"})},
		{pid: "10", pgid: "5", sid: "5", parent: "1", task: forest.Task{Comm: "daemon", ChildNamespace: 5}},
		{pid: "14", parent: "1", task: forest.Task{Comm: "dead", State: forest.DeadLeader, ExitCode: 1 << 8}},
		{pid: "15", tgid: "14", parent: "1", task: forest.Task{Comm: "alive", ChildNamespace: 6}},
		{pid: "16/1", parent: "1", task: forest.Task{Comm: "stuck", State: forest.ExitingInit, ExitCode: 9, GroupExit: true, GroupExitCode: 9}},
		{pid: "17/2", pgid: "-", sid: "-", task: zombie(9, forest.Task{Comm: "nsenter", GroupExit: true, GroupExitCode: 9})},
	})
}

// Small is the least container: a root and one child.
func Small() *forest.Forest {
	return build(&forest.Forest{
		UserNamespaces: []forest.UserNamespace{{Parent: -1, Setgroups: true}},
		Namespaces:     []forest.Namespace{{Parent: -1, Cursor: 3}},
	}, nil, []row{
		{pid: "1", task: forest.Task{Comm: "init"}},
		{pid: "2", pgid: "1", sid: "1", parent: "1", task: forest.Task{Comm: "sh"}},
	})
}

// BelowRoot is a subtree: its root's session is inherited, a child's group is
// led from outside, another child's session by a task beside the subtree, and a
// task entered a namespace whose init is not in it.
func BelowRoot() *forest.Forest {
	f := build(&forest.Forest{
		Mode:           forest.Subtree,
		UserNamespaces: []forest.UserNamespace{{Parent: -1, Setgroups: true}},
		Namespaces:     []forest.Namespace{{Parent: -1}, {Parent: 0, Level: 1}},
	}, place{"310/20": 1}, []row{
		{pid: "300", pgid: "-", sid: "-", task: forest.Task{Comm: "make"}},
		{pid: "301", pgid: "", sid: "-", parent: "300", task: forest.Task{Comm: "cc"}},
		{pid: "302", pgid: "250", sid: "250", parent: "300", task: forest.Task{Comm: "beside"}},
		{pid: "310/20", parent: "300", task: forest.Task{Comm: "entered"}},
	})
	f.Tasks[1].PGID = forest.Outside
	return f
}

// Wide is a container of n tasks: sessions of ten below the root, each with
// a thread, a zombie, and a nested namespace in every fifth.
func Wide(n int) *forest.Forest {
	f := &forest.Forest{
		UserNamespaces: []forest.UserNamespace{{Parent: -1, Setgroups: true}},
		Namespaces:     []forest.Namespace{{Parent: -1, Cursor: 300}},
		Producer:       forest.Producer{Release: "6.18.5", Machine: "x86_64", Tool: "0.1.0"},
	}
	add := func(ns int, numbers ...int32) forest.Tag {
		f.Pids = append(f.Pids, forest.Pid{Namespace: ns, Numbers: numbers})
		return forest.Tag(len(f.Pids))
	}
	task := func(pid, tgid, pgid, sid, parent forest.Tag) *forest.Task {
		f.Tasks = append(f.Tasks, forest.Task{
			Pid: pid, TGID: tgid, PGID: pgid, SID: sid, Parent: parent, ParentThread: parent,
			ExitSignal: forest.SIGCHLD, ChildNamespace: forest.SameNamespace,
			Comm: "worker-" + strconv.Itoa(len(f.Tasks)%100), StartTime: uint64(len(f.Tasks)) * 1e6,
			UID: 1000, EUID: 1000, GID: 1000, EGID: 1000,
		})
		return &f.Tasks[len(f.Tasks)-1]
	}
	root := add(0, 1)
	task(root, root, root, root, forest.Outside)
	for leader := forest.Tag(0); len(f.Tasks) < n; {
		number := int32(len(f.Tasks) + 1)
		switch k := (len(f.Tasks) - 1) % 10; {
		case k == 0:
			leader = add(0, number)
			task(leader, leader, leader, leader, root)
		case k == 4 && len(f.Tasks)%50 == 5:
			f.Namespaces = append(f.Namespaces, forest.Namespace{Parent: 0, Level: 1, Cursor: 2})
			p := add(len(f.Namespaces)-1, number, 1)
			task(p, p, leader, leader, leader)
		case k == 8:
			p := add(0, number)
			z := task(p, p, leader, leader, leader)
			z.State, z.ExitCode = forest.Zombie, int32(number%256)<<8
		case k == 9:
			p := add(0, number)
			task(p, leader, leader, leader, root).ExitSignal = forest.ExitSignalThread
		default:
			p := add(0, number)
			task(p, p, leader, leader, leader)
		}
	}
	return f
}
