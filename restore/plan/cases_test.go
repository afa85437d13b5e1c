// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"math/rand/v2"
	"testing"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore/model"
)

// machine makes the history of one case; a call that fails ends the test.
type machine struct {
	*testing.T
	k *model.Kernel
}

func (m machine) fork(by model.TaskID, flags model.CloneFlags) model.TaskID {
	return m.forkSignal(by, flags, forest.SIGCHLD)
}

func (m machine) forkSignal(by model.TaskID, flags model.CloneFlags, signal int32) model.TaskID {
	m.Helper()
	if flags&(model.Parent|model.Thread) != 0 {
		signal = 0
	}
	child, errno := m.k.Clone(by, model.CloneArgs{Flags: flags, ExitSignal: signal})
	m.ok(errno)
	return child
}

// join has by put target (0: itself) into the group that leader founded (0:
// its own).
func (m machine) join(by, target, leader model.TaskID) {
	m.Helper()
	s := model.Step{Kind: model.MoveChild, Actor: by, Target: target, Group: leader}
	m.ok(m.k.Apply(&s))
}

func (m machine) setsid(by model.TaskID) { m.Helper(); m.ok(m.k.Setsid(by)) }
func (m machine) exit(by model.TaskID)   { m.Helper(); m.ok(m.k.ExitGroup(by, 3)) }
func (m machine) kill(target model.TaskID, sig int32) {
	m.Helper()
	m.ok(m.k.Kill(model.Outsider, target, sig))
}
func (m machine) reap(by, target model.TaskID) { m.Helper(); _, e := m.k.Wait(by, target); m.ok(e) }
func (m machine) ok(errno model.Errno) {
	m.Helper()
	if errno != 0 {
		m.Fatalf("the history is not legal: %v: %s", errno, m.k.Why())
	}
}

// cases are the smallest forests that once were refused, by the history that
// makes each. The root is made before; its parent is the outsider.
var cases = []struct {
	name string
	mode forest.Mode
	make func(m machine, root model.TaskID)
}{
	{"a nested leader's child is in a group that only the leader's parent sees", forest.Container, func(m machine, root model.TaskID) {
		m.join(root, 0, 0)
		init := m.fork(root, model.NewPID)
		m.fork(init, 0)
		m.setsid(init)
	}},
	{"a grandchild is in a group that its parent, who left it, cannot see", forest.Container, func(m machine, root model.TaskID) {
		m.join(root, 0, 0)
		init := m.fork(root, model.NewPID)
		child := m.fork(init, 0)
		m.fork(child, 0)
		m.join(child, 0, 0)
	}},
	{"a founder is back in the group that is inherited", forest.Subtree, func(m machine, root model.TaskID) {
		a := m.fork(root, 0)
		m.join(a, 0, 0)
		m.fork(a, 0)
		m.join(a, 0, model.Outsider)
	}},
	{"a session's leader with an exit signal of its own is younger than one of its members", forest.Container, func(m machine, root model.TaskID) {
		thread := m.fork(root, model.Thread)
		leader := m.forkSignal(thread, 0, 23)
		m.setsid(leader)
		a := m.fork(leader, 0)
		m.fork(a, 0)
		m.exit(a)
		_, errno := m.k.Wait(leader, a)
		m.ok(errno)
		m.ok(m.k.ExitThread(thread, 0))
	}},
	{"the dead leader of a group was in a namespace where nobody of its session is left", forest.Container, func(m machine, root model.TaskID) {
		init, a := m.fork(root, model.NewPID), m.fork(root, 0)
		b := m.fork(init, 0)
		m.join(b, 0, 0)
		m.join(a, 0, b)
		m.exit(b)
		m.reap(init, b)
		m.setsid(init)
	}},
	{"a group is led by a younger child's child, and cannot be seen from an elder child's namespace", forest.Container, func(m machine, root model.TaskID) {
		a := m.fork(root, 0)
		m.setsid(a)
		b := m.fork(a, 0)
		c := m.fork(b, 0)
		m.join(c, 0, 0)
		init := m.fork(c, model.NewPID)
		m.exit(c)
		m.exit(a)
		_ = init
	}},
	{"a founder bears children in the group it founded and in the one it left", forest.Container, func(m machine, root model.TaskID) {
		a := m.fork(root, 0)
		early := m.fork(root, model.NewPID)
		m.join(a, 0, 0)
		m.fork(early, 0)
		m.join(root, 0, 0)
		later := m.fork(root, model.NewPID)
		m.fork(later, 0)
	}},
	{"a child's exit signal has stopped its parent", forest.Container, func(m machine, root model.TaskID) {
		a := m.fork(root, 0)
		m.exit(m.forkSignal(a, 0, 19))
	}},
	{"two children's exit signals were SIGSTOP, and their parent goes on", forest.Container, func(m machine, root model.TaskID) {
		a := m.fork(root, 0)
		b, c := m.forkSignal(a, 0, 19), m.forkSignal(a, 0, 19)
		m.exit(b)
		m.kill(a, 18)
		m.exit(c)
		m.kill(a, 18)
	}},
	{"the end of a child that stops its parent would orphan a group with a stopped member", forest.Container, func(m machine, root model.TaskID) {
		m.join(root, 0, 0)
		a, b := m.fork(root, 0), m.fork(root, 0)
		m.join(b, 0, 0)
		z := m.forkSignal(b, 0, 19)
		m.join(z, 0, root)
		m.exit(z)
		y := m.forkSignal(a, 0, 19)
		m.setsid(y)
		m.exit(y)
	}},
	{"the end of an init waits for a zombie whose exit signal was SIGSTOP", forest.Container, func(m machine, root model.TaskID) {
		a, init := m.fork(root, 0), m.fork(root, model.NewPID)
		m.ok(m.k.Setns(a, init))
		z := m.forkSignal(a, 0, 19)
		m.exit(z)
		m.exit(init)
	}},
	{"SIGTSTP stopped it before its group was orphaned by a setsid", forest.Container, func(m machine, root model.TaskID) {
		a := m.fork(root, 0)
		b := m.fork(a, 0)
		m.join(b, 0, 0)
		m.kill(b, 20)
		m.setsid(a)
	}},
	{"SIGTSTP stopped an entrant of a nested namespace", forest.Container, func(m machine, root model.TaskID) {
		m.setns(model.Outsider, m.fork(root, model.NewPID))
		e := m.fork(model.Outsider, 0)
		m.join(e, 0, 0)
		m.kill(e, 20)
	}},
	{"SIGTSTP stopped a child with an exit signal, and its parent left", forest.Container, func(m machine, root model.TaskID) {
		a := m.fork(root, 0)
		m.kill(m.forkSignal(a, 0, 10), 20)
		m.setsid(a)
	}},
	{"SIGTSTP stopped who is inside, and its group has a member in a namespace whose init waits", forest.Container, func(m machine, root model.TaskID) {
		a, init := m.fork(root, 0), m.fork(root, model.NewPID)
		b := m.fork(a, 0)
		m.join(b, 0, 0)
		m.setns(b, init)
		z := m.fork(b, 0)
		m.setns(b, b)
		m.unshare(b, model.NewUser)
		m.maps(b)
		m.fork(b, model.Thread)
		m.exit(z)
		m.exit(init)
		m.kill(b, 20)
		m.setsid(a)
	}},
	{"a ghost session's members in two namespaces were born inside a user namespace", forest.Subtree, func(m machine, root model.TaskID) {
		m.unshare(root, model.NewUser)
		init := m.fork(root, model.NewPID)
		m.fork(init, 0)
		thread := m.fork(root, model.Thread)
		m.setsid(init)
		m.fork(thread, 0)
		m.setsid(root)
	}},
	{"a nested init was put into a group that a younger sibling leads, and adopted", forest.Container, func(m machine, root model.TaskID) {
		a := m.fork(root, 0)
		m.setsid(a)
		i := m.fork(a, 0)
		init := m.fork(i, model.NewPID)
		m.fork(init, 0)
		f := m.fork(i, 0)
		m.join(f, 0, 0)
		m.join(i, init, f)
		m.exit(i)
	}},
	{"a namespace is that of a child outside", forest.Subtree, func(m machine, root model.TaskID) {
		m.unshare(root, model.NewPID)
		m.fork(root, model.Parent)
	}},
	{"a namespace's init waits outside", forest.Subtree, func(m machine, root model.TaskID) {
		m.unshare(root, model.NewPID)
		init := m.fork(root, model.Parent)
		m.fork(root, 0)
		m.ok(m.k.Die(init, 1))
	}},
	{"an init waits for what is outside", forest.Subtree, func(m machine, root model.TaskID) {
		init := m.fork(root, model.NewPID)
		m.setns(root, m.fork(init, model.NewPID))
		m.fork(root, model.Parent)
		m.exit(init)
	}},
	{"a namespace between has its init outside", forest.Subtree, func(m machine, root model.TaskID) {
		init := m.fork(model.Outsider, model.NewPID)
		m.setns(root, m.fork(init, model.NewPID))
		m.fork(root, 0)
	}},
	{"an init outside leads a group", forest.Subtree, func(m machine, root model.TaskID) {
		a, b := m.fork(root, 0), m.fork(root, 0)
		init := m.fork(a, model.NewPID)
		m.join(a, init, 0)
		m.exit(a)
		m.join(b, 0, init)
	}},
	{"an init outside leads a group, and the root has left its own", forest.Subtree, func(m machine, root model.TaskID) {
		a, b := m.fork(root, 0), m.fork(root, 0)
		c := m.fork(a, 0)
		m.exit(a)
		init := m.fork(c, model.NewPID)
		m.join(c, init, 0)
		m.join(b, 0, init)
		m.join(root, 0, 0)
	}},
	{"an init outside leads a group in the root's session", forest.Subtree, func(m machine, root model.TaskID) {
		m.setsid(root)
		a, b := m.fork(root, 0), m.fork(root, 0)
		init := m.fork(a, model.NewPID)
		m.join(a, init, 0)
		m.exit(a)
		m.join(b, 0, init)
	}},
	{"a nested init adopted a child from the session of its parent, who left its own", forest.Subtree, func(m machine, root model.TaskID) {
		init := m.fork(root, model.NewPID)
		m.setsid(root)
		m.setns(root, init)
		a := m.fork(root, 0)
		m.fork(a, 0)
		m.exit(a)
	}},
	{"a session is led from below a younger sibling, in the session of their parent", forest.Container, func(m machine, root model.TaskID) {
		m.setsid(root)
		thread := m.fork(root, model.Thread)
		a := m.fork(thread, 0)
		b := m.fork(a, 0)
		m.setsid(b)
		m.fork(b, 0)
		m.exit(b)
		m.ok(m.k.ExitThread(thread, 0))
	}},
	{"a session is led from below a thread's child, in the session of their process", forest.Container, func(m machine, root model.TaskID) {
		m.setsid(root)
		a := m.fork(m.fork(root, model.Thread), 0)
		b := m.fork(a, 0)
		m.setsid(b)
		m.fork(b, model.NewPID)
		m.exit(b)
	}},
	{"a group is led by a younger sibling in a namespace whose init is younger still", forest.Container, func(m machine, root model.TaskID) {
		a := m.fork(root, 0)
		init := m.fork(root, model.NewPID)
		b := m.fork(a, model.NewPID)
		m.setns(a, init)
		c := m.fork(a, 0)
		m.join(c, 0, 0)
		m.join(a, b, c)
		m.exit(a)
		_ = b
	}},
	{"who is in the inherited group has a child in it that does not see it, after the root has left", forest.Subtree, func(m machine, root model.TaskID) {
		a := m.fork(root, 0)
		m.join(root, 0, 0)
		b := m.fork(root, 0)
		c := m.fork(a, model.Parent)
		m.fork(b, model.NewPID|model.NewUser)
		m.fork(m.fork(c, model.NewPID), 0)
	}},
	{"a child's init founded a group, and was put back before the root left the session", forest.Subtree, func(m machine, root model.TaskID) {
		init := m.fork(root, model.NewPID)
		m.join(init, 0, 0)
		m.fork(init, model.NewPID)
		m.join(root, init, model.Outsider)
		m.setsid(root)
	}},
	{"the root is stopped", forest.Container, func(m machine, root model.TaskID) {
		m.fork(root, 0)
		m.kill(root, 19)
	}},
	{"the root has ended", forest.Subtree, func(m machine, root model.TaskID) { m.exit(root) }},
}

func TestCases(t *testing.T) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := machine{t, model.New()}
			flags := model.NewPID
			if c.mode == forest.Subtree {
				flags = 0
			}
			root := m.fork(model.Outsider, flags)
			c.make(m, root)
			f, err := m.k.Forest(root, c.mode)
			if err != nil {
				t.Fatal(err)
			}
			proveCase(t, f)
		})
	}
}

// proveCase plans f and runs the plan; it must not be refused.
func proveCase(t *testing.T, f *forest.Forest) {
	t.Helper()
	refused, err := prove(f, &model.History{}, rand.New(rand.NewPCG(1, 2)).IntN)
	if err != nil {
		t.Fatal(err)
	}
	if refused != nil {
		t.Fatal(refused)
	}
}
