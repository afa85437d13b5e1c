// SPDX-License-Identifier: Apache-2.0

package foresttest

import "github.com/pidgraft/pidgraft/forest"

// Saved is Sample with other ids of a zombie and of a dead leader.
func Saved() *forest.Forest {
	f := Sample()
	f.ExitIDs = []forest.ExitIDs{
		{Task: f.Tasks[6].Pid, OtherIDs: forest.OtherIDs{SUID: 0, FSUID: 1000, SGID: 1001, FSGID: 1001}},
		{Task: f.Tasks[10].Pid, OtherIDs: forest.OtherIDs{SUID: 1, FSUID: 2, SGID: 3, FSGID: 4}},
	}
	forest.SortExitIDs(f.ExitIDs)
	return f
}

// exitIDs draws some, of those that have exited.
func (r *random) exitIDs(f *forest.Forest) {
	id := func(like uint32, what string) uint32 {
		if r.oneIn(2, what) {
			return uint32(r.int(0, 1<<32-2, what))
		}
		return like
	}
	for i := range f.Tasks {
		t := &f.Tasks[i]
		if !t.State.Exited() || !r.oneIn(4, "other ids") {
			continue
		}
		if x, ok := forest.NewExitIDs(t, forest.OtherIDs{
			SUID: id(t.EUID, "suid"), FSUID: id(t.EUID, "fsuid"), SGID: id(t.EGID, "sgid"), FSGID: id(t.EGID, "fsgid"),
		}); ok {
			f.ExitIDs = append(f.ExitIDs, x)
		}
	}
	forest.SortExitIDs(f.ExitIDs)
}
