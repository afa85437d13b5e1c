// SPDX-License-Identifier: Apache-2.0

package forest

import (
	"cmp"
	"slices"
)

// OtherIDs are the ids of a task beside its real and effective ones, in the
// initial user namespace: the saved ones, and those that count for files.
type OtherIDs struct{ SUID, FSUID, SGID, FSGID uint32 }

// ExitIDs are the other ids of a task that has exited: /proc/PID/status shows
// all four of a zombie. Those of tasks that live are not part of a forest.
type ExitIDs struct {
	Task Tag
	OtherIDs
}

// effective are the other ids of a task all of whose are the effective one.
func (t *Task) effective() OtherIDs { return OtherIDs{t.EUID, t.EUID, t.EGID, t.EGID} }

// NewExitIDs is the entry of t in Forest.ExitIDs; false if it needs none.
func NewExitIDs(t *Task, other OtherIDs) (ExitIDs, bool) {
	return ExitIDs{t.Pid, other}, t.State.Exited() && other != t.effective()
}

// SortExitIDs brings entries into the order that a forest has them in.
func SortExitIDs(ids []ExitIDs) {
	slices.SortFunc(ids, func(a, b ExitIDs) int { return cmp.Compare(a.Task, b.Task) })
}

// OtherIDs are the saved ids of task i and those for files. It takes
// logarithmic time.
func (f *Forest) OtherIDs(i int) OtherIDs {
	t := &f.Tasks[i]
	at, found := slices.BinarySearchFunc(f.ExitIDs, t.Pid, func(x ExitIDs, tag Tag) int { return cmp.Compare(x.Task, tag) })
	if found {
		return f.ExitIDs[at].OtherIDs
	}
	return t.effective()
}

// exitIDs checks what the forest says of other ids.
func (v *validator) exitIDs() *Invalid {
	for i, x := range v.f.ExitIDs {
		reject := func(format string, args ...any) *Invalid {
			e := invalid(RuleExitIDs, "ids of the exited", format, args...)
			e.Tag = x.Task
			return e
		}
		if x.Task <= 0 || int(x.Task) > len(v.f.Pids) || v.taskOf[x.Task-1] == None {
			return reject("number %d is of %v, which is no task of the forest", i, x.Task)
		}
		task := int(v.taskOf[x.Task-1])
		_, needed := NewExitIDs(&v.f.Tasks[task], x.OtherIDs)
		switch {
		case i > 0 && v.f.ExitIDs[i-1].Task >= x.Task:
			return reject("number %d does not come after the one before it", i)
		case x.SUID == InvalidID || x.FSUID == InvalidID || x.SGID == InvalidID || x.FSGID == InvalidID:
			return v.task(RuleIDs, task, "its saved and file-system ids are uid %d and %d, gid %d and %d", x.SUID, x.FSUID, x.SGID, x.FSGID)
		case !needed:
			return v.task(RuleExitIDs, task, "it is %v, and its saved and file-system ids are listed: uid %d and %d, gid %d and %d",
				v.f.Tasks[task].State, x.SUID, x.FSUID, x.SGID, x.FSGID)
		}
	}
	return nil
}
