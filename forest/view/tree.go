// SPDX-License-Identifier: Apache-2.0

package view

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/pidgraft/pidgraft/forest"
)

// maxIndent bounds how far a line is indented, so that a chain of a million
// processes takes a line each and not a page.
const maxIndent = 48

// Tree writes f as a tree, in the order of the outline. The columns before it
// are session and group, by their numbers in the root namespace.
func Tree(w io.Writer, f *forest.Forest, o Options) error {
	t := &tree{outline: newOutline(f), o: o, w: bufio.NewWriter(w)}
	t.header()
	t.columns()
	t.walk(func(n node, last []bool) { t.line(n, indent(last)) }, nil)
	t.ghosts()
	t.references()
	t.origins()
	return t.w.Flush()
}

type tree struct {
	outline
	o       Options
	w       *bufio.Writer
	session int // width of its column
	group   int
}

func (t *tree) header() {
	fmt.Fprintf(t.w, "%s\n%s\n", title(t.f), taken(t.f))
	for _, why := range t.f.Inexact {
		fmt.Fprintln(t.w, t.o.text(dead, inexact(why)))
	}
	fmt.Fprintln(t.w)
}

func (t *tree) columns() {
	t.session, t.group = len("SESSION"), len("GROUP")
	for i := range t.f.Tasks {
		k := &t.f.Tasks[i]
		t.session = max(t.session, len(number(t.f, t.x, k.SID)))
		t.group = max(t.group, len(number(t.f, t.x, k.PGID)))
	}
	fmt.Fprintln(t.w, t.o.text(dim, fmt.Sprintf("%*s  %*s  TASK", t.session, "SESSION", t.group, "GROUP")))
}

// indent draws the branches that lead to a node; last says for each level
// whether it is the last of its siblings.
func indent(last []bool) string {
	var b strings.Builder
	from := 1
	if len(last)-from > maxIndent {
		from = len(last) - maxIndent
		fmt.Fprintf(&b, "[%d levels up] ", from-1)
	}
	for i := from; i < len(last); i++ {
		branch := [2][2]string{{"│  ", "   "}, {"├─ ", "└─ "}}
		at, end := 0, 0
		if i == len(last)-1 {
			at = 1
		}
		if last[i] {
			end = 1
		}
		b.WriteString(branch[at][end])
	}
	return b.String()
}

func (t *tree) line(n node, branches string) {
	branches = t.o.text(dim, branches)
	if n.ns != forest.None {
		fmt.Fprintf(t.w, "%*s  %*s  %s%s\n", t.session, "", t.group, "", branches, t.o.text(space, t.space(n.ns)))
		return
	}
	k := &t.f.Tasks[n.task]
	p, name := plain, forest.Escape(k.Comm)
	switch {
	case k.State.Exited():
		p = dead
	case !k.IsLeader():
		p = thread
	}
	label := t.o.text(bold, t.numbers(k)) + " " + t.o.text(p, name)
	if notes := t.notes(k); notes != "" {
		label += "  " + t.o.text(p, notes)
	}
	fmt.Fprintf(t.w, "%s  %s  %s%s\n", t.column(k.SID, t.session), t.column(k.PGID, t.group), branches, label)
}

func (t *tree) column(tag forest.Tag, width int) string {
	s := number(t.f, t.x, tag)
	p := plain
	if tag.IsPid() && t.x.TaskOf(tag) == forest.None {
		p = ghosts
	}
	return strings.Repeat(" ", width-len(s)) + t.o.text(p, s)
}

// ghosts lists the numbers that no task of the forest carries.
func (t *tree) ghosts() {
	tags := t.x.Ghosts()
	if len(tags) == 0 {
		return
	}
	fmt.Fprintf(t.w, "\nghosts: numbers %s\n", t.whyGhosts())
	for _, tag := range tags {
		where := ""
		if ns := t.f.Pid(tag).Namespace; ns != 0 {
			where = ", in " + namespace(t.f, ns)
		}
		fmt.Fprintf(t.w, "  %s: %s%s\n", t.o.text(ghosts, t.f.TagName(tag)), t.uses(tag), where)
	}
}
