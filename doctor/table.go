// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Text writes r for people: the jobs, then what each of them is made of, with a
// line for what is missing and one for what to do about it.
func (r *Report) Text(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "Linux %s (%s), %s\n", r.Kernel.Release, r.Kernel.Machine, r.place())
	fmt.Fprintf(b, "lockdown %s, security modules %s\n\n", orUnknown(r.Kernel.Lockdown), orUnknown(strings.Join(r.Kernel.LSMs, ",")))
	width := 0
	for _, j := range r.Jobs {
		width = max(width, len(j.Title))
	}
	for _, c := range r.Checks {
		width = max(width, len(c.Title))
	}
	for _, j := range r.Jobs {
		line(b, word(j.Can), width, j.Title, r.titles(j.Missing))
	}
	fmt.Fprintln(b)
	for _, c := range r.Checks {
		state, text := word(c.State == Yes), c.Detail
		switch c.State {
		case No:
			text = fmt.Sprintf("%s: %s", c.Reason, c.Detail)
		case Untried:
			state = "-  "
		}
		line(b, state, width, c.Title, text)
		if c.Remedy != "" {
			fmt.Fprintf(b, "       %s\n", c.Remedy)
		}
	}
	return b.Flush()
}

// titles are what the names of checks stand for.
func (r *Report) titles(names []string) string {
	var titles []string
	for _, c := range r.Checks {
		if slices.Contains(names, c.Name) {
			titles = append(titles, c.Title)
		}
	}
	if titles == nil {
		return ""
	}
	return "without: " + strings.Join(titles, "; ")
}

func word(ok bool) string {
	if ok {
		return "yes"
	}
	return "no "
}

func line(w io.Writer, state string, width int, title, text string) {
	fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("  %s  %-*s  %s", state, width, title, text), " "))
}

// place is where the process is, in words.
func (r *Report) place() string {
	p := &r.Process
	words := []string{fmt.Sprintf("uid %d", p.UID)}
	if !p.InitialUserNamespace {
		words = append(words, "in a user namespace")
	}
	if !p.InitialPidNamespace {
		words = append(words, "in a pid namespace")
	}
	if p.SeccompFilter {
		words = append(words, "under a seccomp filter")
	}
	if p.NoNewPrivs {
		words = append(words, "without new privileges")
	}
	return strings.Join(words, ", ")
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}
