// SPDX-License-Identifier: Apache-2.0

package model

import (
	"testing"

	"github.com/pidgraft/pidgraft/forest"
)

// One test for each rule of kernel-rules that bears on the model: what the
// rule says, case by case. Rules 6, 21 and 24 to 27 are about memory, core
// dumps and what a planner may conclude; the model has no part in them.

func TestRule01Numbers(t *testing.T) {
	m, root := container(t)
	inner := m.fork(root, NewPID)
	ghost := m.named(inner, 30, 30)
	m.ok(m.Setsid(ghost))
	member := m.fork(ghost)
	m.end(ghost)
	m.status(inner, ghost, 0)
	empty := m.fork(inner)
	m.ok(m.Unshare(empty, NewPID))

	for _, c := range []struct {
		name    string
		actor   TaskID
		numbers []int32
		want    Errno
	}{
		{"innermost first", inner, []int32{7, 20}, 0},
		{"innermost only", inner, []int32{8}, 0},
		{"taken", inner, []int32{7}, EEXIST},
		{"taken further out", inner, []int32{9, 20}, EEXIST},
		{"taken by a ghost", inner, []int32{30}, EEXIST},
		{"zero", inner, []int32{0}, EINVAL},
		{"negative", inner, []int32{-1}, EINVAL},
		{"pid_max", inner, []int32{pidMaxDefault}, EINVAL},
		{"below pid_max", inner, []int32{pidMaxDefault - 1}, 0},
		{"more than levels", inner, []int32{10, 10, 10, 10}, EINVAL},
		{"all levels", inner, []int32{10, 10, 500}, 0},
		{"the first is not 1", empty, []int32{2}, EINVAL},
		{"the first is 1", empty, []int32{1, 40}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := machine{m.Kernel, t}
			_, errno := m.Clone(c.actor, CloneArgs{SetTID: c.numbers, ExitSignal: forest.SIGCHLD})
			m.want(c.want, errno)
		})
	}
	thread := m.clone(inner, CloneArgs{Flags: Thread, SetTID: []int32{77}})
	if m.nr(thread) != 77 || !m.exists(ghost) {
		t.Errorf("thread has number %d, want 77; ghost of %d exists: %v", m.nr(thread), member, m.exists(ghost))
	}
}

func TestRule02Levels(t *testing.T) {
	m, at := container(t)
	for level := 2; level <= maxPidNSLevel; level++ {
		at = m.fork(at, NewPID)
	}
	m.cannotClone(ENOSPC, at, CloneArgs{Flags: NewPID})
	m.want(ENOSPC, m.Unshare(at, NewPID))
	m.cannotClone(EINVAL, at, CloneArgs{SetTID: make([]int32, maxPidNSLevel+1)})
	numbers := make([]int32, maxPidNSLevel)
	for i := range numbers {
		numbers[i] = 50
	}
	m.named(at, numbers...) // the host's number stays the kernel's choice
}

func TestRule03Cursor(t *testing.T) {
	m, root := container(t)
	ns := m.tasks[root].pid.ns
	cursor := func(want uint32) {
		t.Helper()
		if ns.cursor != want {
			t.Errorf("cursor is %d, want %d", ns.cursor, want)
		}
	}
	cursor(2) // the init's number was not named
	m.named(root, 50)
	cursor(2)
	m.fork(root)
	cursor(3)
	m.ok(m.SetLastPid(root, 48))
	a, b := m.fork(root), m.fork(root)
	if m.nr(a) != 49 || m.nr(b) != 51 {
		t.Errorf("numbers %d, %d, want 49, 51", m.nr(a), m.nr(b))
	}
	m.want(EINVAL, m.SetLastPid(root, -1))

	m.ok(m.SetPidMax(root, 302))
	m.ok(m.SetLastPid(root, 300))
	a, b = m.fork(root), m.fork(root)
	if m.nr(a) != 301 || m.nr(b) != 300 {
		t.Errorf("numbers %d, %d around the wrap, want 301, 300", m.nr(a), m.nr(b))
	}
	m.cannotClone(EAGAIN, root, CloneArgs{})

	named := m.clone(root, CloneArgs{SetTID: []int32{30}})
	m.ok(m.Unshare(named, NewPID))
	init := m.named(named, 1, 31)
	if c := m.tasks[init].pid.ns.cursor; c != 0 {
		t.Errorf("cursor of a namespace built by naming is %d, want 0", c)
	}
}

func TestRule04PidMax(t *testing.T) {
	m, root := container(t)
	high := m.named(root, 5000)
	m.ok(m.SetPidMax(root, 400))
	m.state(high, forest.Running)
	m.cannotClone(EINVAL, root, CloneArgs{SetTID: []int32{400}})
	m.named(root, 399)
	m.want(EINVAL, m.SetPidMax(root, 300))
	m.want(EINVAL, m.SetPidMax(root, pidMaxDefault+1))
	nested := m.fork(root, NewPID)
	if got := m.tasks[nested].pid.ns.pidMax; got != pidMaxDefault {
		t.Errorf("pid_max of a nested namespace is %d, want the default", got)
	}
}

func TestRule05NamespaceStates(t *testing.T) {
	t.Run("empty, alive, dead", func(t *testing.T) {
		m, root := container(t)
		maker := m.fork(root)
		m.ok(m.Unshare(maker, NewPID))
		ns := m.tasks[maker].childNS
		if ns.state() != forest.Empty {
			t.Errorf("state %v, want empty", ns.state())
		}
		init := m.fork(maker)
		m.nsState(init, forest.Alive)
		m.end(init)
		m.nsState(init, forest.Dead)
		m.cannotClone(ENOMEM, maker, CloneArgs{})
		m.status(maker, init, 0)
		m.cannotClone(ENOMEM, maker, CloneArgs{})
	})
	t.Run("spoilt", func(t *testing.T) {
		m, root := container(t)
		m.ok(m.Unshare(root, NewPID))
		m.cannotClone(EAGAIN, root, CloneArgs{FailLate: true})
		if s := m.tasks[root].childNS.state(); s != forest.Spoilt {
			t.Errorf("state %v, want spoilt", s)
		}
		m.cannotClone(ENOMEM, root, CloneArgs{})
		m.cannotClone(ENOMEM, root, CloneArgs{SetTID: []int32{1}})
	})
	t.Run("held by an unreaped entrant", func(t *testing.T) {
		m, root := container(t)
		outer := m.fork(root)
		init := m.fork(root, NewPID)
		entrant := m.enter(outer, init)
		m.ok(m.Kill(Outsider, init, sigKill))
		m.nsState(init, forest.InitExiting)
		m.state(init, forest.ExitingInit)
		m.state(entrant, forest.Zombie)
		m.status(outer, entrant, sigKill)
		m.nsState(init, forest.Dead)
		m.state(init, forest.Zombie)
	})
	t.Run("held by a ghost group used from outside", func(t *testing.T) {
		m, root := container(t)
		init := m.fork(root, NewPID)
		leader := m.fork(init)
		m.ok(m.Setpgid(init, m.nr(leader), 0))
		user := m.fork(root)
		m.ok(m.Setpgid(root, m.nr(user), m.tasks[leader].pid.numbers[1]))
		m.ok(m.Kill(Outsider, init, sigKill))
		m.gone(leader)
		m.state(init, forest.ExitingInit)
		m.ok(m.Setpgid(root, m.nr(user), 0))
		m.state(init, forest.Zombie)
	})
	t.Run("dead, with its init a ghost", func(t *testing.T) {
		m, root := container(t)
		init := m.fork(root, NewPID)
		m.ok(m.Setpgid(root, m.tasks[init].pid.numbers[1], 0))
		user := m.fork(root)
		m.ok(m.Setpgid(root, m.nr(user), m.tasks[init].pid.numbers[1]))
		m.end(init)
		m.status(root, init, 0)
		m.nsState(init, forest.Dead)
		if !m.exists(init) {
			t.Error("the ghost of the init is gone")
		}
	})
}

func TestRule07ChildNamespace(t *testing.T) {
	m, root := container(t)
	a := m.fork(root)
	nested := m.fork(root, NewPID)
	deep := m.fork(nested, NewPID)
	sibling := m.fork(root, NewPID)
	m.ok(m.Setns(a, deep)) // any depth at once
	m.cannotClone(EINVAL, a, CloneArgs{Flags: Thread})
	m.cannotClone(EINVAL, a, CloneArgs{Flags: NewPID})
	m.want(EINVAL, m.Unshare(a, NewPID))
	child := m.fork(a)
	m.fork(a, Parent)
	if m.tasks[child].pid.ns != m.tasks[deep].pid.ns || m.tasks[child].childNS != m.tasks[deep].pid.ns {
		t.Error("the child was not born in the joined namespace")
	}
	m.ok(m.Setns(a, a)) // back
	thread := m.fork(a, Thread)
	m.ok(m.Setns(thread, nested)) // per thread
	if m.tasks[a].childNS != m.tasks[a].pid.ns {
		t.Error("setns of a thread changed its leader")
	}
	m.fork(a, Thread)
	m.want(EINVAL, m.Setns(nested, root))
	m.want(EINVAL, m.Setns(nested, sibling))
}

func TestRule08Places(t *testing.T) {
	m, root := container(t)
	nested := m.fork(root, NewPID)
	inner := m.fork(nested)
	m.ok(m.Setpgid(nested, m.nr(inner), 0))
	user := m.fork(root)
	m.ok(m.Setpgid(root, m.nr(user), m.tasks[inner].pid.numbers[1]))
	if g := m.tasks[user].proc.pgrp.ns; g != m.tasks[nested].pid.ns {
		t.Error("the group is not deeper than its user")
	}
	sibling := m.fork(root, NewPID)
	m.ok(m.Setpgid(root, m.tasks[sibling].pid.numbers[1], m.tasks[inner].pid.numbers[1]))
}

func TestRule09Capabilities(t *testing.T) {
	m, root := container(t)
	init := m.fork(root, NewPID, NewUser)
	joiner := m.fork(root)
	m.ok(m.SetnsUser(joiner, init))
	child := m.fork(init)
	for _, c := range []struct {
		name    string
		actor   TaskID
		flags   CloneFlags
		numbers []int32
		want    Errno
	}{
		{"inner and outer number", init, 0, []int32{11, 60}, EPERM},
		{"inner number", init, 0, []int32{10}, 0},
		{"inner number by a child", child, 0, []int32{12}, 0},
		{"a thread, outer too", init, Thread, []int32{13, 61}, EPERM},
		{"who joined it, outside", joiner, 0, []int32{62}, EPERM},
		{"the outer task", root, 0, []int32{62, 62}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := machine{m.Kernel, t}
			_, errno := m.Clone(c.actor, CloneArgs{Flags: c.flags, SetTID: c.numbers})
			m.want(c.want, errno)
		})
	}
	entrant := m.enter(m.fork(root), init)
	m.named(entrant, 40, 64) // born of outer credentials: every number
	m.ok(m.SetnsUser(entrant, init))

	threaded := m.fork(root)
	m.fork(threaded, Thread)
	m.want(EINVAL, m.SetnsUser(threaded, init))
	m.want(EINVAL, m.Unshare(threaded, NewUser))
	m.want(EINVAL, m.SetnsUser(joiner, init)) // is there already
	m.cannotClone(EPERM, init, CloneArgs{Flags: NewUser})
	same := []forest.Extent{{Count: 65536}}
	m.ok(m.WriteMaps(Outsider, init, UserMaps{UID: same, GID: same}))
	m.want(EPERM, m.WriteMaps(Outsider, init, UserMaps{}))
	m.fork(init, NewUser)
	m.ok(m.SetIDs(child, IDs{UID: 1000, EUID: 1000, GID: 100, EGID: 100}))
	m.cannotClone(EPERM, child, CloneArgs{SetTID: []int32{90}})
}

func TestRule10Setsid(t *testing.T) {
	m, root := container(t)
	m.ok(m.Setsid(root))
	m.want(EPERM, m.Setsid(root)) // leads a session

	a := m.fork(root)
	thread := m.fork(a, Thread)
	m.ok(m.Setsid(thread)) // by any thread, for its process
	if s := m.tasks[a].proc; s.session != m.tasks[a].pid || s.pgrp != s.session {
		t.Error("the process does not lead its session and group")
	}

	b := m.fork(root)
	m.ok(m.Setpgid(b, 0, 0))
	m.want(EPERM, m.Setsid(b)) // is in its own group itself
	member := m.fork(b)
	m.ok(m.Setpgid(b, 0, m.nr(root)))
	m.want(EPERM, m.Setsid(b)) // the child still is
	m.end(member)
	m.want(EPERM, m.Setsid(b)) // as a zombie too
	m.status(b, member, 0)
	m.ok(m.Setsid(b))
}

func TestRule11Setpgid(t *testing.T) {
	m, root := container(t)
	m.ok(m.Setsid(root))
	a, b := m.fork(root), m.fork(root)
	grandchild := m.fork(a)
	thread := m.fork(root, Thread)
	other := m.fork(root)
	m.ok(m.Setsid(other))
	ran := m.fork(root)
	m.ok(m.Exec(ran))
	zombie := m.fork(root)
	m.end(zombie)
	foreign := m.fork(other)
	for _, c := range []struct {
		name  string
		actor TaskID
		nr    int32
		group int32
		want  Errno
	}{
		{"own number", a, 0, 0, 0},
		{"a child by a thread of the parent", thread, m.nr(b), m.nr(a), 0},
		{"a zombie child", root, m.nr(zombie), m.nr(a), 0},
		{"a grandchild", root, m.nr(grandchild), m.nr(a), ESRCH},
		{"the parent", a, m.nr(root), m.nr(a), ESRCH},
		{"a thread", root, m.nr(thread), 0, EINVAL},
		{"nobody", root, 999, 0, ESRCH},
		{"a child that has exec'd", root, m.nr(ran), m.nr(a), EACCES},
		{"itself after exec", ran, 0, m.nr(a), 0},
		{"a session leader", root, 0, m.nr(a), EPERM},
		{"a child in another session", root, m.nr(other), m.nr(a), EPERM},
		{"a group without members", root, m.nr(b), m.nr(b) + 100, EPERM},
		{"a number that leads no group", root, m.nr(b), m.nr(grandchild), EPERM},
		{"a group of another session", foreign, 0, m.nr(a), EPERM},
		{"negative", a, 0, -1, EINVAL},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := machine{m.Kernel, t}
			m.want(c.want, m.Setpgid(c.actor, c.nr, c.group))
		})
	}

	adopted := m.fork(m.fork(root))
	m.end(m.parent(adopted))
	m.ok(m.Setpgid(root, m.nr(adopted), 0))

	ghost := m.fork(root)
	m.ok(m.Setpgid(ghost, 0, 0))
	m.fork(ghost)
	m.end(ghost)
	m.status(root, ghost, 0)
	m.ok(m.Setpgid(b, 0, m.tasks[ghost].bornPid.numbers[1])) // a ghost group

	m.ok(m.Setpgid(a, 0, 0))
	m.ok(m.Setpgid(b, 0, 0))
	keeper := m.fork(a)
	m.ok(m.Setpgid(a, 0, m.nr(b)))
	m.ok(m.Setpgid(b, 0, m.nr(a)))
	if m.tasks[a].proc.pgrp != m.tasks[b].pid || m.tasks[b].proc.pgrp != m.tasks[a].pid {
		t.Error("the groups do not form a cycle")
	}
	m.end(keeper)

	nested := m.fork(root, NewPID)
	m.ok(m.Setpgid(root, m.tasks[nested].pid.numbers[1], m.nr(a))) // which it cannot see
}

func TestRule12DeadLeaders(t *testing.T) {
	m, root := container(t)
	p := m.fork(root)
	thread := m.fork(p, Thread)
	number := m.tasks[thread].pid.numbers[1]
	m.ok(m.ExitThread(p, 3))
	m.state(p, forest.DeadLeader)
	_, errno := m.Wait(root, p)
	m.want(EAGAIN, errno)
	child := m.fork(thread)
	m.ok(m.Exec(thread))
	m.gone(p)
	if m.tasks[thread].pid != m.tasks[p].bornPid || m.tasks[root].pid.ns.numbers[number] != nil {
		t.Error("the thread did not take the leader's number and free its own")
	}
	m.wantChildren(thread, child)
	m.wantChildren(root, thread)
	m.end(thread)
	m.state(thread, forest.Zombie)
}

func TestRule13Adoption(t *testing.T) {
	t.Run("by threads in order", func(t *testing.T) {
		m, root := container(t)
		p := m.fork(root)
		t2, t3 := m.fork(p, Thread), m.fork(p, Thread)
		c2, c3 := m.fork(t2), m.fork(t3)
		m.ok(m.ExitThread(t3, 0))
		m.adopted(p, c3)
		m.ok(m.ExitThread(p, 0))
		m.adopted(t2, c2, c3)
		m.wantChildren(t2, c2, c3)
		m.ok(m.ExitThread(t2, 0))
		m.adopted(root, c2, c3)
	})
	t.Run("by a subreaper with a live thread", func(t *testing.T) {
		m, root := container(t)
		s := m.fork(root)
		st := m.fork(s, Thread)
		mid := m.fork(st)
		p := m.fork(mid)
		c := m.fork(p)
		m.ok(m.SetSubreaper(s, true))
		m.end(p)
		m.adopted(s, c)
		d := m.fork(c)
		m.ok(m.ExitThread(s, 0))
		m.adopted(st, mid, c)
		m.end(c)
		m.adopted(st, d)
		m.ok(m.SetSubreaper(st, false)) // before or after, it counts at the death
		e := m.fork(d)
		m.end(d)
		m.adopted(root, e)
	})
	t.Run("not across a namespace", func(t *testing.T) {
		m, root := container(t)
		s := m.fork(root)
		m.ok(m.SetSubreaper(s, true))
		init := m.fork(s, NewPID)
		p := m.fork(init)
		c := m.fork(p)
		m.end(p)
		m.adopted(init, c)
	})
	t.Run("sideways", func(t *testing.T) {
		m, root := container(t)
		outer := m.fork(root)
		m.ok(m.SetSubreaper(root, true))
		init := m.fork(root, NewPID)
		entrant := m.enter(outer, init)
		c := m.fork(entrant)
		m.end(entrant)
		m.adopted(init, c)
	})
	t.Run("an entrant, outside", func(t *testing.T) {
		m, root := container(t)
		outer := m.fork(root)
		init := m.fork(root, NewPID)
		entrant := m.enter(outer, init)
		m.end(outer)
		m.adopted(root, entrant)
	})
	t.Run("by the init's first live thread", func(t *testing.T) {
		m, root := container(t)
		t2 := m.fork(root, Thread)
		m.fork(root, Thread)
		p := m.fork(root)
		c := m.fork(p)
		m.ok(m.ExitThread(root, 0))
		m.adopted(t2, p)
		m.end(p)
		m.adopted(t2, c)
	})
}

func TestRule14CloneParent(t *testing.T) {
	m, root := container(t)
	m.cannotClone(EINVAL, root, CloneArgs{Flags: Parent})
	thread := m.fork(root, Thread)
	a := m.clone(thread, CloneArgs{ExitSignal: 10})
	m.cannotClone(EINVAL, a, CloneArgs{Flags: Parent, ExitSignal: forest.SIGCHLD})
	b := m.fork(a, Parent)
	m.adopted(thread, a, b) // the creator's real parent thread
	if got := m.tasks[b].proc.exitSignal; got != 10 {
		t.Errorf("exit signal %d, want the creator's 10", got)
	}
	init := m.fork(root, NewPID)
	entrant := m.enter(a, init)
	sibling := m.fork(entrant, Parent)
	m.adopted(a, sibling)
	if m.tasks[sibling].pid.ns != m.tasks[init].pid.ns {
		t.Error("the entrant's sibling is not in its namespace")
	}
}

func TestRule15ExitSignal(t *testing.T) {
	m, root := container(t)
	m.cannotClone(EINVAL, root, CloneArgs{ExitSignal: 65})
	m.cannotClone(EINVAL, root, CloneArgs{ExitSignal: -1})
	parent := m.fork(root)
	c := m.clone(parent, CloneArgs{ExitSignal: 0})
	ran := m.clone(parent, CloneArgs{ExitSignal: 10})
	m.ok(m.Ignore(parent, sigChld, true))
	m.end(c)
	m.state(c, forest.Zombie) // exit signal 0 is not reaped by itself
	m.ok(m.Exec(ran))
	m.end(ran)
	m.gone(ran) // exec made it SIGCHLD, which is ignored
	m.ok(m.Ignore(root, sigChld, true))
	m.end(parent)
	m.gone(parent, c) // tested again at adoption

	m, root = container(t)
	parent = m.fork(root)
	killer := m.clone(parent, CloneArgs{ExitSignal: 15})
	stopper := m.clone(root, CloneArgs{ExitSignal: sigStop})
	m.end(stopper)
	m.state(root, forest.Running) // an init ignores it
	m.end(killer)
	m.state(parent, forest.Zombie)
	m.status(root, parent, 15)
	m.adopted(root, killer)
	if got := m.tasks[killer].proc.exitSignal; got != forest.SIGCHLD {
		t.Errorf("exit signal %d after adoption, want SIGCHLD", got)
	}
	parent = m.fork(root)
	deaf := m.clone(parent, CloneArgs{ExitSignal: 15})
	m.ok(m.Exec(parent))
	m.end(deaf) // the parent runs another program: SIGCHLD is sent instead
	m.state(parent, forest.Running)
	m.ok(m.SetNoChildWait(parent, true))
	auto := m.fork(parent)
	m.end(auto)
	m.gone(auto)
}

func TestRule16Subreaper(t *testing.T) {
	m, root := container(t)
	s := m.fork(root)
	p := m.fork(s) // forked before the flag
	a, b := m.fork(p), m.fork(p)
	m.ok(m.SetSubreaper(s, true))
	m.end(p)
	m.ok(m.SetSubreaper(s, false))
	m.adopted(s, a, b)
	if child := m.fork(s); m.tasks[child].proc.subreaper {
		t.Error("the flag was inherited")
	}
}

func TestRule17SiblingOrder(t *testing.T) {
	m, root := container(t)
	s := m.fork(root)
	m.ok(m.SetSubreaper(s, true))
	p, q := m.fork(s), m.fork(s)
	a, b := m.fork(p), m.fork(p)
	zombie := m.fork(s)
	m.end(zombie)
	sibling := m.fork(q, Parent)
	m.end(p)
	m.wantChildren(s, p, q, zombie, sibling, a, b)
	m.status(s, zombie, 0)
	m.status(s, p, 0)
	m.wantChildren(s, q, sibling, a, b)
}

func TestRule18Pdeath(t *testing.T) {
	m, root := container(t)
	p := m.fork(root)
	thread := m.fork(p, Thread)
	c := m.fork(thread)
	m.ok(m.SetPdeath(c, 15))
	if grandchild := m.fork(c); m.tasks[grandchild].pdeath != 0 {
		t.Error("inherited by a fork")
	}
	m.ok(m.ExitThread(thread, 0))
	m.state(c, forest.Zombie) // the forking thread ended

	c = m.fork(p)
	m.ok(m.SetPdeath(c, 15))
	m.ok(m.Exec(c))
	m.ok(m.SetIDs(c, IDs{UID: 0, EUID: 1000}))
	m.end(p)
	m.state(c, forest.Running) // a change of identity cleared it

	p = m.fork(root)
	mid := m.fork(p)
	c = m.fork(mid)
	m.ok(m.SetSubreaper(p, true))
	m.ok(m.SetPdeath(c, 23)) // URG: does nothing
	m.end(mid)
	if m.tasks[c].pdeath != 23 {
		t.Error("the adoption cleared it")
	}
	outer := m.fork(root)
	init := m.fork(outer, NewPID)
	m.ok(m.SetPdeath(init, 9))
	m.end(outer)
	m.state(init, forest.Zombie) // KILL from the ancestor namespace
}

func TestRule19WaitStatus(t *testing.T) {
	m, root := container(t)
	for _, c := range []struct {
		name string
		end  func(leader, thread TaskID)
		want int32
	}{
		{"exit_group", func(l, _ TaskID) { m.ok(m.ExitGroup(l, 300)) }, 44 << 8},
		{"killed", func(l, _ TaskID) { m.ok(m.Kill(root, l, 10)) }, 10},
		{"the last thread's", func(l, th TaskID) { m.ok(m.ExitThread(l, 3)); m.ok(m.ExitThread(th, 4)) }, 4 << 8},
		{"the leader last", func(l, th TaskID) { m.ok(m.ExitThread(th, 4)); m.ok(m.ExitThread(l, 3)) }, 3 << 8},
		{"a group's exit after the leader's", func(l, th TaskID) { m.ok(m.ExitThread(l, 3)); m.ok(m.ExitGroup(th, 5)) }, 5 << 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := machine{m.Kernel, t}
			l := m.fork(root)
			c.end(l, m.fork(l, Thread))
			m.status(root, l, c.want)
		})
	}
}

func TestRule20Inits(t *testing.T) {
	m, root := container(t)
	init := m.fork(root, NewPID)
	inner := m.fork(init)
	for sig := int32(1); sig <= 64; sig++ {
		m.ok(m.Kill(inner, init, sig))
		m.state(init, forest.Running)
		if sig != sigKill && sig != sigStop {
			m.ok(m.Kill(root, init, sig))
			m.state(init, forest.Running)
		}
	}
	m.ok(m.Kill(root, init, sigStop))
	m.state(init, forest.Stopped)
	m.ok(m.Kill(root, init, sigCont))
	m.state(init, forest.Running)
	m.ok(m.Kill(root, init, sigKill))
	m.gone(inner)
	m.status(root, init, sigKill)

	for _, c := range []struct{ sig, want int32 }{{11, 11}, {1, 1}, {2, 2}, {31, 31}} {
		init := m.fork(root, NewPID)
		m.ok(m.Die(init, c.sig))
		m.status(root, init, c.want)
	}
	init = m.fork(root, NewPID)
	m.want(EPERM, m.Die(init, 15))
	m.want(EPERM, m.Die(init, 9))
	m.want(EINVAL, m.Die(init, sigChld))
}

func TestRule22Stops(t *testing.T) {
	job := func(t *testing.T) (machine, TaskID, TaskID, TaskID) {
		m, root := container(t)
		shell := m.fork(root)
		m.ok(m.Setsid(shell))
		leader := m.fork(shell)
		m.ok(m.Setpgid(leader, 0, 0))
		member := m.fork(leader)
		return m, shell, leader, member
	}
	t.Run("reported once", func(t *testing.T) {
		m, shell, leader, _ := job(t)
		m.ok(m.Kill(shell, leader, sigTstp))
		m.state(leader, forest.Stopped)
		m.want(ENOTRUN, m.Setsid(leader))
		sig, errno := m.WaitStopped(shell, leader)
		m.ok(errno)
		if sig != sigTstp {
			t.Errorf("stopped by %d", sig)
		}
		_, errno = m.WaitStopped(shell, leader)
		m.want(EAGAIN, errno)
	})
	t.Run("an exit that orphans kills", func(t *testing.T) {
		m, shell, leader, member := job(t)
		root := m.parent(shell)
		m.ok(m.Kill(shell, member, sigStop))
		m.end(shell)
		m.status(root, member, sigHup)
		m.status(root, leader, sigHup)
	})
	t.Run("an adoption that orphans kills", func(t *testing.T) {
		m, root := container(t)
		m.ok(m.Setsid(root))
		sub := m.fork(root)
		mid := m.fork(sub)
		c := m.fork(mid)
		m.ok(m.SetSubreaper(sub, true))
		m.ok(m.Setpgid(mid, m.nr(c), 0))
		m.ok(m.Kill(root, c, sigStop))
		m.ok(m.Setsid(sub)) // another session: cannot hold the group
		m.end(mid)
		m.state(c, forest.Zombie)
		m.status(sub, c, sigHup)
	})
	t.Run("no terminal stop in an orphaned group", func(t *testing.T) {
		m, root := container(t)
		for sig, want := range map[int32]forest.State{
			sigTstp: forest.Running, sigTtin: forest.Running, sigTtou: forest.Running, sigStop: forest.Stopped,
		} {
			c := m.fork(root)
			m.ok(m.Setsid(c))
			m.ok(m.Kill(root, c, sig))
			m.state(c, want)
		}
	})
	t.Run("what is pending comes with the continue", func(t *testing.T) {
		m, shell, leader, _ := job(t)
		m.ok(m.Kill(shell, leader, sigStop))
		m.ok(m.Kill(shell, leader, 15))
		m.state(leader, forest.Stopped)
		m.ok(m.Kill(shell, leader, sigCont))
		m.status(shell, leader, 15)
	})
}

func TestRule23Pins(t *testing.T) {
	m, root := container(t)
	n1, n2 := m.fork(root, NewPID), m.fork(root, NewPID)
	g1, g2 := m.fork(n1), m.fork(n2)
	deep := m.fork(g1, NewPID)
	outer := m.fork(root)
	for _, c := range []struct {
		name           string
		target, leader TaskID
		want           bool
	}{
		{"a group of its own namespace", n1, g1, true},
		{"its own group", n1, n1, false},
		{"a group from below", n1, deep, true},
		{"a group from above", deep, g1, false},
		{"a group from beside", n1, g2, false},
		{"an ordinary member", outer, g1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := m.PinsForEver(c.target, c.leader); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
	// Two inits, each in a group led from the other's namespace: neither
	// exit could finish before the other.
	m.ok(m.Setpgid(n2, m.nr(g2), 0))
	m.ok(m.Setpgid(root, m.tasks[n1].pid.numbers[1], m.tasks[g2].pid.numbers[1]))
	if !m.PinsForEver(n2, g1) {
		t.Error("the mutual hold was not seen")
	}
	if !m.PinsForEver(n2, deep) {
		t.Error("the mutual hold through a nested namespace was not seen")
	}
}

func TestRule23aPending(t *testing.T) {
	m, root := container(t)
	p := m.fork(root)
	m.ok(m.SetBlocked(p, true))
	c := m.clone(p, CloneArgs{ExitSignal: 15})
	m.end(c)
	m.state(p, forest.Running)
	m.ok(m.SetBlocked(p, false))
	m.status(root, p, 15)

	// SIGKILL to a process whose leader is dead reaches its threads.
	p = m.fork(root)
	thread := m.fork(p, Thread)
	m.ok(m.ExitThread(p, 0))
	m.ok(m.Kill(root, p, sigKill))
	m.gone(thread)
	m.status(root, p, sigKill)

	a := m.fork(root)
	t2 := m.fork(a, Thread)
	m.fork(a)
	m.fork(t2)
	if m.Racy() != "" {
		t.Errorf("a race so far: %s", m.Racy())
	}
	m.end(a)
	if m.Racy() == "" {
		t.Error("two threads that end together and hand on children are no race?")
	}
}

// Who goes on with SIGHUP and SIGSEGV pending dies by the second.
func TestFaultFirst(t *testing.T) {
	m, root := container(t)
	p := m.fork(root)
	m.ok(m.Kill(root, p, sigStop))
	m.ok(m.Kill(root, p, sigHup))
	m.ok(m.Kill(root, p, 11))
	m.ok(m.Kill(root, p, sigCont))
	m.status(root, p, 11)
}

// An exec ends the other threads, then resets SA_NOCLDWAIT; who is killed by the
// end of a thread may come before or after.
func TestExecRace(t *testing.T) {
	for _, noWait := range []bool{false, true} {
		m, root := container(t)
		p := m.fork(root)
		thread := m.fork(p, Thread)
		m.ok(m.SetNoChildWait(p, noWait))
		m.ok(m.SetPdeath(m.fork(p), 15))
		m.ok(m.Exec(thread))
		if racy := m.Racy() != ""; racy != noWait {
			t.Errorf("without waiting %v: a race %q", noWait, m.Racy())
		}
	}
}

// The worked cases of the theory: forests that simpler theories call
// impossible.
func TestTheory(t *testing.T) {
	t.Run("members of two sessions under each other's nested inits", func(t *testing.T) {
		m, root := container(t)
		l1, l2 := m.fork(root), m.fork(root)
		m.ok(m.Setsid(l1))
		m.ok(m.Setsid(l2))
		i2 := m.fork(l2, NewPID)
		i3 := m.fork(l1, NewPID)
		cross := func(member, init TaskID) TaskID {
			e := m.enter(m.fork(member), init)
			c := m.fork(e)
			m.end(e)
			m.adopted(init, c)
			return c
		}
		t1, t2 := cross(l1, i2), cross(l2, i3)
		if m.tasks[t1].proc.session != m.tasks[l1].pid || m.tasks[t2].proc.session != m.tasks[l2].pid {
			t.Error("the sessions changed")
		}
	})
	t.Run("an exec in mid-plan", func(t *testing.T) {
		m, root := container(t)
		p := m.fork(root)
		l := m.clone(p, CloneArgs{ExitSignal: 10})
		m.ok(m.Setsid(l))
		c := m.fork(l, Parent)
		m.ok(m.Exec(l))
		m.adopted(p, l, c)
		if m.tasks[l].proc.exitSignal != forest.SIGCHLD || m.tasks[c].proc.exitSignal != 10 {
			t.Errorf("exit signals %d, %d, want 17, 10", m.tasks[l].proc.exitSignal, m.tasks[c].proc.exitSignal)
		}
	})
}
