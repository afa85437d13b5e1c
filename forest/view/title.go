// SPDX-License-Identifier: Apache-2.0

package view

import (
	"fmt"
	"strings"
	"time"

	"github.com/pidgraft/pidgraft/forest"
)

// title is what a forest consists of, in a line.
func title(f *forest.Forest) string {
	return f.Mode.String() + ": " + strings.Join([]string{
		plural(len(f.Tasks), "task"), plural(len(f.Pids), "pid object"), plural(len(f.Namespaces), "pid namespace"),
	}, ", ")
}

// taken is when, where and how it was dumped, in a line.
func taken(f *forest.Forest) string {
	how := f.Cut.Method.String()
	if f.Cut.Walked {
		how += ", every number accounted for"
	}
	where := ""
	if p := f.Producer; p.Release != "" {
		where = fmt.Sprintf(" on Linux %s (%s)", forest.Escape(p.Release), forest.Escape(p.Machine))
	}
	when := time.Unix(0, f.Producer.Time).UTC().Format(time.RFC3339)
	if p := f.Producer; p.Time == 0 && p.Tool != "" { // it was not told
		when = "by " + forest.Escape(p.Tool)
	}
	return fmt.Sprintf("taken %s%s, %s", when, where, how)
}

func inexact(why string) string { return "cannot be rebuilt exactly: " + forest.Escape(why) }
