// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/pidgraft/pidgraft/forest"
)

// Name is how a person knows actor a of a plan for f: the task it becomes, or
// what it is for.
func (p *Plan) Name(f *forest.Forest, a int32) string {
	if a < 0 || int(a) >= len(p.Actors) {
		return "nobody"
	}
	actor := &p.Actors[a]
	switch {
	case actor.Role == RoleTask && actor.Task >= 0 && actor.Task < len(f.Tasks):
		return f.TaskName(actor.Task)
	case actor.Role == RoleRestorer, actor.Role == RoleHolder:
		return actor.Role.String()
	}
	return fmt.Sprintf("%s %d", actor.Role, a)
}

// Fprint writes the plan so that a person can follow it: each actor with its
// program, and what each operation waits for.
func (p *Plan) Fprint(w io.Writer, f *forest.Forest) error {
	for a := range p.Actors {
		actor := &p.Actors[a]
		why := ""
		if actor.Why != "" {
			why = ": " + actor.Why
		}
		if _, err := fmt.Fprintf(w, "%d %s%s\n", a, p.Name(f, int32(a)), why); err != nil {
			return err
		}
		for i := range actor.Ops {
			if _, err := fmt.Fprintf(w, "  %2d %s\n", i, p.describe(f, &actor.Ops[i])); err != nil {
				return err
			}
		}
	}
	return nil
}

// describe is one operation in words.
func (p *Plan) describe(f *forest.Forest, op *Op) string {
	var b strings.Builder
	b.WriteString(op.Code.String())
	switch op.Code {
	case Clone:
		fmt.Fprintf(&b, " %s as %s%s", p.Name(f, op.Child), numberList(op.Numbers), op.Flags)
		if op.Signal != forest.SIGCHLD && op.Flags&(Parent|Thread) == 0 {
			fmt.Fprintf(&b, ", exit signal %d", op.Signal)
		}
	case Setpgid:
		who, group := "itself", "of its own"
		if op.Child >= 0 {
			who = p.Name(f, op.Child)
		}
		if op.Number != 0 {
			group = fmt.Sprint(op.Number)
		}
		fmt.Fprintf(&b, " %s into group %s", who, group)
	case Kill, Stop:
		fmt.Fprintf(&b, " %s (%d) by signal %d", p.Name(f, op.Child), op.Pid, op.Signal)
	case Reap, Await:
		fmt.Fprintf(&b, " %s (%d)", p.Name(f, op.Child), op.Pid)
	case WriteMaps:
		fmt.Fprintf(&b, " of user namespace %d through %s", op.Number, p.Name(f, op.Child))
	case JoinPID, JoinUser:
		fmt.Fprintf(&b, " of %s", p.Name(f, op.Via))
	case UnshareUser:
		fmt.Fprintf(&b, " %d as %d:%d", op.Number, op.UID, op.GID)
	case SetIDs:
		fmt.Fprintf(&b, " uid %d/%d gid %d/%d", op.UID, op.EUID, op.GID, op.EGID)
	case Comm:
		b.WriteString(" " + forest.Escape(op.Text))
	case Ignore:
		fmt.Fprintf(&b, " signal %d: %t", op.Signal, op.Number == 1)
	case Pdeath, Die:
		fmt.Fprintf(&b, " signal %d", op.Signal)
	case Subreaper, Cursor, PidMax, ExitThread, ExitGroup:
		fmt.Fprintf(&b, " %d", op.Number)
	}
	for i, r := range op.After {
		sep := ", "
		if i == 0 {
			sep = "  after "
		}
		fmt.Fprintf(&b, "%s%d.%d", sep, r.Actor, r.Op)
	}
	return b.String()
}

// numberList writes set_tid outermost first, as everywhere else.
func numberList(innermost []int32) string {
	outermost := slices.Clone(innermost)
	slices.Reverse(outermost)
	return (&forest.Pid{Numbers: outermost}).String()
}

func (c CloneFlags) String() string {
	var b strings.Builder
	for _, f := range []struct {
		flag CloneFlags
		name string
	}{
		{NewPID, "new pid namespace"}, {NewUser, "new user namespace"},
		{Parent, "as a sibling"}, {Thread, "as a thread"}, {Pidfd, "keep a pidfd"},
	} {
		if c&f.flag != 0 {
			b.WriteString(", " + f.name)
		}
	}
	return b.String()
}
