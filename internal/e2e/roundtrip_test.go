// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"path/filepath"
	"strconv"
	"testing"

	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/internal/testforest"
	"github.com/pidgraft/pidgraft/internal/witness"
)

// TestRoundTrip dumps a forest of every kind, kills it, restores it in both
// ways of sharing memory, and holds what /proc says against each other.
func TestRoundTrip(t *testing.T) {
	require.Root(t)
	for _, s := range testforest.Samples() {
		t.Run(s.Name, func(t *testing.T) {
			forest := testforest.Start(t, s.Script)
			image := filepath.Join(t.TempDir(), "forest.img")
			before := testimony(t, forest.Root())
			must(t, "dump", "-o", image, strconv.Itoa(forest.Root()))
			expectSame(t, "the dump changed its target", before, testimony(t, forest.Root()))
			if err := forest.Kill(); err != nil {
				t.Fatal(err)
			}
			for _, memory := range []string{"shared", "own"} {
				after := testimony(t, restored(t, image, "--memory="+memory))
				expectSame(t, "with "+memory+" memory, what was restored is not the same", before, after, unkept...)
			}
		})
	}
}

// unkept is what a restore does not bring back for tasks that live: who they
// run as is set when a program is run (docs/design, "the same").
var unkept = []witness.Field{witness.LiveIDs}

func expectSame(t testing.TB, what string, a, b *witness.Forest, ignore ...witness.Field) {
	t.Helper()
	for i, line := range witness.Compare(a, b, ignore...) {
		if i == 0 {
			t.Error(what)
		}
		t.Error("   ", line)
	}
}
