// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// untilLarge is kept until the garbage collector may notice that it is gone.
var untilLarge *byte

// deferGC puts off the first garbage collection until the heap is large: most
// commands end long before, and a dump is in a hurry. From then on collections
// are as usual.
func deferGC() {
	const large = 256 << 20
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	percent, limit := debug.SetGCPercent(-1), debug.SetMemoryLimit(large)
	untilLarge = new(byte)
	runtime.AddCleanup(untilLarge, func(struct{}) {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	}, struct{}{})
}

// hugeHeap lets what a large forest takes lie in huge pages. Of a dump of 20,000
// tasks a tenth was page faults, 4 KiB at a time. The runtime does not ask for
// them itself, but it gives freed memory out again as it is: so a block is taken,
// advised and freed, before anything else is large.
func hugeHeap() {
	const size = 48 << 20
	if unix.Madvise(make([]byte, size), unix.MADV_HUGEPAGE) == nil {
		runtime.GC()
	}
	untilLarge = nil
}
