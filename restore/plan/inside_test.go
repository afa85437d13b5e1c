// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"testing"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore/model"
)

const inside = model.NewPID | model.NewUser

// same maps every id of a user namespace to itself.
var same = model.UserMaps{
	UID: []forest.Extent{{Count: 65536}}, GID: []forest.Extent{{Count: 65536}}, Setgroups: true,
}

func (m machine) unshare(by model.TaskID, flags model.CloneFlags) {
	m.Helper()
	m.ok(m.k.Unshare(by, flags))
}

func (m machine) setns(by, target model.TaskID)     { m.Helper(); m.ok(m.k.Setns(by, target)) }
func (m machine) setnsUser(by, target model.TaskID) { m.Helper(); m.ok(m.k.SetnsUser(by, target)) }
func (m machine) maps(target model.TaskID) {
	m.Helper()
	m.ok(m.k.WriteMaps(model.Outsider, target, same))
}

func (m machine) ids(by model.TaskID, uid uint32) {
	m.Helper()
	m.ok(m.k.SetIDs(by, model.IDs{UID: uid, EUID: uid, GID: uid, EGID: uid}))
}

// otherIDs sets real and effective ids as well: 1000 and 2000, 100 and 200.
func (m machine) otherIDs(by model.TaskID, other forest.OtherIDs) {
	m.Helper()
	m.ok(m.k.SetIDs(by, model.IDs{UID: 1000, EUID: 2000, GID: 100, EGID: 200, Other: &other}))
}

// enter has the outsider bear a process in the namespace of target.
func (m machine) enter(target model.TaskID) model.TaskID {
	m.Helper()
	m.setns(model.Outsider, target)
	child := m.fork(model.Outsider, 0)
	m.setsid(child) // the root's session may be another
	return child
}

func (m machine) spoil(by model.TaskID, tries int) {
	m.Helper()
	m.unshare(by, model.NewPID)
	for range tries {
		if _, errno := m.k.Clone(by, model.CloneArgs{ExitSignal: forest.SIGCHLD, FailLate: true}); errno == 0 {
			m.Fatal("a birth in a spoilt namespace")
		}
	}
}

// insideCases are about user namespaces, and what else is inside or outside a
// namespace: entrants, inits that end, namespaces without a life.
var insideCases = []struct {
	name string
	make func(m machine, root model.TaskID)
}{
	{"an init went on to a user namespace below its namespace's owner", func(m machine, root model.TaskID) {
		init := m.fork(root, inside)
		m.maps(init)
		m.fork(init, 0)
		m.unshare(init, model.NewUser)
	}},
	{"two inits in one user namespace, neither made by its owner", func(m machine, root model.TaskID) {
		a := m.fork(root, 0)
		m.unshare(a, model.NewUser)
		m.fork(a, model.NewPID)
		m.fork(a, model.NewPID)
	}},
	{"a parent of an owned namespace left for another user namespace", func(m machine, root model.TaskID) {
		a := m.fork(root, 0)
		m.unshare(a, model.NewUser)
		m.maps(a)
		m.fork(a, model.NewPID)
		m.unshare(a, model.NewUser)
	}},
	{"threads in a user namespace that another made", func(m machine, root model.TaskID) {
		a, b := m.fork(root, 0), m.fork(root, 0)
		m.unshare(b, model.NewUser)
		m.setnsUser(a, b)
		m.fork(a, model.Thread)
	}},
	{"children from before their threaded parent went inside", func(m machine, root model.TaskID) {
		a := m.fork(root, 0)
		m.fork(m.fork(a, 0), 0)
		m.unshare(a, model.NewUser)
		m.fork(a, model.Thread)
		m.fork(a, 0)
	}},
	{"a user namespace nobody is in any more", func(m machine, root model.TaskID) {
		a := m.fork(root, 0)
		m.unshare(a, model.NewUser)
		m.maps(a)
		m.unshare(a, model.NewUser)
	}},
	{"an init in a user namespace adopted a child from outside", func(m machine, root model.TaskID) {
		init := m.fork(root, inside)
		m.setns(root, init)
		e := m.fork(root, 0)
		m.fork(e, 0)
		m.exit(e)
		m.reap(root, e)
	}},
	{"a child of an init inside has another exit signal", func(m machine, root model.TaskID) {
		init := m.fork(root, inside)
		m.forkSignal(init, 0, 10)
		m.fork(init, 0)
	}},
	{"an empty namespace owned by a user namespace that was left", func(m machine, root model.TaskID) {
		a := m.fork(root, 0)
		m.unshare(a, model.NewUser)
		m.maps(a)
		m.unshare(a, model.NewPID)
		m.unshare(a, model.NewUser)
	}},
	{"ids that the user namespace does not map", func(m machine, root model.TaskID) {
		a := m.fork(root, 0)
		m.ids(a, 1000)
		m.unshare(a, model.NewUser)
		m.exit(m.fork(a, 0))
		m.exit(a)
	}},
	{"ids not mapped where a thread bears who has them", func(m machine, root model.TaskID) {
		a := m.fork(root, 0)
		m.ids(a, 1000)
		m.unshare(a, model.NewUser)
		m.exit(m.fork(m.fork(a, model.Thread), 0))
	}},
	{"other ids of zombies and of a dead leader", func(m machine, root model.TaskID) {
		for _, x := range []forest.OtherIDs{
			{SUID: 3000, FSUID: 2000, SGID: 300, FSGID: 200}, {SUID: 0, FSUID: 2000, FSGID: 200},
			{SUID: 3000, FSUID: 3000}, {SUID: 1000, FSUID: 1000, SGID: 100, FSGID: 100},
		} {
			a := m.fork(root, 0)
			m.otherIDs(a, x)
			m.exit(a)
		}
		a := m.fork(root, 0)
		m.fork(a, model.Thread)
		m.ok(m.k.SetIDsKeepCaps(a, model.IDs{Other: &forest.OtherIDs{SUID: 1, FSUID: 2, SGID: 3, FSGID: 4}}))
		m.ok(m.k.ExitThread(a, 0))
	}},
	{"ids for files that no other one is", func(m machine, root model.TaskID) {
		a := m.fork(root, 0)
		m.ok(m.k.SetIDsKeepCaps(a, model.IDs{UID: 1, EUID: 2, Other: &forest.OtherIDs{SUID: 3, FSUID: 4, SGID: 5, FSGID: 6}}))
		m.exit(a)
	}},
	{"a saved id that the user namespace does not map", func(m machine, root model.TaskID) {
		a := m.fork(root, 0)
		m.otherIDs(a, forest.OtherIDs{SUID: 1000000, FSUID: 2000, FSGID: 200})
		m.unshare(a, model.NewUser)
		m.exit(m.fork(a, 0))
		m.exit(a)
	}},
	{"the saved ids of the owner of a user namespace, and of who was born in it", func(m machine, root model.TaskID) {
		a := m.fork(root, 0)
		m.otherIDs(a, forest.OtherIDs{SUID: 3000, FSUID: 2000, SGID: 300, FSGID: 200})
		n := m.fork(a, inside)
		m.maps(n)
		m.exit(n)
		m.exit(a)
	}},
	{"a dead namespace two levels down", func(m machine, root model.TaskID) {
		a := m.fork(root, model.NewPID)
		b := m.fork(a, model.NewPID)
		m.setns(root, b)
		m.kill(b, 9)
		m.reap(a, b)
	}},
	{"a namespace that was spoilt", func(m machine, root model.TaskID) {
		m.spoil(root, 1)
		m.spoil(m.fork(model.Outsider, 0), 1) // not in the forest
	}},
	{"a namespace that was spoilt and tried again, inside", func(m machine, root model.TaskID) {
		a := m.fork(root, 0)
		m.unshare(a, model.NewUser)
		m.spoil(a, 4)
	}},
	{"an entrant has ended", func(m machine, root model.TaskID) { m.exit(m.enter(root)) }},
	{"an entrant is stopped and has a parent-death signal", func(m machine, root model.TaskID) {
		e := m.enter(root)
		m.ok(m.k.SetPdeath(e, 15))
		m.kill(e, 19)
	}},
	{"entrants in a session that one of them leads", func(m machine, root model.TaskID) {
		m.fork(m.enter(root), model.Parent)
	}},
	{"an init adopted the child of an entrant", func(m machine, root model.TaskID) {
		e := m.enter(root)
		m.fork(e, 0)
		m.exit(e)
	}},
	{"an init waits for an entrant that has ended", func(m machine, root model.TaskID) {
		init := m.fork(root, model.NewPID)
		m.setns(root, init)
		m.exit(m.fork(root, 0))
		m.exit(init)
	}},
	{"an init was killed and waits for a group", func(m machine, root model.TaskID) {
		init := m.fork(root, model.NewPID)
		a := m.fork(root, 0)
		b := m.fork(init, 0)
		m.join(b, 0, 0)
		m.join(root, a, b)
		m.kill(init, 9)
	}},
	{"an init inside led a group of those that went in elsewhere", func(m machine, root model.TaskID) {
		init := m.fork(root, inside)
		m.exit(init)
		m.join(root, init, 0)
		m.unshare(root, model.NewUser)
		m.join(root, m.fork(m.fork(root, model.Thread), 0), init)
		m.reap(root, init)
	}},
	{"an init inside adopted a child in a session that it is not in", func(m machine, root model.TaskID) {
		a := m.fork(root, 0)
		m.setsid(a)
		init := m.fork(a, inside)
		m.fork(init, 0)
		m.setsid(init)
		m.exit(a)
	}},
	{"an init inside adopted children of two sessions, one led from outside", func(m machine, root model.TaskID) {
		init := m.fork(root, inside)
		m.maps(init)
		a := m.fork(init, 0)
		m.setsid(a)
		m.fork(a, 0)
		m.exit(a)
		m.reap(init, a)
		e := m.enter(init)
		m.fork(e, 0)
		m.exit(e)
	}},
	{"an init inside with threads was killed, and one around it waits", func(m machine, root model.TaskID) {
		outer := m.fork(root, model.NewPID)
		inner := m.fork(outer, model.NewPID)
		e := m.enter(inner)
		m.fork(inner, model.Thread)
		m.ok(m.k.ExitThread(inner, 3))
		m.exit(outer)
		_ = e
	}},
	{"an init inside, in a session of its own forest, adopted the child of an entrant", func(m machine, root model.TaskID) {
		a := m.fork(root, 0)
		m.setsid(a)
		m.setns(model.Outsider, m.fork(m.fork(a, 0), inside))
		e := m.fork(model.Outsider, 0)
		m.fork(e, 0)
		m.exit(e)
	}},
	{"inits ended by reboot(2) and by a fault", func(m machine, root model.TaskID) {
		m.ok(m.k.Die(m.fork(root, model.NewPID), 1))
		m.ok(m.k.Die(m.fork(root, model.NewPID), 11))
	}},
	{"a sibling is in a namespace whose init arrived later", func(m machine, root model.TaskID) {
		a := m.fork(root, 0)
		m.unshare(a, model.NewPID)
		m.fork(a, 0)
		m.fork(a, model.Parent)
		m.exit(a)
	}},
}

// TestInside plans each of insideCases and runs the plan.
func TestInside(t *testing.T) {
	for _, c := range insideCases {
		t.Run(c.name, func(t *testing.T) {
			m := machine{t, model.New()}
			root := m.fork(model.Outsider, model.NewPID)
			c.make(m, root)
			f, err := m.k.Forest(root, forest.Container)
			if err != nil {
				t.Fatal(err)
			}
			proveCase(t, f)
		})
	}
}
