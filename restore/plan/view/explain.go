// SPDX-License-Identifier: Apache-2.0

package view

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore/plan"
)

// Find is the pid object that arg names: its number in the root namespace
// ("14"), or all its numbers from there inwards ("14/2").
func Find(f *forest.Forest, arg string) (forest.Tag, error) {
	var numbers []int32
	for part := range strings.SplitSeq(arg, "/") {
		n, err := strconv.ParseInt(part, 10, 32)
		if err != nil || n < 1 {
			return 0, fmt.Errorf("%q is neither a number nor a chain of numbers such as 14/2", arg)
		}
		numbers = append(numbers, int32(n))
	}
	for i := range f.Pids {
		have := f.Pids[i].Numbers
		switch {
		case have[0] != numbers[0]:
		case len(numbers) == 1 || slices.Equal(have, numbers):
			return forest.Tag(i + 1), nil
		default:
			return 0, fmt.Errorf("number %d of the root namespace is %s, not %s", numbers[0], f.TagName(forest.Tag(i+1)), arg)
		}
	}
	return 0, fmt.Errorf("the forest has no number %d in its root namespace", numbers[0])
}

// Explain writes everything in p, the plan for f, that concerns the task or
// ghost with pid object tag: who makes it and why so, what it does, which
// helpers are there for it, what it waits for and what waits for it.
func Explain(w io.Writer, p *plan.Plan, f *forest.Forest, tag forest.Tag) error {
	e := &explainer{text: text{steps: newSteps(p, f), w: bufio.NewWriter(w)}}
	if e.self = e.byTag[tag-1]; e.self < 0 {
		e.self = e.carrier(tag)
	}
	if e.self < 0 {
		fmt.Fprintf(e.w, "number %s is carried by nobody in this plan\n", f.TagName(tag))
		return e.w.Flush()
	}
	e.maker()
	e.program()
	e.helpers()
	e.waiters()
	return e.w.Flush()
}

type explainer struct {
	text
	self int32
}

// carrier is the helper that carries the number of a ghost, or -1.
func (s *steps) carrier(tag forest.Tag) int32 {
	for a := range s.p.Actors {
		if s.p.Actors[a].Role == plan.RoleGhost && slices.Equal(s.numbers(int32(a)), s.f.Pid(tag).Numbers) {
			return int32(a)
		}
	}
	return -1
}

// maker says who makes the task, and what it gets from being made so.
func (e *explainer) maker() {
	a, by := e.self, e.steps.maker[e.self].Actor
	op := e.clone(a)
	fmt.Fprintf(e.w, "%s", e.name(a))
	if why := e.p.Actors[a].Why; why != "" {
		fmt.Fprintf(e.w, ": %s", why)
	}
	fmt.Fprint(e.w, "\n\nits maker\n\n")
	switch {
	case op == nil:
		fmt.Fprintln(e.w, "nobody makes it")
		return
	case by == plan.Restorer && e.p.Actors[a].Role == plan.RoleOutsider:
		fmt.Fprintf(e.w, "the restorer, beside the new namespaces (step %d)\n", e.births[a])
		return
	case by == plan.Restorer:
		fmt.Fprintf(e.w, "the restorer: it is the first of them all (step %d)\n", e.births[a])
		return
	case op.Flags&plan.Thread != 0:
		fmt.Fprintf(e.w, "%s, whose process it is a thread of (step %d)\n", e.name(by), e.births[a])
		return
	}
	fmt.Fprintf(e.w, "%s (step %d), ", e.name(by), e.births[a])
	fmt.Fprintln(e.w, e.reason(by, op))
	if why := e.p.Actors[by].Why; why != "" {
		fmt.Fprintf(e.w, "%s: %s\n", e.name(by), why)
	}
	e.session(by, op)
}

// reason is how the maker of the task relates to its parent.
func (e *explainer) reason(by int32, op *plan.Op) string {
	parent := e.parent(e.self)
	switch {
	case op.Flags&plan.Parent != 0 && parent >= 0:
		return "which makes it a sibling of its own (CLONE_PARENT): the parent of both is " + e.name(e.process(parent))
	case op.Flags&plan.Parent != 0:
		return "which makes it a sibling of its own (CLONE_PARENT)"
	case parent == by:
		return "its parent"
	case parent >= 0 && e.ends(by):
		return "which ends; by that " + e.name(parent) + " adopts it and is its parent"
	case parent >= 0:
		return "and in the end it is a child of " + e.name(parent)
	}
	return "which collects it when it has ended"
}

// session says which session the task is born in, and why its maker can give
// it that one.
func (e *explainer) session(by int32, op *plan.Op) {
	at := e.births[e.self]
	born := e.sessionAt(by, at)
	whose := "the session that the restorer hands down"
	if born != plan.Restorer {
		whose = "the session of " + e.name(born)
	}
	fmt.Fprintf(e.w, "it is born in %s, as its maker is in it then", whose)
	if e.isEarly(e.self) {
		fmt.Fprintf(e.w, "; its maker leads one of its own only from step %d on", e.setsid(by))
	}
	fmt.Fprintln(e.w)
	if own := e.setsid(e.self); own > 0 {
		fmt.Fprintf(e.w, "it leads a session of its own from step %d on\n", own)
	}
	if full := e.chainOf(e.self); full != nil && len(op.Numbers) < len(full) {
		fmt.Fprintf(e.w, "its maker is in a nested user namespace and can name %s only: the numbers further out come from id cursors, set just before\n",
			chain(outermostFirst(op.Numbers)))
	}
}

// program is all that the task does.
func (e *explainer) program() {
	fmt.Fprint(e.w, "\nwhat it does, and after what\n\n")
	for i := range e.p.Actors[e.self].Ops {
		e.told(step{e.self, int32(i), false})
		for _, r := range e.p.Actors[e.self].Ops[i].After {
			fmt.Fprintf(e.w, "      after %s: %s %s\n", e.stepName(r), e.name(r.Actor), e.does(&e.p.Actors[r.Actor].Ops[r.Op]))
		}
	}
}

// told prints a step with its number.
func (e *explainer) told(st step) {
	place := "?"
	switch {
	case st.birth:
		place = fmt.Sprint(e.births[e.opOf(st).Child])
	case e.number[st.actor][st.op] > 0:
		place = fmt.Sprint(e.number[st.actor][st.op])
	}
	fmt.Fprintf(e.w, "%5s %s %s\n", place, e.name(st.actor), e.does(e.opOf(st)))
}

// helpers are those that have to do with the task: that make it or are made by
// it, or that it waits for, or that wait for it.
func (e *explainer) helpers() {
	seen := make(map[int32]bool)
	var list []int32
	add := func(a int32) {
		if r := e.p.Actors[a].Role; a != e.self && !seen[a] && r != plan.RoleTask && r != plan.RoleRestorer {
			seen[a] = true
			list = append(list, a)
		}
	}
	add(e.steps.maker[e.self].Actor)
	for i := range e.p.Actors[e.self].Ops {
		op := &e.p.Actors[e.self].Ops[i]
		if op.Child >= 0 && op.Code != plan.Setsid {
			add(op.Child)
		}
		for _, r := range op.After {
			add(r.Actor)
		}
	}
	e.others(func(a int32, _ int, op *plan.Op) {
		if e.concerns(op) {
			add(a)
		}
	})
	if len(list) == 0 {
		return
	}
	fmt.Fprint(e.w, "\nhelpers that have to do with it\n\n")
	for _, a := range list {
		why := e.p.Actors[a].Why
		if why == "" {
			why = "a " + e.p.Actors[a].Role.String()
		}
		end := ""
		if e.ends(a) {
			end = "; it ends"
		}
		fmt.Fprintf(e.w, "      %s: %s%s\n", e.name(a), why, end)
	}
}

// others calls do for every operation of other actors.
func (e *explainer) others(do func(a int32, i int, op *plan.Op)) {
	for a := range e.p.Actors {
		if int32(a) == e.self {
			continue
		}
		for i := range e.p.Actors[a].Ops {
			do(int32(a), i, &e.p.Actors[a].Ops[i])
		}
	}
}

// concerns reports whether another actor's operation is about the task or
// waits for it.
func (e *explainer) concerns(op *plan.Op) bool {
	switch op.Code {
	case plan.Clone, plan.Reap, plan.Await, plan.Kill, plan.Stop, plan.Setpgid, plan.WriteMaps:
		if op.Child == e.self {
			return true
		}
	case plan.JoinPID, plan.JoinUser:
		if op.Via == e.self {
			return true
		}
	}
	return slices.ContainsFunc(op.After, func(r plan.Ref) bool { return r.Actor == e.self })
}

// waiters prints what others do with the task, and what waits for it.
func (e *explainer) waiters() {
	told := false
	e.others(func(a int32, i int, op *plan.Op) {
		if !e.concerns(op) {
			return
		}
		if !told {
			fmt.Fprint(e.w, "\nwhat others do with it, or only after it\n\n")
			told = true
		}
		e.told(step{a, int32(i), false})
		for _, r := range op.After {
			if r.Actor == e.self {
				fmt.Fprintf(e.w, "      after %s: it %s\n", e.stepName(r), e.does(&e.p.Actors[r.Actor].Ops[r.Op]))
			}
		}
	})
}
