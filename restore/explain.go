// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore/plan"
	"github.com/pidgraft/pidgraft/restore/stub"
)

// describeTask names a task by its numbers, the root namespace's first, and
// its comm, whose bytes are anybody's.
func describeTask(f *forest.Forest, t *forest.Task) string {
	comm := strconv.QuoteToASCII(t.Comm)
	return fmt.Sprintf("task %s (%s)", chain(f.Pid(t.Pid).Numbers), comm[1:len(comm)-1])
}

// describe names an actor.
func (g *program) describe(a int) string {
	actor := &g.plan.Actors[a]
	if actor.Task >= 0 {
		return describeTask(g.forest, &g.forest.Tasks[actor.Task])
	}
	s := actor.Role.String()
	if m := g.maker[a]; m.Actor >= 0 {
		if n := g.plan.Actors[m.Actor].Ops[m.Op].Numbers; len(n) > 0 {
			s += " " + chain(outwardIn(n))
		}
	}
	if actor.Why != "" {
		s += " (" + actor.Why + ")"
	}
	return s
}

// outwardIn turns set_tid's order, innermost first, around.
func outwardIn(numbers []int32) []int32 {
	out := make([]int32, len(numbers))
	for i, n := range numbers {
		out[len(numbers)-1-i] = n
	}
	return out
}

func errnoName(err error) string {
	if errno, ok := err.(syscall.Errno); ok {
		if name := unix.ErrnoName(errno); name != "" {
			return name
		}
	}
	return err.Error()
}

// explain turns the stub's record of a failure into an error to act on.
func (g *program) explain(f *stub.Failure) error {
	errno := syscall.Errno(f.Error)
	if f.Actor == plan.Restorer {
		stage := "unknown step"
		if int(f.Op) < len(stub.Stages) {
			stage = stub.Stages[f.Op]
		}
		if stage == cgroupStage {
			return &CannotRunError{fmt.Sprintf("a cgroup with cgroup.kill (%s: %s)", g.cgroup, errnoName(errno)), cgroupHint}
		}
		return &OpError{Who: "the stub", What: stage, Err: errno, Hint: g.stageHint(stage, errno)}
	}
	r, ok := g.ref(f.Op)
	if !ok || int(r.Op) >= len(g.plan.Actors[r.Actor].Ops) {
		return &OpError{Who: g.describe(int(f.Actor)), What: "start", Err: errno}
	}
	op := &g.plan.Actors[r.Actor].Ops[r.Op]
	e := &OpError{Who: g.describe(int(r.Actor)), What: systemCall(op), Err: errno}
	switch op.Code {
	case plan.Clone: // it is about the child
		e.Who = g.describe(int(op.Child))
		e.Hint = g.cloneHint(op, errno)
	case plan.Setpgid:
		e.What = fmt.Sprintf("setpgid to group %d", op.Number)
		if op.Child >= 0 {
			e.What += " of " + g.describe(int(op.Child))
		}
		e.Hint = "a fault of the plan; the kernel's conditions are in setpgid(2)"
	case plan.SetIDs:
		e.Hint = fmt.Sprintf("uid %d/%d, gid %d/%d must have a name in its user namespace", op.UID, op.EUID, op.GID, op.EGID)
		if x := op.Other; x != nil {
			e.Hint += fmt.Sprintf(", and so must its saved and file-system ids: uid %d and %d, gid %d and %d", x.SUID, x.FSUID, x.SGID, x.FSGID)
		}
	case plan.Cursor, plan.PidMax:
		e.Hint = "the file is there with CONFIG_CHECKPOINT_RESTORE, and writable for the owner of the namespace"
	}
	return e
}

const cgroupStage = "make a cgroup that can be killed"

func (g *program) stageHint(stage string, errno syscall.Errno) string {
	switch {
	case stage == stub.Stages[7] && errno == unix.EEXIST && g.cgroup != "":
		return nowTakenHint(g.plan.Births[0].Numbers[0])
	case stage == stub.Stages[7] && g.cgroup != "" && (errno == unix.EOPNOTSUPP || errno == unix.EBUSY):
		return "a process cannot be born into " + g.cgroup + ": see cgroup.type and cgroup.subtree_control of the cgroup above it"
	case stage == stub.Stages[7] && errno == unix.ENOSPC:
		return spaceHint
	case stage == stub.Stages[7] && errno == unix.EAGAIN:
		return limitHint
	}
	return ""
}

const (
	spaceHint = "too many pid or user namespaces, or levels of them: see sysctl user.max_pid_namespaces and user.max_user_namespaces; pid namespaces nest 32 deep"
	limitHint = "too many tasks: see sysctl kernel.threads-max and kernel.pid_max, pids.max of the cgroup, and ulimit -u"
)

func (g *program) cloneHint(op *plan.Op, errno syscall.Errno) string {
	switch errno {
	case unix.EEXIST:
		return g.takenHint(op)
	case unix.EAGAIN:
		return limitHint
	case unix.ENOSPC:
		return spaceHint
	case unix.EINVAL:
		return fmt.Sprintf("one of its numbers %s is not below pid_max of its level, or its parent cannot bear it", chain(outwardIn(op.Numbers)))
	case unix.EPERM:
		return "the parent may not name numbers in a namespace that another user namespace owns"
	case unix.ENOMEM:
		return "out of memory, or the namespace has lost its init"
	}
	return ""
}

// takenHint says which number is taken, as far as the plan itself tells: the
// namespaces are new, so who took it is in the plan.
func (g *program) takenHint(op *plan.Op) string {
	numbers := outwardIn(op.Numbers)
	if g.cgroup != "" { // all namespaces but this one are new
		return nowTakenHint(numbers[0])
	}
	if len(numbers) == 1 {
		return fmt.Sprintf("number %d is taken in the root namespace", numbers[0])
	}
	for a, m := range g.maker {
		if m.Actor < 0 {
			continue
		}
		other := &g.plan.Actors[m.Actor].Ops[m.Op]
		if other == op {
			continue
		}
		theirs := outwardIn(other.Numbers)
		for level := range min(len(numbers), len(theirs)) {
			if numbers[level] == theirs[level] && (level == 0 || g.sameAbove(op, other, level)) {
				return fmt.Sprintf("number %d is taken at level %d by %s", numbers[level], level, g.describe(a))
			}
		}
	}
	return fmt.Sprintf("one of its numbers %s is taken", chain(numbers))
}

// sameAbove: two clones can only collide at a level in the same namespace,
// which for tasks of the forest is known.
func (g *program) sameAbove(a, b *plan.Op, level int) bool {
	ta, tb := g.plan.Actors[a.Child].Task, g.plan.Actors[b.Child].Task
	if ta < 0 || tb < 0 {
		return false
	}
	return g.namespaceAt(ta, level) == g.namespaceAt(tb, level)
}

func (g *program) namespaceAt(task, level int) int {
	ns := g.forest.Pid(g.forest.Tasks[task].Pid).Namespace
	for ns > 0 && g.forest.Namespaces[ns].Level > level {
		ns = g.forest.Namespaces[ns].Parent
	}
	return ns
}

func systemCall(op *plan.Op) string {
	switch op.Code {
	case plan.Clone, plan.Spoil:
		return "clone3"
	case plan.Reap, plan.Await, plan.Stop:
		return "waitid"
	case plan.JoinPID, plan.JoinUser:
		return "setns"
	case plan.Keep:
		return "open /proc/thread-self/ns"
	case plan.UnsharePID, plan.UnshareUser:
		return "unshare"
	case plan.Comm, plan.Subreaper, plan.Undumpable, plan.Pdeath:
		return "prctl " + op.Code.String()
	case plan.SetIDs:
		return "setresuid"
	case plan.Ignore:
		return "sigaction"
	case plan.Exec:
		return "execve"
	case plan.Cursor:
		return "write ns_last_pid"
	case plan.PidMax:
		return "write pid_max"
	}
	return op.Code.String()
}

// waiting says of every actor that is neither held nor ended where it is.
func (g *program) waiting(m *shared) []string {
	var list []string
	for a := plan.Init; a < len(g.plan.Actors); a++ {
		if m.pid(a) == 0 {
			continue // not made yet; its maker is listed
		}
		r, _ := g.ref(m.at(a))
		if m.at(a) < g.first[a] {
			r = plan.Ref{Actor: int32(a)}
		}
		op := &g.plan.Actors[a].Ops[r.Op]
		if m.state(g.index(r)) != stub.Pending {
			continue
		}
		s := g.describe(a) + " is at " + op.Code.String()
		if op.Child >= 0 && op.Code != plan.Setsid {
			s += " of " + g.describe(int(op.Child))
		}
		if after := g.pending(m, op); len(after) > 0 {
			s += ", after " + strings.Join(after, " and ")
		}
		list = append(list, s)
	}
	return list
}

func (g *program) pending(m *shared, op *plan.Op) []string {
	var list []string
	for _, r := range op.After {
		if m.state(g.index(r)) != stub.Done {
			list = append(list, fmt.Sprintf("%v of %s",
				g.plan.Actors[r.Actor].Ops[r.Op].Code, g.describe(int(r.Actor))))
		}
	}
	return list
}
