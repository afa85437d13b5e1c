// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/pidgraft/pidgraft/internal/vmtest/guest"
)

// report writes, as Markdown, kernels × packages, then what was skipped, by
// name and reason, and what went wrong.
func report(out io.Writer, tests []guest.Test, results []*result) error {
	w := tabwriter.NewWriter(out, 0, 0, 1, ' ', 0)
	row := func(first string, cell func(r *result) string) {
		fmt.Fprintf(w, "| %s\t", first)
		for _, r := range results {
			fmt.Fprintf(w, "| %s\t", cell(r))
		}
		fmt.Fprintln(w, "|")
	}
	fmt.Fprintf(out, "\n%s\n\n", time.Now().UTC().Format(time.DateOnly))
	row("package", func(r *result) string { return r.kernel.name })
	row("---", func(*result) string { return "---" })
	row("Linux", func(r *result) string { return r.release })
	for _, t := range tests {
		row(t.Package, func(r *result) string { return r.cell(t.Package) })
	}
	row("seconds", func(r *result) string { return fmt.Sprintf("%.0f", r.took.Seconds()) })
	row("seconds of processors", func(r *result) string { return fmt.Sprintf("%.0f", r.used.Seconds()) })
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprint(out, "\nSkipped:\n\n")
	none := true
	for _, r := range results {
		for _, t := range tests {
			for _, s := range r.skips(t.Package) {
				none = false
				fmt.Fprintf(out, "* %s: `%s` %s: %s\n", r.kernel.name, t.Package, s.test, s.reason)
			}
		}
	}
	if none {
		fmt.Fprintln(out, "* nothing")
	}
	for _, r := range results {
		if r.err != nil {
			fmt.Fprintf(out, "%s: %v\n", r.kernel.name, r.err)
		}
	}
	return nil
}

func (r *result) skips(pkg string) []skip {
	if o := r.packages[pkg]; o != nil {
		return o.skips
	}
	return nil
}

// cell says how a package did: how many tests and subtests passed, in how many
// seconds by the clock of the guest.
func (r *result) cell(pkg string) string {
	o := r.packages[pkg]
	switch {
	case o == nil:
		return "**not run**"
	case !o.ended:
		return "**no end**"
	}
	words := []string{fmt.Sprint(o.passed), "passed"}
	if n := len(o.skips); n > 0 {
		words = append(words, fmt.Sprint(n), "skipped")
	}
	if !o.ok() {
		words = append(words, fmt.Sprint(o.failed), "**FAILED**")
	}
	return strings.Join(words, " ")
}
