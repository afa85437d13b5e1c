// SPDX-License-Identifier: Apache-2.0

package view

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore/plan"
)

// maxIndent bounds how far a line is indented: how deep a plan is, the dumped
// processes decide.
const maxIndent = 48

// Text writes p, the plan for f, so that a person can follow it: who makes
// whom, with the reason of each helper, and then every step in one legal order
// with the steps that it must wait for.
func Text(w io.Writer, p *plan.Plan, f *forest.Forest) error {
	t := &text{steps: newSteps(p, f), w: bufio.NewWriter(w)}
	t.header()
	t.tree()
	t.story()
	return t.w.Flush()
}

type text struct {
	*steps
	w *bufio.Writer
}

func (t *text) header() {
	count := make(map[plan.Role]int)
	for a := range t.p.Actors {
		count[t.p.Actors[a].Role]++
	}
	parts := []string{plural(count[plan.RoleTask], "task")}
	for r := plan.RoleHolder; r <= plan.RoleWarden; r++ {
		if count[r] > 0 {
			parts = append(parts, plural(count[r], r.String()))
		}
	}
	fmt.Fprintf(t.w, "%s: %s, %s\n", t.f.Mode, strings.Join(parts, ", "), plural(len(t.order), "step"))
}

// tree prints who makes whom, in the order of each maker.
func (t *text) tree() {
	fmt.Fprint(t.w, "\nwho makes whom, and at which step\n\n")
	type level struct {
		kids []int32
		next int
	}
	below := t.made()
	fmt.Fprintln(t.w, t.name(plan.Restorer))
	stack := []level{{kids: below[plan.Restorer]}}
	var last []bool
	for len(stack) > 0 {
		top := &stack[len(stack)-1]
		if top.next == len(top.kids) {
			stack = stack[:len(stack)-1]
			continue
		}
		a := top.kids[top.next]
		top.next++
		last = append(last[:len(stack)-1], top.next == len(top.kids))
		fmt.Fprintf(t.w, "%s%s\n", indent(last), t.about(a))
		if len(below[a]) > 0 {
			stack = append(stack, level{kids: below[a]})
		}
	}
}

// made are the actors that each actor makes, in order.
func (t *text) made() [][]int32 {
	below := make([][]int32, len(t.p.Actors))
	for _, st := range t.order {
		if op := t.opOf(st); op.Code == plan.Clone {
			below[st.actor] = append(below[st.actor], op.Child)
		}
	}
	return below
}

// about is the line of an actor in the tree.
func (t *text) about(a int32) string {
	op := t.clone(a)
	notes := []string{fmt.Sprintf("step %d", t.births[a])}
	if op.Flags&plan.Thread != 0 {
		notes = append(notes, "a thread")
	}
	if t.isEarly(a) {
		notes = append(notes, "before the setsid of its maker")
	}
	if op.Flags&plan.Parent != 0 {
		notes = append(notes, "as a sibling of its maker")
	}
	if p := t.parent(a); p >= 0 && p != t.maker[a].Actor && op.Flags&plan.Thread == 0 {
		notes = append(notes, "in the end a child of "+t.name(p))
	}
	if why := t.p.Actors[a].Why; why != "" {
		notes = append(notes, why)
	}
	if !t.isTask(a) && t.ends(a) {
		notes = append(notes, "ends")
	}
	return t.name(a) + ": " + strings.Join(notes, "; ")
}

// isEarly reports whether a was made before its maker's setsid.
func (t *steps) isEarly(a int32) bool {
	at := t.setsid(t.maker[a].Actor)
	return t.maker[a].Actor != plan.Restorer && t.births[a] < at && t.clone(a).Flags&plan.Thread == 0
}

// parent is the actor whose child a is in the end, or -1 if it has ended or
// its parent is outside.
func (t *steps) parent(a int32) int32 {
	if !t.isTask(a) {
		return -1
	}
	tag := t.f.Tasks[t.p.Actors[a].Task].ParentThread
	if !tag.IsPid() {
		return -1
	}
	return t.byTag[tag-1]
}

func indent(last []bool) string {
	var b strings.Builder
	from := 0
	if 3*len(last) > maxIndent {
		from = len(last) - maxIndent/3
		b.WriteString("… ")
	}
	for i := from; i < len(last); i++ {
		switch end := i == len(last)-1; {
		case end && last[i]:
			b.WriteString("└─ ")
		case end:
			b.WriteString("├─ ")
		case last[i]:
			b.WriteString("   ")
		default:
			b.WriteString("│  ")
		}
	}
	return b.String()
}

// story prints every step in order.
func (t *text) story() {
	fmt.Fprint(t.w, "\nthe steps, in one order that is possible; what does not wait runs at the same time\n\n")
	width := len(fmt.Sprint(len(t.order)))
	for i, st := range t.order {
		fmt.Fprintf(t.w, "%*d  %s\n", width, i+1, t.line(st))
	}
	for a := range t.p.Actors {
		for i := range t.p.Actors[a].Ops {
			if t.number[a][i] == 0 {
				fmt.Fprintf(t.w, "%*s  %s\n", width, "?", t.line(step{int32(a), int32(i), false}))
			}
		}
	}
}

// line is a step in words, with what it waits for.
func (t *steps) line(st step) string {
	op := t.opOf(st)
	s := t.name(st.actor) + " " + t.does(op)
	if len(op.After) > 0 {
		s += t.after(op)
	}
	return s
}

// after lists the steps that op waits for, the first few.
func (t *steps) after(op *plan.Op) string {
	const most = 8
	var list []string
	for i, r := range op.After {
		if i == most {
			list = append(list, fmt.Sprintf("%d more", len(op.After)-most))
			break
		}
		list = append(list, t.stepName(r))
	}
	word := " [after step "
	if len(op.After) > 1 {
		word = " [after steps "
	}
	return word + strings.Join(list, ", ") + "]"
}

func (t *steps) stepName(r plan.Ref) string {
	if n := t.number[r.Actor][r.Op]; n > 0 {
		return fmt.Sprint(n)
	}
	return "?"
}

// signal is a signal's number and, if it has one, its name.
func signal(sig int32) string {
	if name := unix.SignalName(unix.Signal(sig)); name != "" {
		return name
	}
	return fmt.Sprintf("signal %d", sig)
}

// plural is "1 task" or "3 tasks".
func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
