// SPDX-License-Identifier: Apache-2.0

package forest

import (
	"cmp"
	"fmt"
	"slices"
)

// Renumber is f with other numbers: in each namespace all but number 1 are
// replaced by the lowest from 2 on that taken does not report and that are
// below limit (0: MaxNumber+1), in the order of the old ones. Nothing else
// changes: tags, and so groups, sessions and ghosts, name the same objects. An
// id cursor that is recorded goes behind the highest number. The pid objects and
// namespaces of the result are its own, all else it shares with f.
//
// It fails if a namespace has not as many numbers.
func Renumber(f *Forest, limit int32, taken func(ns int, number int32) bool) (*Forest, error) {
	if limit == 0 {
		limit = MaxNumber + 1
	}
	g := *f
	g.Pids = make([]Pid, len(f.Pids))
	g.Namespaces = slices.Clone(f.Namespaces)
	for i := range f.Pids {
		g.Pids[i] = Pid{Namespace: f.Pids[i].Namespace, Numbers: make([]int32, len(f.Pids[i].Numbers))}
	}
	for ns, seen := range seenIn(f) {
		level := f.Namespaces[ns].Level
		slices.SortFunc(seen, func(a, b Tag) int {
			return cmp.Compare(f.Pids[a-1].Numbers[level], f.Pids[b-1].Numbers[level])
		})
		next := int32(2)
		for _, tag := range seen {
			number := int32(1)
			if f.Pids[tag-1].Numbers[level] != 1 {
				for next < limit && taken(ns, next) {
					next++
				}
				number = next
				next++
			}
			if number >= limit {
				return nil, fmt.Errorf("%d numbers are wanted in one namespace, and below %d are not as many free", len(seen), limit)
			}
			g.Pids[tag-1].Numbers[level] = number
		}
		if n := &g.Namespaces[ns]; n.Cursor > 0 {
			n.Cursor = uint32(next)
		}
	}
	return &g, nil
}

// seenIn lists, by namespace, the objects that have a number in it.
func seenIn(f *Forest) [][]Tag {
	seen := make([][]Tag, len(f.Namespaces))
	for i := range f.Pids {
		for ns := f.Pids[i].Namespace; ns >= 0; ns = f.Namespaces[ns].Parent {
			seen[ns] = append(seen[ns], Tag(i+1))
		}
	}
	return seen
}
