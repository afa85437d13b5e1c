// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"fmt"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore/model"
	"github.com/pidgraft/pidgraft/restore/plan"
)

// Plan plans how f is rebuilt, and does not believe the plan: it is carried
// out in the kernel model first, and what comes of it is compared with f. The
// error is of type plan.Refusals, also when the plan turns out to be wrong.
// Both the dump, which must not write what cannot come back, and the restore
// plan with it.
//
// A history that the forest was told is gone by if that leads there. It may be
// wrong, and makes nothing impossible.
func Plan(f *forest.Forest, opts plan.Options) (*plan.Plan, error) {
	if len(f.Origins) > 0 {
		if p, err := proven(f, opts); err == nil {
			return p, nil
		}
		untold := *f
		untold.Origins, untold.Departed = nil, nil
		f = &untold
	}
	return proven(f, opts)
}

func proven(f *forest.Forest, opts plan.Options) (*plan.Plan, error) {
	p, err := plan.Make(f, opts)
	if err != nil {
		return nil, err
	}
	got, err := model.Execute(p, f, nil)
	if err != nil {
		return nil, faulty("would fail: %v", err)
	}
	if d := forest.Diff(f, got, forest.DiffOptions{}); len(d) > 0 {
		return nil, faulty("would end in another forest: %v", d[0])
	}
	return p, nil
}

// faulty refuses because of a fault of the planner or the model.
func faulty(format string, args ...any) plan.Refusals {
	return plan.Refusals{{
		Task: -1, Kind: plan.Unsupported,
		Reason: "the plan for it " + fmt.Sprintf(format, args...) + "; please report this with the image",
	}}
}
