// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"math/rand/v2"
	"testing"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore/model"
	"github.com/pidgraft/pidgraft/restore/plan"
)

// Whatever a forest is told of its births, it can be planned if it can be without.
func TestToldIsNoWorse(t *testing.T) {
	opts := plan.Options{PidMax: 4 << 20, OwnPidMax: true}
	planned, refused := 0, 0
	n := uint64(1500)
	if testing.Short() {
		n = 150
	}
	for k := range n {
		r := rand.New(rand.NewPCG(7, k))
		h, machine := model.GenerateRand(r, model.Config{Kinds: model.All, Subtree: k%2 == 0})
		f, err := machine.Forest(h.Root, h.Mode)
		if err != nil {
			continue
		}
		_, without := Plan(f, opts)
		told := tales(r, f)
		if err := forest.Validate(told); err != nil {
			t.Fatalf("history %d: %v", k, err)
		}
		_, with := Plan(told, opts)
		switch {
		case without == nil && with != nil:
			t.Errorf("history %d: told, it is refused: %v", k, with)
		case with == nil:
			planned++
		default:
			refused++
		}
	}
	t.Logf("%d planned, %d refused", planned, refused)
	if planned < int(n)/3 {
		t.Errorf("only %d were planned", planned)
	}
}

// tales tells a forest something that may be true or not, and is not impossible.
func tales(r *rand.Rand, f *forest.Forest) *forest.Forest {
	g := *f
	x := forest.NewIndex(f)
	object := func() forest.Tag { return forest.Tag(1 + r.IntN(len(f.Pids))) }
	for _, ghost := range x.Ghosts() {
		o := forest.Unknown()
		o.By, o.Session = f.Tasks[r.IntN(len(f.Tasks))].TGID, object()
		g.Departed = append(g.Departed, forest.Departed{Origin: o, Object: ghost})
	}
	for i := range f.Tasks {
		o, task := forest.Unknown(), &f.Tasks[i]
		if task.IsLeader() && i > 0 {
			// Of one before it: nobody is their own ancestor.
			if o.By = f.Tasks[r.IntN(i)].TGID; o.By == task.TGID {
				o.By = forest.Null
			}
			if o.Session = task.SID; task.SID == task.TGID {
				if o.Session = object(); o.Session == task.TGID {
					o.Session = forest.Null
				}
			}
		}
		g.Origins = append(g.Origins, o)
	}
	// Departed of those who come after their descendants would be cycles.
	for i := range g.Departed {
		if g.Departed[i].By != f.Tasks[0].TGID && r.IntN(3) == 0 {
			g.Departed[i].By = f.Tasks[0].TGID
		}
	}
	return &g
}
