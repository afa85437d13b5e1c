// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"context"
	"errors"

	"github.com/pidgraft/pidgraft/forest"
)

// pass is one look at a target.
type pass struct {
	before Changes // the counters when it began
	forest *forest.Forest
	what   string // without a forest: what contradicts what
}

// Cut takes a consistent forest from src. An iteration over tasks is not
// atomic; two passes in a row that show the same forest, with no event counted
// since the first began, are: whatever held during the whole second pass held
// at one moment, and so did all of it. A frozen target needs one pass that
// does not contradict itself.
//
// After opts.Retries more passes it gives up with an ErrChanged that says what
// kept changing.
func Cut(ctx context.Context, src Source, mode forest.Mode, opts Options) (*forest.Forest, error) {
	least := 2
	if opts.Method == forest.Frozen {
		least = 1
	}
	var last *pass
	what := ""
	passes := least + max(opts.Retries, 0)
	for range passes {
		this, err := onePass(ctx, src, mode, opts)
		if err != nil {
			return nil, err
		}
		if this.forest != nil && opts.Method == forest.Frozen {
			return this.forest, nil
		}
		why := this.what
		if this.forest != nil && last != nil && last.forest != nil {
			now, err := src.Changes()
			if err != nil {
				return nil, err
			}
			if why = now.since(last.before); why == "" {
				why = Difference(last.forest, this.forest)
			}
			if why == "" {
				return this.forest, nil
			}
		}
		if why != "" {
			what = why
		}
		last = this
	}
	return nil, &ChangedError{What: what, Passes: passes}
}

// onePass looks once. Only what another pass cannot mend is an error.
func onePass(ctx context.Context, src Source, mode forest.Mode, opts Options) (*pass, error) {
	before, err := src.Changes()
	if err != nil {
		return nil, err
	}
	s, err := src.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	p := &pass{before: before}
	p.forest, err = Collect(s, mode, opts)
	var c *ChangedError
	switch {
	case errors.As(err, &c):
		p.forest, p.what = nil, c.What
	case err != nil:
		return nil, err
	}
	return p, nil
}
