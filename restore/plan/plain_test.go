// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/forest/foresttest"
	"github.com/pidgraft/pidgraft/restore/plan"
)

// TestPlain holds what Plain says of forests against what comes of planning
// them. They are made task by task, not by histories, so that nothing holds but
// what Plain asks for; and each then has one thing changed, so that some are as
// little beside plain as can be.
func TestPlain(t *testing.T) {
	plain, near := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		f := plainForest(t)
		if err := forest.Validate(f); err != nil {
			t.Fatalf("%v\n%s", err, tasks(f))
		}
		if !plan.Plain(f) {
			t.Fatalf("not plain:\n%s", tasks(f))
		}
		changed := rapid.Bool().Draw(t, "changed")
		if changed {
			change(t, f)
			if forest.Validate(f) != nil || !plan.Plain(f) {
				return
			}
			near++
		} else {
			plain++
		}
		refused, err := prove(f, nil, rand.New(rand.NewPCG(1, uint64(plain))).IntN)
		if err != nil {
			t.Fatal(err)
		}
		if refused != nil {
			t.Fatalf("plain, and refused: %v", refused)
		}
	})
	if plain == 0 || near == 0 {
		t.Errorf("%d plain forests and %d changed ones were planned", plain, near)
	}
}

// plainForest has up to 40 tasks.
func plainForest(t *rapid.T) *forest.Forest {
	draw := func(lo, hi int, what string) int { return rapid.IntRange(lo, hi).Draw(t, what) }
	f := &forest.Forest{
		UserNamespaces: []forest.UserNamespace{{Parent: -1, Setgroups: true}},
		Producer:       forest.Producer{Release: "6.18.5", Machine: "x86_64", Tool: "test"},
	}
	taken := []map[int32]bool{}
	space := func(parent int) int {
		ns := forest.Namespace{Parent: parent, Cursor: uint32(draw(1, 70000, "cursor"))}
		if draw(0, 1, "pid_max") == 1 {
			ns.PidMax = uint32(draw(forest.MinPidMax, forest.MaxNumber+1, "pid_max"))
		}
		if parent >= 0 {
			ns.Level = f.Namespaces[parent].Level + 1
		}
		f.Namespaces, taken = append(f.Namespaces, ns), append(taken, map[int32]bool{1: true})
		return len(f.Namespaces) - 1
	}
	object := func(ns int, init bool) forest.Tag {
		numbers := make([]int32, f.Namespaces[ns].Level+1)
		for at := ns; at >= 0; at = f.Namespaces[at].Parent {
			n := int32(1)
			for !(init && at == ns) && taken[at][n] {
				n = int32(draw(2, 40000, "number"))
			}
			taken[at][n] = true
			numbers[f.Namespaces[at].Level] = n
		}
		f.Pids = append(f.Pids, forest.Pid{Namespace: ns, Numbers: numbers})
		return forest.Tag(len(f.Pids))
	}
	id := func() uint32 { return uint32(draw(0, 2, "id") * 1000) }
	var process func(ns int, parent forest.Task, depth int)
	process = func(ns int, parent forest.Task, depth int) {
		init := parent.Pid == 0
		if !init && f.Namespaces[ns].Level < forest.MaxDepth && draw(0, 5, "new namespace") == 0 {
			ns, init = space(ns), true
		}
		own := object(ns, init)
		p := forest.Task{
			Pid: own, TGID: own, PGID: parent.PGID, SID: parent.SID, Parent: parent.Pid, ParentThread: parent.Pid,
			ExitSignal: forest.SIGCHLD, ChildNamespace: forest.SameNamespace,
			UID: id(), EUID: id(), GID: id(), EGID: id(),
			Comm: fmt.Sprintf("t%d", own), StartTime: uint64(own) * 1e6,
		}
		switch draw(0, 3, "leads") {
		case 0:
			p.SID, p.PGID = own, own
		case 1:
			p.PGID = own
		}
		if !init && draw(0, 4, "zombie") == 0 {
			p.State, p.ExitCode = forest.Zombie, int32(draw(0, 255, "code"))<<8
			if p.GroupExit = draw(0, 1, "group exit") == 1; p.GroupExit {
				p.GroupExitCode = p.ExitCode
			}
			f.Tasks = append(f.Tasks, p)
			return
		}
		f.Tasks = append(f.Tasks, p)
		for range draw(0, 4-min(depth, 4), "children") {
			if len(f.Tasks) < 40 {
				process(ns, p, depth+1)
			}
		}
		for range draw(0, 4, "threads") / 3 {
			thread := p
			thread.Pid, thread.ExitSignal = object(ns, false), forest.ExitSignalThread
			thread.UID, thread.EUID = id(), id()
			f.Tasks = append(f.Tasks, thread)
		}
	}
	root := forest.Task{SID: forest.Inherited, PGID: forest.Inherited}
	process(space(-1), root, 0)
	f.Tasks[0].Parent, f.Tasks[0].ParentThread = forest.Outside, forest.Outside
	return f
}

// change changes one thing of a task or a namespace.
func change(t *rapid.T, f *forest.Forest) {
	draw := func(lo, hi int, what string) int { return rapid.IntRange(lo, hi).Draw(t, what) }
	task := &f.Tasks[draw(0, len(f.Tasks)-1, "task")]
	other := &f.Tasks[draw(0, len(f.Tasks)-1, "other")]
	switch draw(0, 13, "change") {
	case 0:
		task.SID = other.SID
	case 1:
		task.PGID = other.PGID
	case 2:
		task.SID, task.PGID = other.SID, other.PGID
	case 3:
		task.ParentThread = other.Pid
	case 4:
		task.ExitSignal = int32(draw(0, 64, "signal"))
	case 5:
		task.State = forest.State(draw(0, 6, "state"))
	case 6:
		task.ExitCode = int32(draw(0, 0xffff, "status"))
	case 7:
		task.GroupExit, task.GroupExitCode = draw(0, 1, "group exit") == 1, int32(draw(0, 0xffff, "status"))
	case 8:
		task.Subreaper = true
	case 9:
		task.PdeathSignal = int32(draw(0, 64, "signal"))
	case 10:
		task.ChildNamespace = draw(0, len(f.Namespaces)-1, "namespace")
	case 11:
		f.Namespaces[draw(0, len(f.Namespaces)-1, "namespace")].State = forest.NamespaceState(draw(0, 4, "state"))
	case 12:
		f.Pids[draw(0, len(f.Pids)-1, "object")].Numbers[0] = int32(draw(1, forest.MaxNumber, "number"))
	case 13:
		f.Mode = forest.Subtree
	}
}

// TestPlainIsCommon: what most containers are is plain, or Plain would be for
// nothing.
func TestPlainIsCommon(t *testing.T) {
	if f := foresttest.Wide(1000); !plan.Plain(f) {
		t.Error("sessions with their jobs, threads, zombies and namespaces are not plain")
	}
}
