// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

// The first collection of a command that does not end soon ends the delay; that
// which makes room for huge pages does not.
func TestDeferGC(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	percent, limit := debug.SetGCPercent(70), debug.SetMemoryLimit(math.MaxInt64)
	t.Cleanup(func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	})
	deferGC()
	beginHugeHeap()()
	time.Sleep(50 * time.Millisecond) // a cleanup runs soon after
	if debug.SetMemoryLimit(-1) == math.MaxInt64 {
		t.Error("the delay is over before there was a collection")
	}
	for deadline := time.Now().Add(10 * time.Second); debug.SetMemoryLimit(-1) != math.MaxInt64; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the delay does not end")
		}
		runtime.GC()
	}
	if got := debug.SetGCPercent(70); got != 70 {
		t.Errorf("collections are at %d %% now", got)
	}

	deferGC()
	runtime.GC()
	for deadline := time.Now().Add(10 * time.Second); debug.SetMemoryLimit(-1) != math.MaxInt64; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("of a command without huge pages the delay does not end")
		}
	}
}
