// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/pidgraft/pidgraft/internal/vmtest/guest"
)

// result is what a guest said.
type result struct {
	kernel   kernel
	release  string // of the kernel that ran
	packages map[string]*outcome
	started  bool          // the init ran
	took     time.Duration // by the clock of the host
	used     time.Duration // of its processors
	err      error         // no end

	now     *outcome            // the package that runs
	test    string              // the test that the lines are from, "" for none
	pending map[string][]string // lines of tests that have not ended
}

// outcome is that of a package.
type outcome struct {
	pkg     string
	ended   bool
	status  int
	seconds string // by the clock of the guest
	passed  int    // tests and subtests
	failed  int
	skips   []skip
}

// skip is a test that was skipped.
type skip struct{ test, reason string }

// noReason is of a skip that is not by internal/require.
const noReason = "no reason was given"

func newResult(k kernel) *result {
	return &result{kernel: k, packages: map[string]*outcome{}, pending: map[string][]string{}}
}

// ok: it ended, every package passed, and each skip has a reason.
func (r *result) ok() bool {
	for _, o := range r.packages {
		if !o.ok() {
			return false
		}
	}
	return r.err == nil && len(r.packages) > 0
}

func (o *outcome) ok() bool {
	for _, s := range o.skips {
		if s.reason == noReason {
			return false
		}
	}
	return o.ended && o.status == 0
}

var saying sync.Mutex

// say prints a line about a kernel. What comes from a guest is not trusted with
// the terminal.
func say(kernel, format string, args ...any) {
	saying.Lock()
	defer saying.Unlock()
	line := strings.Map(func(r rune) rune {
		if r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, fmt.Sprintf(format, args...))
	fmt.Printf("%s: %s\n", kernel, line)
}

// read takes the console to its end, and says whether the init came to its own.
// It calls started when the init runs. In the log each line has the host's
// seconds since the start before it.
func (r *result) read(console io.Reader, log io.Writer, started func()) (ended bool) {
	start := time.Now()
	lines := bufio.NewScanner(console)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		line := strings.Trim(lines.Text(), "\r")
		fmt.Fprintf(log, "%7.1f %s\n", time.Since(start).Seconds(), line)
		word, rest, _ := strings.Cut(line, " ")
		switch word {
		case guest.Started:
			started()
			r.started, r.release = true, rest
			say(r.kernel.name, "Linux %s", rest)
		case guest.Begin:
			r.now = &outcome{pkg: rest}
			r.packages[rest] = r.now
			say(r.kernel.name, "=== %s", rest)
		case guest.Done:
			r.done(strings.Fields(rest))
		case guest.Exit:
			ended = true
		default:
			r.line(line)
		}
	}
	if !ended {
		r.flush()
	}
	return ended
}

// done takes PACKAGE STATUS SECONDS.
func (r *result) done(words []string) {
	if len(words) != 3 || r.now == nil || words[0] != r.now.pkg {
		return // a test that prints such a line: no end of its package is one of the guest
	}
	status, err := strconv.Atoi(words[1])
	if err != nil {
		status = -1
	}
	r.now.ended, r.now.status, r.now.seconds = true, status, words[2]
	if status != 0 {
		r.flush()
	}
	clear(r.pending)
	r.test = ""
	say(r.kernel.name, "%s: exit status %d, %s s", r.now.pkg, status, r.now.seconds)
}

// flush prints what tests said that did not end.
func (r *result) flush() {
	for test, lines := range r.pending {
		say(r.kernel.name, "    %s did not end; it had said:", test)
		for _, line := range lines {
			say(r.kernel.name, "%s", line)
		}
	}
	clear(r.pending)
}

// line takes a line of go test -v, or of the kernel. What a test says is shown
// if it fails.
func (r *result) line(line string) {
	for _, mark := range []string{"=== RUN", "=== CONT", "=== NAME", "=== PAUSE"} {
		if rest, ok := strings.CutPrefix(line, mark); ok {
			r.test = strings.TrimSpace(rest)
			return
		}
	}
	if verdict, ok := strings.CutPrefix(strings.TrimLeft(line, " "), "--- "); ok && r.now != nil {
		if what, rest, ok := strings.Cut(verdict, ": "); ok {
			name, _, _ := strings.Cut(rest, " ")
			r.verdict(line, what, name)
			return
		}
	}
	switch {
	case line == "":
	case r.test != "":
		r.pending[r.test] = append(r.pending[r.test], line)
	default:
		say(r.kernel.name, "%s", line)
	}
}

// verdict takes the end of a test.
func (r *result) verdict(line, what, name string) {
	said := r.pending[name]
	delete(r.pending, name)
	switch what {
	case "PASS":
		r.now.passed++
	case "FAIL":
		r.now.failed++
	case "SKIP":
		s := skip{name, noReason}
		for _, line := range said {
			if _, reason, ok := strings.Cut(line, ": needs "); ok {
				s.reason = "needs " + reason
			}
		}
		r.now.skips = append(r.now.skips, s)
		line += " " + s.reason
	}
	say(r.kernel.name, "%s", line)
	if what == "FAIL" {
		for _, line := range said {
			say(r.kernel.name, "%s", line)
		}
	}
	if !strings.HasPrefix(line, " ") {
		r.test = ""
	}
}
