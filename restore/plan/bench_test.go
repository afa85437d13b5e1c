// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"fmt"
	"testing"

	"github.com/pidgraft/pidgraft/forest/foresttest"
	"github.com/pidgraft/pidgraft/restore/plan"
)

func BenchmarkMake(b *testing.B) {
	for _, n := range []int{1000, 20000, 1000000} {
		b.Run(fmt.Sprintf("wide/%d", n), func(b *testing.B) {
			f := foresttest.Wide(n)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := plan.Make(f, plan.Options{PidMax: 4 << 20, OwnPidMax: true}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/task")
		})
	}
}
