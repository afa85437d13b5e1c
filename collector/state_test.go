// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pidgraft/pidgraft/forest"
)

func TestStates(t *testing.T) {
	const sigstop, sigtstp = 19, 20
	for _, tt := range []struct {
		name   string
		edit   func(c *container, p, thread *Task) // of one process with a second thread
		state  forest.State
		thread forest.State
		more   func(*forest.Task) bool
		fails  bool // not a cut: look again
	}{
		{name: "running", edit: func(c *container, p, th *Task) {
			// An exit code of who has not exited is a tracer's, between stops.
			p.ExitCode = 5
		}, more: func(t *forest.Task) bool { return t.ExitCode == 0 }},
		{name: "stopped, not reported", edit: func(c *container, p, th *Task) {
			for _, t := range []*Task{p, th} {
				t.SignalFlags, t.Jobctl, t.GroupExitCode = signalStopStopped, 1<<26|sigtstp, sigtstp
			}
		}, state: forest.Stopped, thread: forest.Stopped, more: func(t *forest.Task) bool {
			return t.StopSignal == sigtstp && !t.StopReported && t.GroupExitCode == 0
		}},
		{name: "stopped, reported", edit: func(c *container, p, th *Task) {
			for _, t := range []*Task{p, th} {
				t.SignalFlags, t.Jobctl = signalStopStopped, 1<<26|sigstop
			}
		}, state: forest.Stopped, thread: forest.Stopped, more: func(t *forest.Task) bool {
			return t.StopSignal == sigstop && t.StopReported
		}},
		{name: "stopped by no signal", edit: func(c *container, p, th *Task) {
			p.SignalFlags = signalStopStopped
		}, fails: true},
		{name: "traced", edit: func(c *container, p, th *Task) { p.Ptrace = 1 }, state: forest.Traced},
		{name: "dead leader", edit: func(c *container, p, th *Task) { c.exit(p, 0x300) },
			state: forest.DeadLeader, more: func(t *forest.Task) bool {
				return t.ExitCode == 0x300 && t.WaitStatus() == 0x300 && t.ChildNamespace == forest.SameNamespace
			}},
		{name: "zombie", edit: func(c *container, p, th *Task) {
			c.exit(p, 0)
			p.SignalFlags, p.GroupExitCode = signalGroupExit, 9
			p.NrThreads = 1
			c.leave(th)
		}, state: forest.Zombie, more: func(t *forest.Task) bool { return t.WaitStatus() == 9 }},
		{name: "dead leader of a thread that waits for its tracer", edit: func(c *container, p, th *Task) {
			c.exit(p, 0)
			c.exit(th, 0)
			th.Ptrace = 1
		}, state: forest.DeadLeader, thread: forest.Traced},
		{name: "thread that just exited", edit: func(c *container, p, th *Task) { c.exit(th, 0) }, fails: true},
		{name: "exiting", edit: func(c *container, p, th *Task) { p.TaskFlags |= pfExiting }, fails: true},
		{name: "reaped thread", edit: func(c *container, p, th *Task) { th.ExitState = exitDead }, thread: -1 & 0xff},
		{name: "being reaped by a tracer", edit: func(c *container, p, th *Task) { th.ExitState = exitDead | exitZombie }, fails: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newContainer()
			c.setsid(c.root)
			p := c.task(c.root, c.ns, "p", 30, 5)
			th := c.thread(p, c.ns, "th", 31, 6)
			p.NrThreads, th.NrThreads = 2, 2
			tt.edit(c, p, th)
			s := c.snapshot(c.root)
			if th.ExitState == exitDead {
				s.Walked, s.IDR = false, nil // its number may still be taken
			}
			f, err := Collect(s, forest.Container, Options{})
			if tt.fails {
				if !errors.Is(err, ErrChanged) {
					t.Fatalf("error: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := f.Tasks[1].State; got != tt.state {
				t.Errorf("state: %v, want %v", got, tt.state)
			}
			if tt.more != nil && !tt.more(&f.Tasks[1]) {
				t.Errorf("%+v", f.Tasks[1])
			}
			switch {
			case tt.thread == 0xff, len(c.tasks) == 4:
				if len(f.Tasks) != 2 {
					t.Errorf("%d tasks", len(f.Tasks))
				}
			case f.Tasks[2].State != tt.thread:
				t.Errorf("thread: %v, want %v", f.Tasks[2].State, tt.thread)
			}
		})
	}
}

// The end of a namespace: its init waits in zap_pid_ns_processes, is a zombie,
// is gone while its number is still a group.
func TestNamespaceStates(t *testing.T) {
	c := newContainer()
	c.setsid(c.root)
	n := c.pidns(c.ns)
	n.Cursor, n.PidMax = 77, 5000
	nit := c.task(c.root, n, "nit", 30, 5, 1)
	nit.PGID = nit.Pid
	member := c.task(c.root, c.ns, "member", 31, 6)
	member.PGID = nit.Pid
	state := func() (*forest.Forest, forest.NamespaceState) {
		t.Helper()
		f := collect(t, c.snapshot(c.root), forest.Container)
		if len(f.Namespaces) != 2 || f.Namespaces[1].Cursor != 77 || f.Namespaces[1].PidMax != 5000 {
			t.Fatalf("namespaces: %+v", f.Namespaces)
		}
		return f, f.Namespaces[1].State
	}
	if _, got := state(); got != forest.Alive {
		t.Error("alive:", got)
	}
	n.Allocated &^= PidnsAdding
	nit.TaskFlags |= pfExiting
	if f, got := state(); got != forest.InitExiting || f.Tasks[1].State != forest.ExitingInit {
		t.Error("exiting:", got, f.Tasks[1].State)
	}
	c.exit(nit, 9)
	if f, got := state(); got != forest.Dead || f.Tasks[1].State != forest.Zombie {
		t.Error("zombie init:", got, f.Tasks[1].State)
	}
	c.leave(nit)
	f, got := state()
	if got != forest.Dead {
		t.Error("ghost of an init:", got)
	}
	wantPids(t, f, []int32{1}, []int32{6}, []int32{5, 1})
}

// What pid_ns_for_children points to, when it is not the own namespace.
func TestChildNamespace(t *testing.T) {
	c := newContainer()
	c.setsid(c.root)
	a := c.task(c.root, c.ns, "a", 30, 5)
	b := c.task(c.root, c.ns, "b", 31, 6)
	empty, spoilt := c.pidns(c.ns), c.pidns(c.ns)
	spoilt.Allocated = 0
	deep := c.pidns(empty)
	a.ChildNamespace, b.ChildNamespace = deep.ID, spoilt.ID
	f := collect(t, c.snapshot(c.root), forest.Container)
	var got []forest.NamespaceState
	for _, n := range f.Namespaces {
		got = append(got, n.State)
	}
	if d := cmp.Diff([]forest.NamespaceState{forest.Alive, forest.Empty, forest.Empty, forest.Spoilt}, got); d != "" {
		t.Error(d)
	}
	if f.Tasks[0].ChildNamespace != forest.SameNamespace || f.Tasks[1].ChildNamespace != 2 || f.Tasks[2].ChildNamespace != 3 {
		t.Errorf("%+v", f.Tasks)
	}
}

// The kernel keeps maps to kernel ids; a person, and a restore, write them to
// those of the parent.
func TestUserNamespaces(t *testing.T) {
	c := newContainer()
	c.setsid(c.root)
	outer := c.userns(c.user)
	outer.UIDMap = []Extent{{0, 100000, 1000}, {1000, 1000, 1}}
	outer.GIDMap = []Extent{{0, 100000, 65536}}
	outer.Flags = usernsSetgroupsAllowed
	inner := c.userns(outer)
	inner.OwnerUID = 100010
	inner.UIDMap = []Extent{{7, 100010, 20}, {99, 1000, 1}}
	inner.GIDMap = []Extent{{7, 100010, 1}}
	n := c.pidns(c.ns)
	n.Owner = inner.ID
	nit := c.task(c.root, n, "nit", 30, 5, 1)
	nit.UserNamespace = inner.ID
	f := collect(t, c.snapshot(c.root), forest.Container)
	want := []forest.UserNamespace{
		{Parent: -1, Setgroups: true, Inode: c.user.Inode},
		{Parent: 0, Setgroups: true, Inode: outer.Inode,
			UIDMap: []forest.Extent{{First: 0, Parent: 100000, Count: 1000}, {First: 1000, Parent: 1000, Count: 1}},
			GIDMap: []forest.Extent{{First: 0, Parent: 100000, Count: 65536}}},
		{Parent: 1, OwnerUID: 100010, Inode: inner.Inode,
			UIDMap: []forest.Extent{{First: 7, Parent: 10, Count: 20}, {First: 99, Parent: 1000, Count: 1}},
			GIDMap: []forest.Extent{{First: 7, Parent: 10, Count: 1}}},
	}
	if d := cmp.Diff(want, f.UserNamespaces); d != "" {
		t.Error(d)
	}
	if f.Namespaces[1].Owner != 2 || f.Tasks[1].UserNamespace != 2 || f.Tasks[0].UserNamespace != 0 {
		t.Errorf("%+v\n%+v", f.Namespaces, f.Tasks)
	}
	inner.UIDMap[0].Count = 1000 // reaches out of the parent's extent
	if _, err := Collect(c.snapshot(c.root), forest.Container, Options{}); !errors.Is(err, ErrChanged) {
		t.Error("a map that its parent does not hold:", err)
	}
}
