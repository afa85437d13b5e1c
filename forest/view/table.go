// SPDX-License-Identifier: Apache-2.0

package view

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/pidgraft/pidgraft/forest"
)

var tableHead = []string{"NUMBERS", "TGID", "PARENT", "PGID", "SID", "NAMESPACE", "USER_NAMESPACE", "UID", "EXIT_SIGNAL", "STATE", "COMM"}

// Table writes one line a task in tree order. TGID, PARENT, PGID and SID are
// numbers in the root namespace, ghosts in parentheses.
func Table(w io.Writer, f *forest.Forest, o Options) error {
	x := forest.NewIndex(f)
	rows := make([][]string, 0, len(f.Tasks))
	width := make([]int, len(tableHead))
	measure := func(row []string) {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	measure(tableHead)
	for i := range f.Tasks {
		rows = append(rows, tableRow(f, x, &f.Tasks[i]))
		measure(rows[i])
	}
	out := bufio.NewWriter(w)
	printRow := func(row []string, p paint) {
		var b strings.Builder
		for i, cell := range row {
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", 2+width[i]-utf8.RuneCountInString(cell)))
			}
		}
		fmt.Fprintln(out, o.text(p, b.String()))
	}
	printRow(tableHead, dim)
	for i, row := range rows {
		p := plain
		switch t := &f.Tasks[i]; {
		case t.State.Exited():
			p = dead
		case !t.IsLeader():
			p = thread
		}
		printRow(row, p)
	}
	return out.Flush()
}

func tableRow(f *forest.Forest, x *forest.Index, t *forest.Task) []string {
	what := state(t)
	if what == "" {
		what = t.State.String()
	}
	sig := "-"
	if t.IsLeader() {
		sig = fmt.Sprint(t.ExitSignal)
	}
	return []string{
		f.TagName(t.Pid), number(f, x, t.TGID), number(f, x, t.Parent), number(f, x, t.PGID), number(f, x, t.SID),
		fmt.Sprint(f.Namespaces[f.Pid(t.Pid).Namespace].Inode),
		fmt.Sprint(f.UserNamespaces[t.UserNamespace].Inode),
		fmt.Sprint(t.UID), sig, what, forest.Escape(t.Comm),
	}
}
