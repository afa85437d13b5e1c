// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"fmt"
	"slices"

	"github.com/pidgraft/pidgraft/forest"
)

// Same reports whether two passes over one target, on one machine, showed the
// same forest in every particular. Only the Producer, with its time of day,
// references, which nothing watches, and origins, which no pass sees, are left
// out. (What must be the same after a restore is less: forest.Diff.)
func Same(a, b *forest.Forest) bool { return Difference(a, b) == "" }

// Difference says what differs first between two passes, or "".
func Difference(a, b *forest.Forest) string {
	switch {
	case a.Mode != b.Mode || a.Cut != b.Cut:
		return "how the forest was taken"
	case !slices.EqualFunc(a.UserNamespaces, b.UserNamespaces, sameUserNamespace):
		return "the user namespaces"
	case len(a.Namespaces) != len(b.Namespaces):
		return fmt.Sprintf("%d pid namespaces became %d", len(a.Namespaces), len(b.Namespaces))
	case len(a.Tasks) != len(b.Tasks):
		return fmt.Sprintf("%d tasks became %d", len(a.Tasks), len(b.Tasks))
	case len(a.Pids) != len(b.Pids):
		return fmt.Sprintf("%d pid objects became %d", len(a.Pids), len(b.Pids))
	case !slices.Equal(a.Inexact, b.Inexact):
		return "what cannot be rebuilt"
	}
	for i := range a.Pids {
		p, q := &a.Pids[i], &b.Pids[i]
		if p.Namespace != q.Namespace || !slices.Equal(p.Numbers, q.Numbers) {
			return fmt.Sprintf("number %s became %s", p, q)
		}
	}
	for i := range a.Tasks {
		if a.Tasks[i] != b.Tasks[i] {
			return b.TaskName(i) + ": " + changedField(&a.Tasks[i], &b.Tasks[i])
		}
	}
	if !slices.Equal(a.ExitIDs, b.ExitIDs) {
		return "the saved or file-system ids of what has exited"
	}
	for i := range a.Namespaces {
		if a.Namespaces[i] != b.Namespaces[i] {
			return fmt.Sprintf("the pid namespace with inode %d: its state, cursor or pid_max", a.Namespaces[i].Inode)
		}
	}
	return ""
}

func sameUserNamespace(a, b forest.UserNamespace) bool {
	return a.Parent == b.Parent && a.OwnerUID == b.OwnerUID && a.OwnerGID == b.OwnerGID &&
		a.Setgroups == b.Setgroups && a.Inode == b.Inode &&
		slices.Equal(a.UIDMap, b.UIDMap) && slices.Equal(a.GIDMap, b.GIDMap)
}

// changedField names what differs between two sights of a task.
func changedField(a, b *forest.Task) string {
	switch {
	case a.Pid != b.Pid || a.TGID != b.TGID:
		return "its identity"
	case a.PGID != b.PGID:
		return "its process group"
	case a.SID != b.SID:
		return "its session"
	case a.Parent != b.Parent || a.ParentThread != b.ParentThread:
		return "its parent"
	case a.State != b.State:
		return fmt.Sprintf("%v became %v", a.State, b.State)
	case a.Comm != b.Comm:
		return "its name"
	case a.ChildNamespace != b.ChildNamespace || a.UserNamespace != b.UserNamespace:
		return "its namespaces"
	}
	return "its signals, exit codes or identity"
}

// sameSnapshot reports whether two passes saw the same in the same order, down
// to the addresses, but for what says nothing about a forest: what a task is just
// doing, how many numbers a namespace has given, and where the cursor is of one
// in which everybody on the machine forks. Different snapshots can still be of
// the same forest.
func sameSnapshot(a, b *Snapshot) bool {
	return a.Root == b.Root && a.Namespace == b.Namespace && a.Self == b.Self && a.Walked == b.Walked &&
		sameRecords(a.Tasks, b.Tasks, sameTask) &&
		sameRecords(a.Pids, b.Pids, samePid) &&
		sameRecords(a.IDR, b.IDR, sameID) && sameRecords(a.Misnumbered, b.Misnumbered, sameID) &&
		slices.EqualFunc(a.Namespaces, b.Namespaces, a.sameNamespace) &&
		slices.EqualFunc(a.UserNamespaces, b.UserNamespaces, sameKernelUserNamespace)
}

// sameRecords also knows two names of one list.
func sameRecords[R any](a, b []R, same func(x, y *R) bool) bool {
	if len(a) != len(b) {
		return false
	}
	if len(a) == 0 || &a[0] == &b[0] {
		return true
	}
	for i := range a {
		if !same(&a[i], &b[i]) {
			return false
		}
	}
	return true
}

func sameTask(a, b *Task) bool {
	t := *a
	t.TaskFlags = t.TaskFlags&(pfExiting|pfKthread) | b.TaskFlags&^(pfExiting|pfKthread)
	t.Jobctl = t.Jobctl&jobctlStopSigmask | b.Jobctl&^jobctlStopSigmask
	return t == *b
}

// sameNamespace: of those above the root's nothing but their place counts.
func (s *Snapshot) sameNamespace(a, b Namespace) bool {
	a.Allocated = a.Allocated&PidnsAdding | b.Allocated&^PidnsAdding
	if a != b && s.isAbove(&a) {
		a.Cursor, a.PidMax, a.Allocated, a.Reaper = b.Cursor, b.PidMax, b.Allocated, b.Reaper
	}
	return a == b
}

// isAbove reports whether a namespace's level is above the root task's.
func (s *Snapshot) isAbove(ns *Namespace) bool {
	for i := range s.Namespaces {
		if s.Namespaces[i].ID == s.Namespace {
			return ns.Level < s.Namespaces[i].Level
		}
	}
	return false
}

func samePid(a, b *Pid) bool {
	return a.ID == b.ID && a.Namespace == b.Namespace && a.Level == b.Level &&
		a.HasPID == b.HasPID && a.HasTGID == b.HasTGID && a.HasPGID == b.HasPGID && a.HasSID == b.HasSID &&
		slices.Equal(a.Numbers, b.Numbers)
}

func sameKernelUserNamespace(a, b UserNamespace) bool {
	return a.ID == b.ID && a.Parent == b.Parent && a.Level == b.Level && a.Inode == b.Inode && a.Flags == b.Flags &&
		a.OwnerUID == b.OwnerUID && a.OwnerGID == b.OwnerGID &&
		slices.Equal(a.UIDMap, b.UIDMap) && slices.Equal(a.GIDMap, b.GIDMap)
}

func sameID(x, y *ID) bool { return *x == *y }
