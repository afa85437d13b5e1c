// SPDX-License-Identifier: Apache-2.0

package forest

import (
	"fmt"
	"slices"
)

// user is an *Invalid about a user namespace.
func (v *validator) user(rule Rule, i int, format string, args ...any) *Invalid {
	subject := fmt.Sprintf("user namespace, index %d, inode %d", i, v.f.UserNamespaces[i].Inode)
	e := invalid(rule, subject, format, args...)
	e.UserNamespace = i
	return e
}

func (v *validator) userNamespaces() *Invalid {
	us := v.f.UserNamespaces
	level := make([]uint8, len(us))
	for i := range us {
		u := &us[i]
		if u.OwnerUID == InvalidID || u.OwnerGID == InvalidID {
			return v.user(RuleIDs, i, "its owner is uid %d, gid %d", u.OwnerUID, u.OwnerGID)
		}
		if i == 0 {
			if u.Parent != -1 || len(u.UIDMap) > 0 || len(u.GIDMap) > 0 {
				return v.user(RuleUserTree, i, "the initial user namespace has a parent or a map recorded")
			}
			continue
		}
		if u.Parent < 0 || u.Parent >= i {
			return v.user(RuleUserTree, i, "its parent, index %d, does not come before it", u.Parent)
		}
		if level[i] = level[u.Parent] + 1; level[i] > MaxUserLevel {
			return v.user(RuleUserTree, i, "it is at level %d", level[i])
		}
		parent := &us[u.Parent]
		if why := checkMap(u.UIDMap, parent.UIDMap, u.Parent == 0); why != "" {
			return v.user(RuleIDMap, i, "uid map: %s", why)
		}
		if why := checkMap(u.GIDMap, parent.GIDMap, u.Parent == 0); why != "" {
			return v.user(RuleIDMap, i, "gid map: %s", why)
		}
	}
	return nil
}

// checkMap applies the checks of map_write (kernel/user_namespace.c) to an id
// map and says what is wrong with it, or "". Each line must lie within one
// line of the parent's map, unless the parent is the initial namespace.
func checkMap(m, parent []Extent, initial bool) string {
	if len(m) > MaxExtents {
		return fmt.Sprintf("it has %d lines", len(m))
	}
	for i, e := range m {
		if e.Count == 0 {
			return fmt.Sprintf("line %d is for no ids", i+1)
		}
		// The kernel refuses first + count to reach 2^32: -1 is no id.
		if uint64(e.First)+uint64(e.Count) > InvalidID || uint64(e.Parent)+uint64(e.Count) > InvalidID {
			return fmt.Sprintf("line %d (%d %d %d) reaches beyond the highest id", i+1, e.First, e.Parent, e.Count)
		}
		if !initial && !slices.ContainsFunc(parent, func(p Extent) bool {
			return e.Parent >= p.First && uint64(e.Parent)+uint64(e.Count) <= uint64(p.First)+uint64(p.Count)
		}) {
			return fmt.Sprintf("line %d (%d %d %d) stands for ids that no line of the parent's map holds", i+1, e.First, e.Parent, e.Count)
		}
	}
	if overlap(m, func(e Extent) uint32 { return e.First }) {
		return "two lines are for the same id"
	}
	if overlap(m, func(e Extent) uint32 { return e.Parent }) {
		return "two lines stand for the same id of the parent"
	}
	return ""
}

// overlap reports whether two ranges share an id; they do not overflow.
func overlap(m []Extent, from func(Extent) uint32) bool {
	if len(m) < 2 {
		return false
	}
	sorted := slices.Clone(m)
	slices.SortFunc(sorted, func(a, b Extent) int {
		return int(int64(from(a)) - int64(from(b)))
	})
	for i := 1; i < len(sorted); i++ {
		if from(sorted[i]) < from(sorted[i-1])+sorted[i-1].Count {
			return true
		}
	}
	return false
}
