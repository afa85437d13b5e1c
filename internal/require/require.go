// SPDX-License-Identifier: Apache-2.0

package require

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Requirement is a feature that a machine may lack.
type Requirement struct {
	Name string // with its article, as in a sentence: "the …"
	// Since is the first release of Linux that has it for certain, as in
	// "6.2"; empty if every kernel has that pidgraft runs on (5.10). Where an
	// older one has it, by a backport, tests use it.
	Since string
	// Unless are states of the machine that take it away.
	Unless []State
	// Probe tries it: nil if it is there, else what is missing. It must not
	// ask for the version.
	Probe func() error
}

// State is something about a machine that takes a feature away.
type State struct {
	Name  string // as in "needs the …, which this machine is without: NAME"
	Holds func() bool
}

// Root skips a test where nothing privileged can run. Where the variable CI is
// set, and in guests, it fails instead: there tests run as root.
func Root(t testing.TB) {
	t.Helper()
	switch {
	case os.Geteuid() == 0:
	case os.Getenv("CI") != "":
		t.Fatal("not root, and CI is set: there the tests run as root")
	default:
		t.Skip("needs root")
	}
}

// Feature skips a test on a machine that lacks what it needs, for a reason that
// holds; it fails the test if the machine should have it.
func Feature(t testing.TB, r Requirement) {
	t.Helper()
	switch verdict, why := r.judge(release()); verdict {
	case skip:
		t.Skip(why)
	case fail:
		t.Fatal(why)
	}
}

// Has is Feature for conditions of scripts, which skip for what they name: it
// gives an error where the machine should have it.
func Has(r Requirement) (bool, error) {
	switch verdict, why := r.judge(release()); verdict {
	case skip:
		return false, nil
	case fail:
		return false, errors.New(why)
	}
	return true, nil
}

type verdict int

const (
	run verdict = iota
	skip
	fail
)

// judge decides what to do on a kernel release, and says why.
func (r *Requirement) judge(release string) (verdict, string) {
	missing := r.Probe()
	if missing == nil {
		return run, ""
	}
	if r.Since != "" {
		old, err := before(release, r.Since)
		if err != nil {
			return fail, err.Error()
		}
		if old {
			return skip, fmt.Sprintf("needs %s: Linux %s, and this is %s (%v)", r.Name, r.Since, release, missing)
		}
	}
	for _, s := range r.Unless {
		if s.Holds() {
			return skip, fmt.Sprintf("needs %s: %s (%v)", r.Name, s.Name, missing)
		}
	}
	since := "every kernel"
	if r.Since != "" {
		since = "Linux " + r.Since
	}
	return fail, fmt.Sprintf("%s is missing, though %s has it and this is %s: %v", r.Name, since, release, missing)
}

// before compares kernel releases by their first two numbers: what follows is
// each distribution's.
func before(release, since string) (bool, error) {
	a, err := series(release)
	if err != nil {
		return false, err
	}
	b, err := series(since)
	if err != nil {
		return false, err
	}
	return a[0] < b[0] || a[0] == b[0] && a[1] < b[1], nil
}

func series(release string) (n [2]int, err error) {
	if _, err := fmt.Sscanf(release, "%d.%d", &n[0], &n[1]); err != nil {
		return n, fmt.Errorf("%q is no kernel release", release)
	}
	return n, nil
}

func release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err.Error()
	}
	return unix.ByteSliceToString(u.Release[:])
}
