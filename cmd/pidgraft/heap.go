// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// deferGC puts off the first garbage collection until the heap is large: most
// commands end long before, and a dump is in a hurry. From then on collections
// are as usual.
func deferGC() {
	const large = 256 << 20
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	percent, limit := debug.SetGCPercent(-1), debug.SetMemoryLimit(large)
	afterGC(func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	})
}

// collecting is set for a collection that is not to end the delay.
var collecting atomic.Bool

// afterGC has do called after the next collection that the runtime begins.
func afterGC(do func()) {
	runtime.AddCleanup(new(*int), func(struct{}) {
		if collecting.CompareAndSwap(true, false) {
			afterGC(do)
			return
		}
		do()
	}, struct{}{})
}

// beginHugeHeap lets what a large forest takes lie in huge pages. Of a dump of 20,000
// tasks a tenth was page faults, 4 KiB at a time. The runtime does not ask for
// them itself, but it gives freed memory out again as it is: so a block is taken,
// advised and freed, beside other work. Before anything is large, what is returned
// waits for that.
func beginHugeHeap() (wait func()) {
	const size = 48 << 20
	done := make(chan struct{})
	go func() {
		defer close(done)
		if unix.Madvise(make([]byte, size), unix.MADV_HUGEPAGE) == nil {
			collecting.Store(true)
			runtime.GC()
		}
	}()
	return func() { <-done }
}
