// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/forest/foresttest"
)

// forgetShared drops what a subtree does not own: how far the numbers of a
// namespace got that others use too.
func forgetShared(f *forest.Forest) {
	for i := range f.Namespaces {
		if shared(f, i) {
			f.Namespaces[i].Cursor, f.Namespaces[i].PidMax = 0, 0
		}
	}
}

// TestCollectLifted: any forest, on any level of any machine, comes back from
// what a pass over it shows.
func TestCollectLifted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := foresttest.Random(t)
		forgetShared(f)
		room := forest.MaxDepth
		for i := range f.Pids {
			room = min(room, forest.MaxDepth-f.Pids[i].Depth())
		}
		if room == 0 {
			t.Skip("fits no level but the machine's own, where nothing is outside")
		}
		level := rapid.IntRange(1, min(room, 4)).Draw(t, "level")
		seed := rapid.Uint64().Draw(t, "seed")
		opts := Options{Method: f.Cut.Method, Producer: f.Producer}
		g, err := Collect(liftForest(f, level, seed), f.Mode, opts)
		if err != nil {
			t.Fatal(err)
		}
		if err := forest.Validate(g); err != nil {
			t.Fatal(err)
		}
		for _, d := range forest.Diff(f, g, forest.DiffOptions{LiveIDs: true}) {
			t.Error(d)
		}
		// What order tags and namespaces have is Collect's to say; it does
		// not depend on where, when and in which order things were seen.
		h, err := Collect(liftForest(g, 1+level%min(room, 4), seed+1), g.Mode, opts)
		if err != nil {
			t.Fatal(err)
		}
		if d := Difference(g, h); d != "" {
			t.Error(d)
		}
	})
}
