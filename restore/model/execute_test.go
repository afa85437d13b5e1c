// SPDX-License-Identifier: Apache-2.0

package model

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore/plan"
)

// programs is a plan of a container: the restorer does nothing, the first
// program is the root's, the others those of actors 2, 3, …
func programs(ops ...[]plan.Op) *plan.Plan {
	p := &plan.Plan{Root: plan.Init, Births: []plan.Op{{Code: plan.Clone, Child: plan.Init, Flags: plan.NewPID | plan.Pidfd, Numbers: []int32{1}, Signal: forest.SIGCHLD}}}
	p.Actors = []plan.Actor{{Role: plan.RoleRestorer, Task: -1, Ops: []plan.Op{{Code: plan.End, Child: -1}}}}
	for _, program := range ops {
		p.Actors = append(p.Actors, plan.Actor{Role: plan.RoleTask, Task: -1, Ops: program})
	}
	return p
}

func op(code plan.Code, after ...plan.Ref) plan.Op {
	return plan.Op{Code: code, Child: -1, After: after}
}

func bear(child, number int32, after ...plan.Ref) plan.Op {
	return plan.Op{Code: plan.Clone, Child: child, Numbers: []int32{number}, Signal: forest.SIGCHLD, After: after}
}

func group(child, pid, number int32, after ...plan.Ref) plan.Op {
	return plan.Op{Code: plan.Setpgid, Child: child, Pid: pid, Number: number, After: after}
}

func reap(child, pid int32) plan.Op { return plan.Op{Code: plan.Reap, Child: child, Pid: pid} }

// A ghost group, an orphan and a session, whatever the order of execution.
func TestExecuteInAnyOrder(t *testing.T) {
	p := programs(
		[]plan.Op{op(plan.Setsid), bear(2, 10), bear(3, 11), reap(2, 10), op(plan.Hold)},
		// Its group outlives it: 11 is in it. 12 becomes the root's.
		[]plan.Op{group(-1, 0, 0), bear(4, 12), op(plan.Nop, plan.Ref{Actor: 3, Op: 0}), {Code: plan.ExitGroup, Child: -1}},
		[]plan.Op{group(-1, 0, 10, plan.Ref{Actor: 2, Op: 0}), op(plan.Hold)},
		[]plan.Op{op(plan.Setsid), op(plan.Hold)},
	)
	f := &forest.Forest{Mode: forest.Container}
	want, err := Execute(p, f, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := forest.Validate(want); err != nil {
		t.Fatal(err)
	}
	orphan := want.Tasks[len(want.Tasks)-1]
	if n := want.NumberIn(orphan.Pid, 0); n != 12 || orphan.Parent != 1 || orphan.SID != orphan.Pid {
		t.Errorf("the last task is %d, child of %v in session %v", n, orphan.Parent, orphan.SID)
	}
	if ghosts := forest.NewIndex(want).Ghosts(); len(ghosts) != 1 || want.NumberIn(ghosts[0], 0) != 10 {
		t.Errorf("ghosts %v, want number 10", ghosts)
	}
	for seed := range uint64(200) {
		got, err := Execute(p, f, rand.New(rand.NewPCG(1, seed)).IntN)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if d := forest.Diff(want, got, forest.DiffOptions{}); len(d) > 0 {
			t.Fatalf("seed %d: %v", seed, d)
		}
	}
}

// Whatever is wrong with a plan is said, with the actor and the rule.
func TestExecuteSaysWhatIsWrong(t *testing.T) {
	hold := op(plan.Hold)
	for _, c := range []struct {
		name string
		plan *plan.Plan
		want string
	}{
		{"a failed operation", programs(
			[]plan.Op{bear(2, 7), hold},
			[]plan.Op{group(-1, 0, 0), op(plan.Setsid), hold},
		), "actor 2 (task): op 1, setsid: EPERM: group 7 has a member, 7 (rule 10)"},
		{"a number that is taken", programs(
			[]plan.Op{bear(2, 7), bear(3, 7), hold}, []plan.Op{hold}, []plan.Op{hold},
		), "op 1, clone: EEXIST: number 7 is taken at level 1"},
		{"a deadlock", programs(
			[]plan.Op{bear(2, 7), op(plan.Nop, plan.Ref{Actor: 2, Op: 0}), hold},
			[]plan.Op{op(plan.Nop, plan.Ref{Actor: 1, Op: 1}), hold},
		), "deadlock: actor 1 (task): op 1, nop: it waits for op 0, nop, of actor 2 (task); actor 2"},
		{"a wait without an end", programs(
			[]plan.Op{bear(2, 7), reap(2, 7), hold}, []plan.Op{hold},
		), "op 1, reap: it waits for the end of actor 2 (task)"},
		{"an actor that nobody bears", programs([]plan.Op{hold}, []plan.Op{hold}), "it was never born"},
		{"a child by a wrong number", programs(
			[]plan.Op{bear(2, 7), reap(2, 8), hold}, []plan.Op{hold},
		), "the actor sees actor 2 (task) as 7, not 8"},
		{"an actor that is killed", programs(
			[]plan.Op{bear(2, 7), {Code: plan.Kill, Child: 2, Pid: 7, Signal: 9}, hold},
			[]plan.Op{op(plan.Nop, plan.Ref{Actor: 1, Op: 1}), hold},
		), "it ended before, with status 0x9"},
		{"a signal left pending", programs(
			[]plan.Op{bear(2, 7), hold},
			[]plan.Op{{Code: plan.Clone, Child: 3, Numbers: []int32{8}, Signal: 10}, reap(3, 8), hold},
			[]plan.Op{{Code: plan.ExitGroup, Child: -1}},
		), "actor 2 (task): it holds with signal 10 pending"},
		{"a namespace that could never end", programs(
			[]plan.Op{bear(2, 7), group(2, 7, 0), group(-1, 0, 7), hold}, []plan.Op{hold},
		), "would never be able to end (rule 23)"},
		{"no pidfd", programs(
			[]plan.Op{bear(2, 7), {Code: plan.JoinPID, Child: -1, Via: 2}, hold}, []plan.Op{hold},
		), "there is no pidfd of actor 2"},
		{"a program without an end", programs([]plan.Op{op(plan.Setsid)}), "its program has no end"},
		{"a reference to nothing", programs([]plan.Op{op(plan.Hold, plan.Ref{Actor: 1, Op: 9})}), "comes after no operation"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, order := range []Scheduler{nil, rand.New(rand.NewPCG(1, 1)).IntN} {
				_, err := Execute(c.plan, &forest.Forest{Mode: forest.Container}, order)
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want %s", err, c.want)
				}
			}
		})
	}
}

// flat is a plan of n tasks below the root, one in four of them a session.
func flat(n int) *plan.Plan {
	root := []plan.Op{}
	ops := [][]plan.Op{nil}
	for i := range n {
		root = append(root, bear(int32(i+2), int32(i+2)))
		program := []plan.Op{{Code: plan.Comm, Child: -1, Text: "task"}, op(plan.Hold)}
		if i%4 == 0 {
			program = append([]plan.Op{op(plan.Setsid)}, program...)
		}
		ops = append(ops, program)
	}
	ops[0] = append(root, op(plan.Hold))
	return programs(ops...)
}

func BenchmarkExecute20000(b *testing.B) {
	p := flat(20000)
	for b.Loop() {
		if _, err := Execute(p, &forest.Forest{Mode: forest.Container}, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHistory(b *testing.B) {
	for seed := uint64(0); b.Loop(); seed++ {
		GenerateRand(rand.New(rand.NewPCG(1, seed)), Config{Kinds: All})
	}
}
