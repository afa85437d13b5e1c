// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"math/rand/v2"
	"testing"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore/model"
	"github.com/pidgraft/pidgraft/restore/plan"
)

// Whose child the leader of a ghost session was cannot be seen when all that is
// left of it has come to the root. Who is told has it born there again.
func TestToldWhereAGhostWasBorn(t *testing.T) {
	m := machine{t, model.New()}
	root := m.fork(model.Outsider, model.NewPID)
	a := m.fork(root, 0)
	m.fork(a, 0) // so that a has something to do besides
	b := m.fork(root, 0)
	between := m.fork(b, 0)
	leader := m.fork(between, 0)
	m.setsid(leader)
	m.fork(leader, 0)
	m.exit(between)
	m.reap(b, between)
	m.exit(leader)
	m.reap(root, leader)
	f, err := m.k.Forest(root, forest.Container)
	if err != nil {
		t.Fatal(err)
	}
	ghosts := forest.NewIndex(f).Ghosts()
	if len(ghosts) != 1 || len(f.Tasks) != 5 {
		t.Fatalf("%d tasks, ghosts %v", len(f.Tasks), ghosts)
	}
	told := func(by int) *forest.Forest {
		g := *f
		g.Origins = make([]forest.Origin, len(f.Tasks))
		for i := range g.Origins {
			g.Origins[i] = forest.Unknown()
		}
		d := forest.Departed{Origin: forest.Unknown(), Object: ghosts[0]}
		d.By, d.Between = f.Tasks[by].Pid, 1
		g.Departed = []forest.Departed{d}
		if err := forest.Validate(&g); err != nil {
			t.Fatal(err)
		}
		return &g
	}
	for name, test := range map[string]struct {
		f    *forest.Forest
		want int // the task that bears it
	}{
		"not told": {f, 0}, "by a": {told(1), 1}, "by a child of a": {told(2), 2}, "by b": {told(3), 3}, "by the root": {told(0), 0},
	} {
		refused, err := prove(test.f, &model.History{}, rand.New(rand.NewPCG(1, 2)).IntN)
		if refused != nil || err != nil {
			t.Errorf("%s: %v, %v", name, refused, err)
			continue
		}
		p, err := plan.Make(test.f, plan.Options{OwnPidMax: true, PidMax: 4 << 20})
		if err != nil {
			t.Fatal(err)
		}
		for _, actor := range p.Actors {
			for _, op := range actor.Ops {
				if op.Code == plan.Clone && p.Actors[op.Child].Role == plan.RoleGhost && actor.Task != test.want {
					t.Errorf("%s: the leader of the ghost is born of task %d, want %d", name, actor.Task, test.want)
				}
			}
		}
	}
}
