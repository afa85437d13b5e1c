// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/pidgraft/pidgraft/internal/vmtest/guest"
)

// writeTable writes kernels × packages, then what did not run, by name.
func writeTable(out io.Writer, tests []guest.Test, results []*result) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "\npackage")
	for _, r := range results {
		fmt.Fprintf(w, "\t%s", r.kernel.name)
	}
	for _, t := range tests {
		fmt.Fprintf(w, "\n%s", t.Package)
		for _, r := range results {
			fmt.Fprintf(w, "\t%s", r.cell(t.Package))
		}
	}
	fmt.Fprint(w, "\nLinux")
	for _, r := range results {
		fmt.Fprintf(w, "\t%s", r.release)
	}
	fmt.Fprintln(w)
	if err := w.Flush(); err != nil {
		return err
	}
	for _, r := range results {
		if r.err != nil {
			fmt.Fprintf(out, "%s: %v\n", r.kernel.name, r.err)
		}
		for _, skip := range r.skips {
			fmt.Fprintf(out, "%s: skipped: %s\n", r.kernel.name, skip)
		}
	}
	return nil
}

func (r *result) cell(pkg string) string {
	switch status, ran := r.status[pkg]; {
	case !ran:
		return "no end"
	case status != 0:
		return "FAIL"
	}
	return "ok"
}
