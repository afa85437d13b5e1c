// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/internal/testforest"
	"github.com/pidgraft/pidgraft/internal/witness"
)

// TestRoundTrip dumps a forest of every kind, kills it, restores it in both
// ways of sharing memory (with -short in one, the other in the next forest), and
// holds what /proc says against each other.
func TestRoundTrip(t *testing.T) {
	require.Root(t)
	for n, s := range testforest.Samples() {
		t.Run(s.Name, func(t *testing.T) {
			forest := testforest.Start(t, s.Script)
			image := filepath.Join(t.TempDir(), "forest.img")
			before := testimony(t, forest.Root())
			must(t, "dump", "-o", image, strconv.Itoa(forest.Root()))
			expectSame(t, "the dump changed its target", before, testimony(t, forest.Root()))
			if err := forest.Kill(); err != nil {
				t.Fatal(err)
			}
			for _, flags := range ways(n) {
				after := testimony(t, restored(t, image, flags...))
				expectSame(t, "with "+strings.Join(flags, " ")+" what was restored is not the same", before, after, unkept...)
			}
		})
	}
}

// ways are those of sharing memory, of the n-th forest. With -short it is one of
// the two, and the command looks itself at what came out in every eighth forest.
func ways(n int) [][]string {
	shared, own := []string{"--memory=shared"}, []string{"--memory=own"}
	if !testing.Short() {
		return [][]string{shared, own}
	}
	way := [][]string{shared, own}[n%2]
	if n/2%4 != 0 {
		way = append(way, "--verify=false")
	}
	return [][]string{way}
}

// unkept is what a restore does not bring back for tasks that live: who they
// run as is set when a program is run (docs/design, "the same"). Of zombies
// it brings back what wait reports.
var unkept = []witness.Field{witness.LiveIDs, witness.OwnCode}

func expectSame(t testing.TB, what string, a, b *witness.Forest, ignore ...witness.Field) {
	t.Helper()
	for i, line := range witness.Compare(a, b, ignore...) {
		if i == 0 {
			t.Error(what)
		}
		t.Error("   ", line)
	}
}
