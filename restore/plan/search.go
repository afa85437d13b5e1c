// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"

	"github.com/pidgraft/pidgraft/forest"
)

// Where the rules leave open what to do, a planner takes what is right for nearly
// every forest, in linear time. If that ends in a refusal, other turns are tried:
// first each way that differs in one turn, then those that differ in two, and so
// on (limited discrepancy search, Harvey and Ginsberg 1995). Every way plans by
// the same rules, so whatever is found is as right as the first would have been.

const (
	// SearchTries is how many ways are tried for one forest.
	SearchTries = 2000
	// SearchWork is how many tasks are planned in all these tries: a forest of
	// a million tasks is planned a few times, not two thousand.
	SearchWork = 1 << 20
)

// way is one way to plan.
type way struct {
	// told goes by where processes were born (Forest.Origins).
	told bool
	// bornIn prefers that session leaders are born in the ghost sessions
	// that their children need, to bearing the leaders of those again.
	bornIn bool
	// holderLeads lets the holder lead the inherited group, so that those
	// who have left it can join it again.
	holderLeads bool
	// bornOut prefers that who ended with ids which its user namespace does not map
	// is born further out.
	bornOut bool
	// turns are the options taken where there was a choice, in the order in
	// which a planner comes to it; after the last, always the first.
	turns []uint16
}

// choose picks one of n options, the first if nothing is known against it.
func (p *planner) choose(n int) int {
	if n <= 1 {
		return 0
	}
	at := len(p.options)
	p.options = append(p.options, uint16(min(n, 1<<16-1)))
	if at < len(p.way.turns) {
		return int(p.way.turns[at])
	}
	return 0
}

// next lists the ways that differ from p's, which was refused, in one turn more:
// of those after the last that it took, and the latest first.
func (p *planner) next() []way {
	var ways []way
	for at := len(p.options) - 1; at >= len(p.way.turns); at-- {
		for option := uint16(1); option < p.options[at]; option++ {
			w := p.way
			w.turns = make([]uint16, at+1)
			copy(w.turns, p.way.turns)
			w.turns[at] = option
			ways = append(ways, w)
		}
	}
	return ways
}

// ways are those to begin with.
func ways(f *forest.Forest) []way {
	var list []way
	if len(f.Origins) > 0 {
		// As it was, if that is known and can be: the rules are for guessing.
		list = append(list, way{told: true})
	}
	list = append(list, way{}, way{bornIn: true})
	if f.Root().PGID == forest.Inherited || f.Root().SID == forest.Inherited { // else nobody can be in it
		list = append(list, way{holderLeads: true}, way{bornIn: true, holderLeads: true})
	}
	if slices.ContainsFunc(f.Tasks, func(t forest.Task) bool { return t.State.Exited() && t.UserNamespace != 0 }) {
		for _, w := range list {
			w.bornOut = true
			list = append(list, w)
		}
	}
	return list
}

// search tries one way after the other. The refusals are those of the first way
// that goes by nothing told.
func search(f *forest.Forest, opts Options) (*Plan, error) {
	var first Refusals
	queue := ways(f)
	limit := min(SearchTries, max(len(queue), SearchWork/len(f.Tasks)))
	for tries := 0; len(queue) > 0; tries++ {
		if tries == limit {
			return nil, limitReached(first, limit)
		}
		w := queue[0]
		queue = queue[1:]
		p := newPlanner(f, opts)
		p.way = w
		refused := p.make()
		if refused == nil {
			return p.plan, nil
		}
		if first == nil && !w.told {
			first = refused
		}
		if !p.checked {
			if !w.told {
				break // no way would help
			}
			continue
		}
		if w.holderLeads && p.holder == none {
			continue // as without
		}
		if len(queue) < limit {
			queue = append(queue, p.next()...)
		}
	}
	return nil, first
}

// limitReached says of what was refused at first that there may be another way.
func limitReached(first Refusals, tries int) Refusals {
	r := *first[0]
	r.Kind, r.Reason = SearchLimit, fmt.Sprintf("%s; of %d other ways none led there, and there are more", r.Reason, tries-1)
	return append(Refusals{&r}, first[1:]...)
}
