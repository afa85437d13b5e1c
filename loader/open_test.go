// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/internal/testforest"
)

func TestOpenErrors(t *testing.T) {
	privileged(t)
	f := testforest.Start(t, `
		outside fork init newpid
		init fork a
		a thread a2`)
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		target Target
		want   error
	}{
		{"zero", Target{PID: 0}, ErrNoProcess},
		{"negative", Target{PID: -1}, ErrNoProcess},
		{"beyond pid_max", Target{PID: 1 << 30}, ErrNoProcess},
		{"gone", Target{PID: gone.Process.Pid}, ErrNoProcess},
		{"thread", Target{PID: f.PID("a2")}, ErrNoProcess},
		{"self", Target{PID: os.Getpid()}, ErrSelf},
		{"no init", Target{PID: f.PID("a"), Scope: Container}, ErrNotInit},
		{"no init, outside", Target{PID: f.PID("outside"), Scope: Container}, ErrNotInit},
	} {
		t.Run(test.name, func(t *testing.T) {
			l, err := Open(test.target)
			if err == nil {
				l.Close()
			}
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

func TestAutoScope(t *testing.T) {
	privileged(t)
	f := testforest.Start(t, `
		outside fork init newpid
		init fork a`)
	for name, want := range map[string]forest.Mode{
		"outside": forest.Subtree,
		"init":    forest.Container,
		"a":       forest.Subtree,
	} {
		if got := start(t, Target{PID: f.PID(name), Unwatched: true}).Mode(); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

// The test's parent contains the test.
func TestSubtreeWithSelf(t *testing.T) {
	l := start(t, Target{PID: os.Getppid(), Scope: Subtree, Unwatched: true})
	if _, err := l.Snapshot(context.Background()); !errors.Is(err, ErrSelf) {
		t.Errorf("got %v, want %v", err, ErrSelf)
	}
}

// The root keeps its identity when another of its threads execs, which makes
// that the leader, and loses it when it ends.
func TestRootExecsAndEnds(t *testing.T) {
	privileged(t)
	f := testforest.Start(t, `
		outside fork init newpid
		init fork a
		a thread a2
		a fork b`)
	l := start(t, Target{PID: f.PID("a"), Scope: Subtree})
	first := snapshot(t, l)
	if err := f.Run("a2 exec"); err != nil {
		t.Fatal(err)
	}
	second := snapshot(t, l)
	if first.Root == second.Root || len(second.Tasks) != 2 {
		t.Errorf("root %#x, then %#x; %d tasks, want 2", first.Root, second.Root, len(second.Tasks))
	}
	if c, err := l.Changes(); err != nil || c.Execs != 1 || c.Exits == 0 {
		t.Errorf("changes: %+v, %v", c, err)
	}
	if err := f.Run("host kill a2 KILL\ninit reap a2"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Snapshot(context.Background()); !errors.Is(err, ErrNoProcess) {
		t.Errorf("got %v, want %v", err, ErrNoProcess)
	}
}

func TestClosed(t *testing.T) {
	privileged(t)
	f := testforest.Start(t, "outside fork init newpid")
	l := start(t, Target{PID: f.Root()})
	for range 2 {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := l.Snapshot(context.Background()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Snapshot: got %v", err)
	}
	if _, err := l.Changes(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Changes: got %v", err)
	}
}

// Without privilege the error says which is missing.
func TestNotPermitted(t *testing.T) {
	privileged(t)
	cmd := helper("open", strconv.Itoa(os.Getppid()))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"permission error", "CAP_BPF and CAP_PERFMON", "CAP_SYS_ADMIN", release()} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is not in the message: %s", want, out)
		}
	}
}

// helpOpen opens a target and prints how it failed.
func helpOpen() int {
	pid, err := strconv.Atoi(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	_, err = Open(Target{PID: pid})
	var p *PermissionError
	if errors.As(err, &p) && errors.Is(err, ErrNotPermitted) {
		fmt.Println("permission error")
	}
	fmt.Println(err)
	return 0
}

func TestPermissionErrorWords(t *testing.T) {
	for _, test := range []struct {
		err  PermissionError
		want string
	}{
		{PermissionError{Op: "load", Missing: []string{"CAP_BPF"}, Release: "6.1", Err: syscall.EPERM},
			"load: not permitted: this process lacks CAP_BPF (or CAP_SYS_ADMIN instead) (kernel 6.1)"},
		{PermissionError{Op: "load", UserNS: true, Seccomp: true, Release: "6.1", Err: syscall.EPERM},
			"load: not permitted: it is in a user namespace, whose capabilities do not count for BPF; a seccomp filter is in force (kernel 6.1)"},
		{PermissionError{Op: "load", Lockdown: "confidentiality", Release: "6.1", Err: syscall.EPERM},
			"load: not permitted: kernel lockdown is confidentiality (kernel 6.1)"},
		{PermissionError{Op: "load", Release: "6.1", Err: syscall.EPERM},
			"load: not permitted: capabilities are held, lockdown is unknown: operation not permitted (kernel 6.1)"},
	} {
		if got := test.err.Error(); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

// What was prepared before there was a target sees it as Open does, once.
func TestPrepared(t *testing.T) {
	privileged(t)
	p, err := Prepare(Target{Scope: Container})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	f := testforest.Start(t, `
		outside fork init newpid
		init fork a
		a thread a2`)
	l, err := p.Open(f.Root())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	want := snapshot(t, start(t, Target{PID: f.Root(), Scope: Container}))
	if diff := cmp.Diff(want.Tasks, snapshot(t, l).Tasks); diff != "" {
		t.Errorf("- opened, + prepared:\n%s", diff)
	}
	if err := f.Run("a fork b"); err != nil {
		t.Fatal(err)
	}
	if c, err := l.Changes(); err != nil || c.Forks != 1 {
		t.Errorf("changes: %+v, %v", c, err)
	}
	if _, err := p.Open(f.Root()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("again: %v", err)
	}
	for name, pid := range map[string]int{"nobody": 1 << 30, "no init": f.PID("a")} {
		p, err := Prepare(Target{Scope: Container})
		if err != nil {
			t.Fatal(err)
		}
		if l, err := p.Open(pid); err == nil {
			t.Errorf("%s: no error", name)
			l.Close()
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}
