// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"fmt"
	"testing"

	"github.com/pidgraft/pidgraft/forest/foresttest"
	"github.com/pidgraft/pidgraft/restore/plan"
)

func BenchmarkPlan(b *testing.B) {
	for _, n := range []int{1000, 20000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			f := foresttest.Wide(n)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Plan(f, plan.Options{PidMax: 4 << 20, OwnPidMax: true}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
