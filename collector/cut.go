// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"context"
	"errors"

	"github.com/pidgraft/pidgraft/forest"
)

// pass is one look at a target.
type pass struct {
	before   Changes // the counters when it began
	snapshot *Snapshot
	result   *result
}

// result is what a pass showed, known once done is closed.
type result struct {
	done   chan struct{}
	forest *forest.Forest
	what   string // without a forest: what contradicts what
	err    error  // what another pass cannot mend
	// refused, with Options.All, is what stands against a dump of forest.
	refused Refusals
}

// Look is what came of a pass, for those who watch Cut at work.
type Look struct {
	Pass, Most  int // which it was, and how many there may be
	Tasks, Pids int // what it showed
	// Changed says why it is no proof of a cut, with the one before; empty: it
	// is, or it was the first.
	Changed string
}

// Cut takes a consistent forest from src. An iteration over tasks is not
// atomic; two passes in a row that show the same forest, with no event counted
// since the first began, are: whatever held during the whole second pass held
// at one moment, and so did all of it. A frozen target needs one pass that
// does not contradict itself.
//
// Between a pass that contradicts itself and the next it calls opts.Pause.
//
// After opts.Retries more passes it gives up with an ErrChanged that says what
// kept changing.
func Cut(ctx context.Context, src Source, mode forest.Mode, opts Options) (*forest.Forest, error) {
	least := 2
	if opts.Method == forest.Frozen {
		least = 1
	}
	var last *pass
	what, pauses := "", 0
	passes := least + max(opts.Retries, 0)
	for n := range passes {
		this, err := look(ctx, src, last, mode, opts)
		if err != nil {
			return nil, err
		}
		var found *result
		why := ""
		switch {
		case opts.Method == forest.Frozen:
			if why, err = this.alone(); why == "" {
				found = this.result
			}
		case last != nil:
			if why, err = last.confirmed(this, src); why == "" {
				found = last.result
			}
		}
		if err != nil {
			return nil, err
		}
		if opts.Looked != nil {
			opts.Looked(Look{Pass: n + 1, Most: passes, Tasks: len(this.snapshot.Tasks), Pids: len(this.snapshot.Pids), Changed: why})
		}
		if found != nil {
			return found.taken()
		}
		if why != "" {
			what = why
		}
		// A task that lost its processor on its way may be long in having
		// one again. A pass that contradicts itself confirms nothing, so the
		// next can as well be later.
		if why != "" && opts.Pause != nil && n < passes-1 {
			if torn, _ := this.alone(); torn != "" {
				opts.Pause(pauses)
				pauses++
			}
		}
		last = this
	}
	return nil, &ChangedError{What: what, Passes: passes}
}

// look makes a pass. What it shows is worked out while the next is made, and
// not again if it is what the last one showed.
func look(ctx context.Context, src Source, last *pass, mode forest.Mode, opts Options) (*pass, error) {
	before, err := src.Changes()
	if err != nil {
		return nil, err
	}
	s, err := src.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	p := &pass{before: before, snapshot: s}
	if last != nil && sameSnapshot(last.snapshot, s) {
		p.result = last.result
		return p, nil
	}
	p.result = &result{done: make(chan struct{})}
	go p.result.collect(s, mode, opts)
	return p, nil
}

func (r *result) collect(s *Snapshot, mode forest.Mode, opts Options) {
	defer close(r.done)
	var c *ChangedError
	switch r.forest, r.err = Collect(s, mode, opts); {
	case errors.As(r.err, &c):
		r.err, r.what = nil, c.What
	case errors.As(r.err, &r.refused):
		r.err = nil
	case r.err == nil && opts.Prepare != nil:
		opts.Prepare(r.forest)
	}
}

// taken is the forest, and what stands against a dump of it.
func (r *result) taken() (*forest.Forest, error) {
	if r.refused != nil {
		return r.forest, r.refused
	}
	return r.forest, nil
}

// alone says what contradicts what in the pass, or nothing.
func (p *pass) alone() (string, error) {
	<-p.result.done
	return p.result.what, p.result.err
}

// confirmed says why p and the pass after it are no proof of a cut, or nothing
// if they are.
func (p *pass) confirmed(next *pass, src Source) (string, error) {
	now, err := src.Changes()
	if err != nil {
		return "", err
	}
	for _, q := range []*pass{p, next} {
		if why, err := q.alone(); why != "" || err != nil {
			return why, err
		}
	}
	if why := now.since(p.before); why != "" {
		return why, nil
	}
	if p.result == next.result {
		return "", nil
	}
	return Difference(p.result.forest, next.result.forest), nil
}
