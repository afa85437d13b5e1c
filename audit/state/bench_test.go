// SPDX-License-Identifier: Apache-2.0

package state

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/pidgraft/pidgraft/audit/event"
	"github.com/pidgraft/pidgraft/collector"
)

// BenchmarkState is what an object costs: a process that is its own group, with
// a number at each of two levels.
func BenchmarkState(b *testing.B) {
	for _, n := range []int{20_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				s := New(0)
				for i := 1; i <= n; i++ {
					s.Put(event.Task{
						ID: collector.ID(i), StartTime: 1, Pid: collector.ID(i + n),
						Numbers: []event.Number{{Nr: int32(i), Inode: 1, Namespace: 1 << 40}, {Nr: int32(i), Inode: 2, Namespace: 1 << 41}},
						Process: collector.ID(i + n), Group: collector.ID(i + n), Session: collector.ID(1 + n), Parent: 1, Comm: "sleeper",
					})
				}
				runtime.GC()
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(n), "B/object")
				runtime.KeepAlive(s)
			}
		})
	}
}
