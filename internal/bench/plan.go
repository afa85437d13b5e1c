// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"runtime"

	"github.com/pidgraft/pidgraft/restore"
	"github.com/pidgraft/pidgraft/restore/plan"
)

// planRows: planning and the check of the plan in the model, in this process.
func (b *bench) planRows() []row {
	var rows []row
	for _, n := range b.sizes.plans {
		rows = append(rows, row{fmt.Sprintf("plan/%d", n), fmt.Sprintf("plan for %d tasks, a random tree with sessions and groups", n+1), n, func(r *Row) error {
			f := growRandom(n)
			opts := plan.Options{PidMax: 4 << 20, OwnPidMax: true}
			err := b.race(r,
				ours("a plan, checked in the model", func() (sample, error) {
					return inside(func() error { _, err := restore.Plan(f, opts); return err })
				}),
				base("a plan, not checked", func() (sample, error) {
					return inside(func() error { _, err := plan.Make(f, opts); return err })
				}))
			if err != nil {
				return err
			}
			made, kept, bytes, allocs, err := heap(func() (any, error) { return plan.Make(f, opts) })
			if err != nil {
				return err
			}
			runtime.KeepAlive(made)
			per := func(v float64) float64 { return v / float64(n+1) }
			r.value("kept of a plan", per(kept), "bytes a task", 0)
			r.value("allocated by planning", per(bytes), "bytes a task", 0)
			r.value("allocations", per(allocs), "a task", 0)
			if n >= 1_000_000 {
				r.value("time, not checked", r.Entries[1].Time.Median, "ms", 5000)
			}
			return nil
		}})
	}
	return rows
}

// heap is what making something leaves on the heap, and what it allocated.
func heap(do func() (any, error)) (made any, kept, bytes, allocs float64, err error) {
	var before, at, after runtime.MemStats
	settle()
	runtime.ReadMemStats(&before)
	made, err = do()
	runtime.ReadMemStats(&at)
	settle()
	runtime.ReadMemStats(&after)
	kept = float64(after.HeapAlloc) - float64(before.HeapAlloc)
	return made, kept, float64(at.TotalAlloc - before.TotalAlloc), float64(at.Mallocs - before.Mallocs), err
}

// settle collects what can be: what is in pools, and what has finalizers, goes
// only when it is collected again.
func settle() {
	for range 5 {
		runtime.GC()
	}
}
