// SPDX-License-Identifier: Apache-2.0

package model

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pidgraft/pidgraft/forest"
	"pgregory.net/rapid"
)

var configs = map[string]Config{
	"basic":    {},
	"adopting": {Kinds: Adopting},
	"entering": {Kinds: Entering},
	"stopping": {Kinds: Stopping},
	"owning":   {Kinds: Owning},
	"all":      {Kinds: All, Failing: true, MaxSteps: 80, MaxTasks: 20},
	"subtree":  {Kinds: All, Subtree: true, MaxSteps: 60},
}

// drawn is a Picker whose choices shrink.
func drawn(t *rapid.T) Picker {
	return func(n int) int {
		if n <= 1 {
			return 0
		}
		return rapid.IntRange(0, n-1).Draw(t, "choice")
	}
}

// Every history keeps the invariants after each step, replays to the same
// forest, and ends in one that forest.Validate takes.
func TestHistories(t *testing.T) {
	for name, c := range configs {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				h, k := GenerateFrom(drawn(t), c)
				checkHistory(t, h, k)
			})
		})
	}
}

// The same for many more, from a plain random source.
func TestManyHistories(t *testing.T) {
	n := 3000
	if testing.Short() {
		n = 300
	}
	for name, c := range configs {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(n) {
				h, k := GenerateRand(rand.New(rand.NewPCG(1, seed)), c)
				checkHistory(t, h, k)
			}
		})
	}
}

func checkHistory(t rapid.TB, h *History, k *Kernel) {
	t.Helper()
	again := New()
	for i := range h.Steps {
		s := h.Steps[i]
		again.Apply(&s)
		if err := again.check(); err != nil {
			t.Fatalf("after step %d, %s: %v\n%s", i, h.Steps[i].String(), err, h)
		}
	}
	f, err := k.Forest(h.Root, h.Mode)
	if err != nil {
		t.Fatalf("%v\n%s", err, h)
	}
	if err := forest.Validate(f); err != nil {
		t.Fatalf("%v\n%s", err, h)
	}
	g, err := again.Forest(h.Root, h.Mode)
	if err != nil {
		t.Fatalf("replayed: %v\n%s", err, h)
	}
	// Inodes count what was made, also by calls that failed afterwards.
	noInodes := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Inode" }, cmp.Ignore())
	if d := cmp.Diff(f, g, noInodes); d != "" {
		t.Fatalf("the replay ends elsewhere: %s\n%s", d, h)
	}
}

// Every state within reach of a few calls keeps the invariants and is a
// forest. The counts are what the rules allow; a change of a rule shows here.
func TestExhaust(t *testing.T) {
	for _, c := range []struct {
		name  string
		kinds Kinds
		steps int
		want  int
	}{
		{"basic", Basic, 4, 1729},
		{"adopting", Adopting, 4, 6285},
		{"all", All &^ Of(ForkNamed, WriteCursor, WriteMax), 3, 4411},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := 0
			Exhaust(Config{Kinds: c.kinds, MaxSteps: c.steps, MaxTasks: 4}, func(h *History, k *Kernel) bool {
				n++
				f, err := k.Forest(h.Root, h.Mode)
				if err == nil {
					err = forest.Validate(f)
				}
				if err == nil {
					err = k.check()
				}
				if err != nil {
					t.Errorf("%v\n%s", err, h)
				}
				return err == nil
			})
			if n != c.want {
				t.Errorf("%d states, want %d", n, c.want)
			}
		})
	}
}
