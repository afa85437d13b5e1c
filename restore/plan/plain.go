// SPDX-License-Identifier: Apache-2.0

package plan

import "github.com/pidgraft/pidgraft/forest"

// Plain reports whether f is so simple that there is a plan for it, and no need
// to make one to know: a container whose processes are each in their
// parent's session and group or the leader of their own, the init of a new pid
// namespace or in their parent's, and alive or a zombie that exited.
//
// Then this order ends in f: every task, as the first thing in its life, leads
// the session or the group that it leads; bears its children in the order of
// siblings, with their numbers; then its threads; and what is nobody else's
// business (names, credentials, cursors, the exits) comes last. Nobody's session
// or group has to be another at a birth than at the end, nobody who has children
// dies, so nobody is adopted, and no helper is needed that could want a number.
//
// False says nothing: Make knows. f must be valid (forest.Validate). It takes
// about 10 ns a task.
func Plain(f *forest.Forest) bool {
	if f.Mode != forest.Container || len(f.UserNamespaces) != 1 || len(f.Origins) > 0 || len(f.ExitIDs) > 0 || len(f.Inexact) > 0 {
		return false
	}
	for i := range f.Namespaces {
		if f.Namespaces[i].State != forest.Alive {
			return false
		}
	}
	// Every object is some task's own: there is no ghost.
	if len(f.Pids) != len(f.Tasks) {
		return false
	}
	taskOf := make([]int32, len(f.Pids))
	for i := range f.Tasks {
		taskOf[f.Tasks[i].Pid-1] = int32(i)
	}
	for i := range f.Tasks {
		t := &f.Tasks[i]
		if !plainState(t) || t.ChildNamespace != forest.SameNamespace || t.PdeathSignal != 0 || t.Subreaper {
			return false
		}
		switch {
		case i == 0:
			if !plainRoot(t) {
				return false
			}
		case !t.IsLeader():
			// It shares all of this with its leader (forest.RuleThread).
		case !t.Parent.IsPid() || !plainChild(f, t, &f.Tasks[taskOf[t.Parent-1]]):
			return false
		}
	}
	return true
}

// plainState: it lives, or it was the last of its process when that exited.
func plainState(t *forest.Task) bool {
	if t.State == forest.Running {
		return true
	}
	return t.State == forest.Zombie && t.ExitCode&0xff == 0 && (!t.GroupExit || t.GroupExitCode == t.ExitCode)
}

// plainRoot: its session and group are its own, or those that the restorer hands
// down.
func plainRoot(t *forest.Task) bool {
	ownGroup := t.PGID == t.Pid
	return t.State == forest.Running && t.ExitSignal == forest.SIGCHLD &&
		(t.SID == t.Pid && ownGroup || t.SID == forest.Inherited && (ownGroup || t.PGID == forest.Inherited))
}

// plainChild: t was born by the leader of parent's process, and has its session
// and group from there or from itself.
func plainChild(f *forest.Forest, t, parent *forest.Task) bool {
	if t.ExitSignal != forest.SIGCHLD || t.ParentThread != t.Parent {
		return false
	}
	own, its := &f.Pids[t.Pid-1], f.Pids[parent.Pid-1].Namespace
	if own.Namespace != its && (own.Number() != 1 || f.Namespaces[own.Namespace].Parent != its) {
		return false
	}
	ownGroup := t.PGID == t.Pid
	return t.SID == t.Pid && ownGroup || t.SID == parent.SID && (ownGroup || t.PGID == parent.PGID)
}
