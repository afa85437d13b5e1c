// SPDX-License-Identifier: Apache-2.0

package follow

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pidgraft/pidgraft/audit/event"
	"github.com/pidgraft/pidgraft/audit/state"
	"github.com/pidgraft/pidgraft/collector"
)

// record is a Handler that keeps what it is told.
type record struct {
	births    int
	lost      uint64
	snapshots []Snapshot
	recovered []Recovered
}

func (r *record) Event(e event.Event, _ Before, t *state.Task) {
	if e.Kind == event.Birth {
		r.births++
	}
}
func (r *record) Loss(l Loss)           { r.lost += l.Count }
func (r *record) Snapshot(s Snapshot)   { r.snapshots = append(r.snapshots, s) }
func (r *record) Recovered(v Recovered) { r.recovered = append(r.recovered, v) }
func (r *record) Tick() error           { return nil }

// run lets a kernel and a follower go on beside each other for some steps, with
// passes that other things happen in the middle of.
func run(t *rapid.T, k *kernel, f *Follower, steps int) {
	step := func() {
		if err := f.Step(time.Time{}); err != nil {
			t.Fatal(err)
		}
		if f.state != nil {
			if err := f.state.Check(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range steps {
		k.act()
		if k.rand.IntN(8) == 0 {
			step()
		}
		if h, err := f.Begin(); err != nil {
			t.Fatal(err)
		} else if h != nil {
			s := k.pass(func() {
				for range k.rand.IntN(6) {
					k.act()
				}
				if k.rand.IntN(8) == 0 {
					step()
				}
			})
			h.done <- result{s, nil, k.Now()}
		}
	}
}

// settle lets everything that is under way end.
func settle(t *rapid.T, k *kernel, f *Follower) {
	k.dropOneIn, k.capacity = 0, 1<<20
	k.rest()
	for range 200 {
		k.clock += uint64(100 * time.Millisecond)
		run(t, k, f, 0)
		if err := f.Step(time.Time{}); err != nil {
			t.Fatal(err)
		}
		if h, err := f.Begin(); err != nil {
			t.Fatal(err)
		} else if h != nil {
			h.done <- result{k.pass(func() {}), nil, k.Now()}
		}
	}
}

// same holds the state against the kernel itself.
func same(t *rapid.T, k *kernel, f *Follower) {
	truth, err := state.FromSnapshot(k.pass(func() {}))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range state.Compare(f.State(), truth) {
		t.Errorf("task %s %v: %v", d.Task.Object, d.Verb, d.What)
	}
	if got, want := f.State().Counts(), truth.Counts(); got != want {
		t.Errorf("the state has %+v, the kernel %+v", got, want)
	}
	if !f.Complete() {
		t.Error("the state is not complete")
	}
}

// Without losses the state is the kernel's, whatever the order of things, and
// no snapshot brings anything to light.
func TestFollow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := newKernel(rapid.Uint64().Draw(t, "seed"))
		h := &record{}
		f := New(k, h, Options{Heal: true})
		for range 4 {
			run(t, k, f, 400)
			f.Want("reconcile")
		}
		settle(t, k, f)
		same(t, k, f)
		if h.lost != 0 || len(h.recovered) != 0 {
			t.Errorf("%d events were lost, and recovered %v", h.lost, h.recovered)
		}
		if err := f.Drain(); err != nil {
			t.Error(err)
		}
	})
}

// Whatever is lost, all of it is said, and one snapshot after the last loss the
// state is the kernel's again.
func TestHeal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := newKernel(rapid.Uint64().Draw(t, "seed"))
		h := &record{}
		f := New(k, h, Options{Heal: true})
		run(t, k, f, 200)
		k.dropOneIn = rapid.SampledFrom([]int{2, 10, 100}).Draw(t, "drop one in")
		run(t, k, f, 800)
		// And a reader that stands still.
		k.dropOneIn, k.capacity = 0, rapid.IntRange(1, 100).Draw(t, "room")
		for range 600 {
			k.act()
		}
		settle(t, k, f)
		same(t, k, f)
		if lost := k.totals.Lost(); h.lost != lost {
			t.Errorf("%d events were lost, %d are said to be", lost, h.lost)
		}
		for _, r := range h.recovered {
			if r.Lost == 0 {
				t.Errorf("recovered without a loss: %v", r)
			}
		}
		if err := f.Drain(); err != nil {
			t.Error(err)
		}
	})
}

// Whoever is born while the first pass is made is told, though the pass shows him,
// and also if the first has to be made again.
func TestFirstPassTells(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := newKernel(rapid.Uint64().Draw(t, "seed"))
		r := &record{}
		f := New(k, r, Options{})
		for n := range 2 {
			h, err := f.Begin()
			if err != nil || h == nil {
				t.Fatalf("%v, %v", h, err)
			}
			s := k.pass(func() {
				for range k.rand.IntN(12) {
					k.act()
				}
				if err := f.Step(time.Time{}); err != nil {
					t.Fatal(err)
				}
			})
			if n == 0 {
				h.done <- result{nil, collector.ErrChanged, k.Now()}
			} else {
				h.done <- result{s, nil, k.Now()}
			}
			for f.heal != nil {
				if err := f.Step(time.Time{}); err != nil {
					t.Fatal(err)
				}
			}
		}
		// A new parent has no event: what a rereading missed, the next pass
		// shows.
		f.Want("reconcile")
		settle(t, k, f)
		same(t, k, f)
		if r.births != k.births || len(r.recovered) > 0 {
			t.Errorf("%d births, %d were told; recovered %v", k.births, r.births, r.recovered)
		}
	})
}
