// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pidgraft/pidgraft/internal/vmtest/guest"
)

// listen reads what a console says.
func listen(t *testing.T, lines ...string) (r *result, ended bool) {
	t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	r = newResult(kernel{name: "6.1"})
	ended = r.read(strings.NewReader(strings.Join(lines, "\r\n")), null, func() {})
	return r, ended
}

func TestConsole(t *testing.T) {
	r, ended := listen(t, "[    0.1] booting", guest.Started+" 6.1.0",
		guest.Begin+" ./loader",
		"=== RUN   TestA", "=== RUN   TestA/b", "    a_test.go:7: needs the moon: Linux 9.9, and this is 6.1.0",
		"=== RUN   TestA/c", "    a_test.go:9: fine",
		"--- PASS: TestA (0.10s)", "    --- SKIP: TestA/b (0.00s)", "    --- PASS: TestA/c (0.00s)",
		"PASS", guest.Done+" ./loader 0 12",
		guest.Begin+" ./restore",
		"=== RUN   TestD", "    d_test.go:1: no good", "--- FAIL: TestD (0.00s)",
		"FAIL", guest.Done+" ./restore 1 3", guest.Exit+" 1")
	if !ended || r.release != "6.1.0" || r.ok() {
		t.Errorf("ended %v, release %q, ok %v", ended, r.release, r.ok())
	}
	want := &outcome{pkg: "./loader", ended: true, seconds: "12", passed: 2,
		skips: []skip{{"TestA/b", "needs the moon: Linux 9.9, and this is 6.1.0"}}}
	if diff := cmp.Diff(want, r.packages["./loader"], cmp.AllowUnexported(outcome{}, skip{})); diff != "" {
		t.Error(diff)
	}
	if o := r.packages["./restore"]; o.ok() || o.failed != 1 {
		t.Errorf("%+v", o)
	}
}

// Nothing that a guest leaves out is taken for a success.
func TestConsoleIsNotOK(t *testing.T) {
	done := guest.Done + " ./loader 0 1"
	for name, lines := range map[string][]string{
		"no package":            {guest.Started + " 6.1.0", guest.Exit + " 0"},
		"a panic":               {guest.Started + " 6.1.0", guest.Begin + " ./loader", "Kernel panic"},
		"a skip with no reason": {guest.Begin + " ./loader", "=== RUN   TestA", "    a_test.go:1: not today", "--- SKIP: TestA (0.00s)", done, guest.Exit + " 0"},
		"a test that says so":   {guest.Begin + " ./restore", done, guest.Exit + " 0"},
		"a status":              {guest.Begin + " ./loader", guest.Done + " ./loader 2 1", guest.Exit + " 1"},
	} {
		if r, _ := listen(t, lines...); r.ok() {
			t.Errorf("%s: it is ok", name)
		}
	}
	if r, ended := listen(t, guest.Begin+" ./loader", done, guest.Exit+" 0"); !ended || !r.ok() {
		t.Error("what should be ok is not")
	}
}

// A cell of the table says at a glance whether all is well.
func TestCellsAreCounts(t *testing.T) {
	r := newResult(kernel{})
	r.packages["a"] = &outcome{pkg: "a", ended: true, passed: 3, skips: []skip{{"TestX", "needs y"}}}
	r.packages["b"] = &outcome{pkg: "b", ended: true, status: 1, passed: 3, failed: 1}
	r.packages["c"] = &outcome{pkg: "c"}
	for pkg, want := range map[string]string{
		"a": "3 passed 1 skipped", "b": "3 passed 1 **FAILED**", "c": "**no end**", "d": "**not run**",
	} {
		if got := r.cell(pkg); got != want {
			t.Errorf("%s: %q, want %q", pkg, got, want)
		}
	}
}
