// SPDX-License-Identifier: Apache-2.0

package alone_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pidgraft/pidgraft/internal/alone"
	"github.com/pidgraft/pidgraft/internal/require"
)

// drawn counts numbers, by what was drawn.
type drawn map[string]int

func (d drawn) String() string { return fmt.Sprintf("%d numbers", len(d)) }

// TestBatches makes every case once, each batch in a namespace of its own.
func TestBatches(t *testing.T) {
	require.Root(t)
	if alone.Inside() {
		alone.Enter(t)
		got := drawn{}
		defer func() { alone.Report(t, got) }()
		rapid.Check(t, func(t *rapid.T) { got[fmt.Sprint(rapid.Uint64().Draw(t, "number"))]++ })
		return
	}
	b := alone.Batches{Test: "TestBatches", N: 17, Size: 5, Workers: 2, Seed: 3}
	total, reports := drawn{}, 0
	add := func(got drawn) {
		reports++
		for number, n := range got {
			total[number] += n
		}
	}
	fresh := func() drawn { return drawn{} }
	if !alone.RunBatches(t, b, fresh, add, total) || reports != 4 {
		t.Errorf("%d batches", reports)
	}
	n := 0
	for _, times := range total {
		n += times
	}
	if n != b.N || len(total) < b.N-3 { // small numbers are drawn often
		t.Errorf("%d cases with %d different numbers, want %d", n, len(total), b.N)
	}

	b.N, b.For = 1_000_000, time.Nanosecond
	if alone.RunBatches(t, b, fresh, add, total) {
		t.Error("a million cases in no time")
	}
}
