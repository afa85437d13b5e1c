// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore/model"
	"github.com/pidgraft/pidgraft/restore/plan"
)

// TestProveInPlace plans the same ends of histories for a namespace that others
// live in: what can come back in a new one can there, with no number that the
// others have, and in the model it does.
func TestProveInPlace(t *testing.T) {
	config := model.Config{Kinds: model.All, Subtree: true}
	planned, inits, cursors, worse := 0, 0, 0, map[string]int{}
	for k := range *proveN {
		r := rand.New(rand.NewPCG(*proveSeed, uint64(k)))
		h, machine := model.GenerateRand(r, config)
		f, err := machine.Forest(h.Root, h.Mode)
		if err != nil {
			continue
		}
		free := make(map[int32]bool) // the forest's own
		for i := range f.Pids {
			free[f.Pids[i].Numbers[0]] = true
		}
		others := r.Int32N(40)
		taken := func(n int32) bool { return !free[n] && n < 2+others }
		opts := plan.Options{OwnPidMax: true, PidMax: 4 << 20}
		inNew, usual := plan.Make(f, opts)
		opts.Place = &plan.Place{Taken: taken}
		p, err := plan.Make(f, opts)
		switch {
		case err != nil && f.Pids[0].Numbers[0] == 1:
			inits++
			continue
		case err != nil && usual == nil && writesCursor(inNew):
			cursors++
			continue
		case err != nil && usual == nil:
			worse[generic(err.(plan.Refusals)[0].Reason)]++
			continue
		case err != nil:
			continue
		}
		planned++
		checkNamed(t, p, taken)
		for _, order := range []model.Scheduler{nil, r.IntN} {
			got, err := model.Execute(p, f, order)
			if err != nil {
				t.Fatalf("the plan fails: %v\n%s", err, explain(f, p, h))
			}
			if d := forest.Diff(f, got, forest.DiffOptions{}); len(d) > 0 {
				t.Fatalf("the plan ends in another forest: %v\n%s", d, explain(f, p, h))
			}
		}
	}
	t.Logf("%d planned in place; of the others %d have a root that is number 1, and %d need the id cursor", planned, inits, cursors)
	if planned < *proveN/10 {
		t.Errorf("only %d of %d histories were planned in place", planned, *proveN)
	}
	for reason, n := range worse {
		t.Errorf("%d can only come back in a new namespace: %s", n, reason)
	}
}

// writesCursor reports whether a plan takes numbers from an id cursor.
func writesCursor(p *plan.Plan) bool {
	return slices.ContainsFunc(p.Actors, func(a plan.Actor) bool {
		return slices.ContainsFunc(a.Ops, func(op plan.Op) bool { return op.Code == plan.Cursor })
	})
}

// checkNamed checks that every process with a number in the shared namespace
// names it, and names none of the others'.
func checkNamed(t *testing.T, p *plan.Plan, taken func(int32) bool) {
	t.Helper()
	check := func(op *plan.Op) {
		if op.Code != plan.Clone {
			return
		}
		if len(op.Numbers) == 0 {
			t.Fatalf("actor %d (%s, %s) gets a number of the kernel's choice", op.Child, p.Actors[op.Child].Role, p.Actors[op.Child].Why)
		}
		if n := op.Numbers[len(op.Numbers)-1]; taken(n) {
			t.Fatalf("actor %d gets number %d, which is taken", op.Child, n)
		}
	}
	for i := range p.Births {
		check(&p.Births[i])
	}
	for a := range p.Actors {
		for i := range p.Actors[a].Ops {
			check(&p.Actors[a].Ops[i])
		}
	}
}

func TestInPlaceRefusesAnInit(t *testing.T) {
	k := model.New()
	init, _ := k.Clone(model.Outsider, model.CloneArgs{Flags: model.NewPID, ExitSignal: forest.SIGCHLD})
	f, err := k.Forest(init, forest.Container)
	if err != nil {
		t.Fatal(err)
	}
	_, err = plan.Make(f, plan.Options{Place: &plan.Place{Taken: func(int32) bool { return false }}})
	if rs, ok := err.(plan.Refusals); !ok || rs[0].Kind != plan.NotHere {
		t.Errorf("%v", err)
	}
}
