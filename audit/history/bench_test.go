// SPDX-License-Identifier: Apache-2.0

package history

import (
	"runtime"
	"testing"
)

// BenchmarkProcess reports how many bytes a process takes, in memory and in a File,
// if half of them have a parent that is gone.
func BenchmarkProcess(b *testing.B) {
	const n = 30000
	for b.Loop() {
		m := newMachine()
		root := m.live[0]
		for len(m.live) < n {
			if len(m.live)%4 == 0 {
				p := m.fork(root, true)
				m.fork(p, true)
				m.fork(p, true)
				m.exit(len(m.live) - 3)
			} else {
				m.fork(root, true)
			}
		}
		nodes := m.t
		m.s, m.all, m.live, m.free = nil, nil, nil, nil
		size := func() float64 {
			runtime.GC()
			var s runtime.MemStats
			runtime.ReadMemStats(&s)
			return float64(s.HeapAlloc)
		}
		with := size()
		f := nodes.Export(Header{})
		bytes := len(f.Encode())
		entries := len(f.Entries)
		f = nil
		runtime.KeepAlive(nodes)
		nodes, m.t = nil, nil
		b.ReportMetric((with-size())/n, "B/process")
		b.ReportMetric(float64(bytes)/n, "B/process-on-disk")
		b.ReportMetric(float64(entries)/n, "entries/process")
	}
}
