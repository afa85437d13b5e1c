// SPDX-License-Identifier: Apache-2.0

package view

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore/plan"
)

// name is how a person knows actor a: the task that it becomes, or what it is
// and, if it can be told, its numbers.
func (s *steps) name(a int32) string {
	actor := &s.p.Actors[a]
	switch {
	case s.isTask(a):
		return s.f.TaskName(actor.Task)
	case a == plan.Restorer:
		return actor.Role.String()
	}
	name := "the " + actor.Role.String()
	if numbers := s.numbers(a); len(numbers) > 0 {
		name = actor.Role.String() + " " + (&forest.Pid{Numbers: numbers}).String()
	}
	return name
}

func (s *steps) isTask(a int32) bool {
	t := s.p.Actors[a].Task
	return t >= 0 && t < len(s.f.Tasks)
}

// numbers are those that actor a is made with, outermost first.
func (s *steps) numbers(a int32) []int32 {
	op := s.clone(a)
	if op == nil {
		return nil
	}
	return outermostFirst(op.Numbers)
}

// outermostFirst turns the order of set_tid around.
func outermostFirst(numbers []int32) []int32 {
	out := slices.Clone(numbers)
	slices.Reverse(out)
	return out
}

func chain(numbers []int32) string { return (&forest.Pid{Numbers: numbers}).String() }

// does is one operation in words, as what somebody does.
func (s *steps) does(op *plan.Op) string {
	switch op.Code {
	case plan.Clone:
		return s.clones(op)
	case plan.Setsid:
		return "calls setsid, and leads a session and a group of its own"
	case plan.Setpgid:
		who := "moves"
		if op.Child >= 0 {
			who = "moves " + s.name(op.Child)
		}
		switch {
		case op.Number == 0 && op.Child < 0:
			return "founds a process group of its own number"
		case op.Number == 0 || op.Child >= 0 && op.Number == op.Pid:
			return who + " into a process group of its own number"
		}
		return fmt.Sprintf("%s into process group %d, as it sees it", who, op.Number)
	case plan.Subreaper:
		if op.Number == 0 {
			return "is a subreaper no more"
		}
		return "becomes a subreaper"
	case plan.Reap:
		return "waits for the end of " + s.name(op.Child) + " and collects it"
	case plan.Await:
		return "waits for the end of " + s.name(op.Child) + " and leaves it a zombie"
	case plan.JoinPID:
		return "takes the pid namespace of " + s.name(op.Via) + " for its next children"
	case plan.JoinUser:
		return "enters the user namespace of " + s.name(op.Via)
	case plan.Keep:
		return "keeps descriptors of its user and pid namespaces, for others to enter"
	case plan.UnsharePID:
		return "makes an empty pid namespace for its next children"
	case plan.UnshareUser:
		return fmt.Sprintf("enters a new user namespace, owned by %d:%d", op.UID, op.GID)
	case plan.WriteMaps:
		return fmt.Sprintf("writes the id maps of user namespace %d, of which %s is the first member", op.Number, s.name(op.Child))
	case plan.Comm:
		return `takes the name "` + forest.Escape(op.Text) + `"`
	case plan.SetIDs:
		if x := op.Other; x != nil {
			return fmt.Sprintf("becomes uid %d/%d/%d/%d, gid %d/%d/%d/%d (real/effective/saved/for files, as its user namespace calls them)",
				op.UID, op.EUID, x.SUID, x.FSUID, op.GID, op.EGID, x.SGID, x.FSGID)
		}
		return fmt.Sprintf("becomes uid %d/%d, gid %d/%d (real/effective, as its user namespace calls them)", op.UID, op.EUID, op.GID, op.EGID)
	case plan.Ignore:
		if op.Number == 1 {
			return "ignores " + signal(op.Signal) + ", which drops it if it is pending"
		}
		return "gives " + signal(op.Signal) + " its default action again"
	case plan.Kill:
		return "kills " + s.name(op.Child) + " by " + signal(op.Signal)
	case plan.Stop:
		if op.Number == 1 {
			return "stops " + s.name(op.Child) + " by " + signal(op.Signal) + ", and has wait report it"
		}
		return "stops " + s.name(op.Child) + " by " + signal(op.Signal)
	}
	return s.doesAlone(op)
}

// doesAlone is does for what concerns nobody but the actor.
func (s *steps) doesAlone(op *plan.Op) string {
	switch op.Code {
	case plan.Undumpable:
		return "makes its memory undumpable again, and looks whether it is"
	case plan.Pdeath:
		return "sets " + signal(op.Signal) + " as its parent-death signal"
	case plan.Cursor:
		return fmt.Sprintf("writes %d into ns_last_pid of its namespace", op.Number)
	case plan.PidMax:
		return fmt.Sprintf("writes %d into pid_max of its namespace", op.Number)
	case plan.Spoil:
		return "spoils the empty pid namespace by a birth that fails"
	case plan.Exec:
		return "runs the stub anew (execve): exit signals of before count as SIGCHLD"
	case plan.Nop:
		return "only waits"
	case plan.Hold:
		return "is in place"
	case plan.ExitThread:
		return fmt.Sprintf("ends as a thread, with wait status %#x", op.Number)
	case plan.ExitGroup:
		return fmt.Sprintf("exits with code %d", op.Number)
	case plan.Die:
		return "dies by " + signal(op.Signal)
	case plan.Perish:
		return "waits to be killed"
	case plan.Serve:
		return "is in place: reaps, passes signals on, and ends as the root does"
	case plan.Stay:
		return "is in place: stays as long as the first task, as the parent of those that entered"
	case plan.End:
		return "has done its part"
	}
	return op.Code.String()
}

func (s *steps) clones(op *plan.Op) string {
	var b strings.Builder
	b.WriteString("forks ")
	if op.Flags&plan.Thread != 0 {
		b.Reset()
		b.WriteString("starts the thread ")
	}
	b.WriteString(s.name(op.Child))
	var how []string
	switch full := s.chainOf(op.Child); {
	case len(op.Numbers) == 0:
		how = append(how, "with numbers of the kernel's choice")
	case full != nil && len(op.Numbers) < len(full):
		how = append(how, fmt.Sprintf("naming %s only, the innermost; the others come from id cursors", chain(outermostFirst(op.Numbers))))
	}
	for _, f := range []struct {
		flag plan.CloneFlags
		name string
	}{
		{plan.NewUser, "in a new user namespace"}, {plan.NewPID, "in a new pid namespace"},
		{plan.Parent, "as its own sibling (CLONE_PARENT)"},
	} {
		if op.Flags&f.flag != 0 {
			how = append(how, f.name)
		}
	}
	if op.Signal != forest.SIGCHLD && op.Flags&(plan.Parent|plan.Thread) == 0 {
		how = append(how, "with exit signal "+signal(op.Signal))
	}
	if len(how) > 0 {
		b.WriteString(", " + strings.Join(how, ", "))
	}
	return b.String()
}

// chainOf are the numbers that actor a has in the end, or nil: a helper.
func (s *steps) chainOf(a int32) []int32 {
	if !s.isTask(a) {
		return nil
	}
	return s.f.Pid(s.f.Tasks[s.p.Actors[a].Task].Pid).Numbers
}
