// SPDX-License-Identifier: Apache-2.0

package finding

import (
	"cmp"
	"slices"
	"time"
)

// Tracker tells findings that last from those of a moment.
type Tracker struct {
	opts  Options
	known map[string]*tracked
}

type tracked struct {
	Finding
	since  uint64
	raised bool
	seen   bool
}

// NewTracker has nothing to tell yet.
func NewTracker(opts Options) *Tracker {
	return &Tracker{opts: opts, known: make(map[string]*tracked)}
}

// Update takes in all findings of this moment. It gives those that have lasted
// long enough by now, and those that were given before and are over.
func (t *Tracker) Update(all []Finding, now uint64) (raised, cleared []Finding) {
	for _, f := range all {
		k := t.known[f.Key]
		if k == nil {
			k = &tracked{since: now}
			t.known[f.Key] = k
		}
		k.Finding, k.seen = f, true
		if !k.raised && now-k.since >= uint64(t.hold(f.Kind)) {
			k.raised = true
			raised = append(raised, f)
		}
	}
	for key, k := range t.known {
		if !k.seen {
			delete(t.known, key)
			if k.raised {
				cleared = append(cleared, k.Finding)
			}
		}
		k.seen = false
	}
	slices.SortFunc(cleared, compareKeys)
	return raised, cleared
}

func (t *Tracker) hold(k Kind) time.Duration {
	switch k {
	case Zombie:
		return t.opts.ZombieAfter
	case StuckInit:
		return t.opts.ExitAfter
	}
	return t.opts.Hold
}

// Raised are the findings that were given and are not over.
func (t *Tracker) Raised() []Finding {
	var all []Finding
	for _, k := range t.known {
		if k.raised {
			all = append(all, k.Finding)
		}
	}
	slices.SortFunc(all, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.Key, b.Key))
	})
	return all
}
