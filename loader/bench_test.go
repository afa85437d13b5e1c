// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"testing"

	"github.com/pidgraft/pidgraft/internal/testforest"
)

// BenchmarkOpen is everything before the first pass, and its undoing.
func BenchmarkOpen(b *testing.B) {
	for name, unwatched := range map[string]bool{"watched": false, "unwatched": true} {
		b.Run(name, func(b *testing.B) {
			privileged(b)
			f := testforest.Start(b, "outside fork init newpid")
			for b.Loop() {
				l, err := Open(Target{PID: f.Root(), Unwatched: unwatched})
				if err != nil {
					b.Fatal(err)
				}
				if err := l.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSnapshot is one pass over 20,000 tasks.
func BenchmarkSnapshot(b *testing.B) {
	privileged(b)
	f := testforest.Start(b, "outside fork init newpid\ninit sleepers 20000")
	for name, scope := range map[string]Scope{"container": Container, "subtree": Subtree, "machine": Machine} {
		b.Run(name, func(b *testing.B) {
			l := start(b, Target{PID: f.Root(), Scope: scope, Unwatched: true})
			for b.Loop() {
				if n := len(snapshot(b, l).Tasks); n < 20001 {
					b.Fatalf("%d tasks", n)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/20001, "ns/task")
		})
	}
}
