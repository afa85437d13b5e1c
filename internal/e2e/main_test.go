// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/internal/alone"
	"github.com/pidgraft/pidgraft/internal/leak"
	"github.com/pidgraft/pidgraft/internal/testforest"
	"github.com/pidgraft/pidgraft/internal/witness"
)

// pidgraft is the command under test.
var pidgraft = os.Getenv("PIDGRAFT")

// TestMain builds the command, unless PIDGRAFT names one. A detached forest
// becomes a child of this process, so what is left of one at the end is seen.
func TestMain(m *testing.M) {
	if alone.Inside() {
		os.Exit(m.Run()) // what it leaves, its namespace takes along
	}
	os.Exit(leak.Checked(built{m}, testforest.Close).Run())
}

// built are tests that have the command.
type built struct{ tests leak.Tests }

func (b built) Run() int {
	if pidgraft == "" {
		dir, err := os.MkdirTemp("", "pidgraft-e2e")
		if err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
			return 1
		}
		defer os.RemoveAll(dir)
		pidgraft = filepath.Join(dir, "pidgraft")
		cmd := exec.Command("go", "build", "-buildvcs=false", "-o", pidgraft, "../../cmd/pidgraft")
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "e2e: build pidgraft: %v\n%s", err, out)
			return 1
		}
	}
	return b.tests.Run()
}

// comm is the name of a process, empty if it is gone.
func comm(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return string(bytes.TrimSuffix(text, []byte("\n")))
}

// children lists the children of all threads of a process.
func children(pid int) ([]int, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil, err
	}
	var found []int
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue // the thread ended
		}
		if err != nil {
			return nil, err
		}
		for word := range strings.FieldsSeq(string(text)) {
			n, err := strconv.Atoi(word)
			if err != nil {
				return nil, err
			}
			found = append(found, n)
		}
	}
	return found, nil
}

// requireProgram finds a program that `make test` installs.
func requireProgram(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is not installed (make test-deps): %v", name, err)
	}
	return path
}

// outcome is what a command left.
type outcome struct {
	code           int
	stdout, stderr string
}

// command runs pidgraft to its end.
func command(t testing.TB, args ...string) outcome {
	t.Helper()
	cmd := exec.Command(pidgraft, args...)
	// As from a shell with job control: what leads its group is not what
	// leads its session.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return finish(t, cmd)
}

func finish(t testing.TB, cmd *exec.Cmd) outcome {
	t.Helper()
	o, err := run(cmd)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func run(cmd *exec.Cmd) (outcome, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// Who has its output after its end ends soon, on a machine that is busy, too.
	cmd.WaitDelay = 20 * time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return outcome{}, fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
	}
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}, nil
}

// must is command, for what has to succeed.
func must(t testing.TB, args ...string) string {
	t.Helper()
	o := command(t, args...)
	if o.code != 0 {
		t.Fatalf("pidgraft %s: exit code %d\n%s", strings.Join(args, " "), o.code, o.stderr)
	}
	if o.stderr != "" {
		t.Errorf("pidgraft %s says on stderr: %s", strings.Join(args, " "), o.stderr)
	}
	return o.stdout
}

// testimony is what /proc says of a forest.
func testimony(t testing.TB, root int) *witness.Forest {
	t.Helper()
	f, err := witness.Read(root)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// restored restores an image, detached, and gives the number of the forest's
// root. It dies with the test.
func restored(t testing.TB, image string, flags ...string) int {
	t.Helper()
	before, err := children(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	out := must(t, append(append([]string{"restore", "-d"}, flags...), image)...)
	pid, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil {
		t.Fatalf("restore -d printed %q", out)
	}
	dieWithTest(t, before)
	return pid
}

// dieWithTest kills, when the test is over, what has become a child of this
// process since it had those before, and reaps it: the first task of a restored
// forest, and whoever entered its namespace from outside.
func dieWithTest(t testing.TB, before []int) {
	t.Helper()
	now, err := children(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range now {
		if slices.Contains(before, pid) {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			t.Fatalf("pidfd_open %d: %v", pid, err)
		}
		// Last in, first out: all are killed before the first is waited for.
		t.Cleanup(func() { reapWith(t, pid, before) })
		defer t.Cleanup(func() {
			defer unix.Close(fd)
			if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
				t.Errorf("kill process %d: %v", pid, err)
			}
		})
	}
}

// reap waits for a child to end.
func reap(t testing.TB, pid int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		n, err := unix.Wait4(pid, nil, unix.WNOHANG, nil)
		if n == pid || errors.Is(err, unix.ECHILD) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d does not end though it was killed", pid)
		}
	}
}

// reapWith is reap, and collects what this process adopts meanwhile, beyond the
// children it had before: zombies that entered the namespace of pid keep that
// from ending.
func reapWith(t testing.TB, pid int, before []int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		now, err := children(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		for _, child := range now {
			if child != pid && !slices.Contains(before, child) {
				_, _ = unix.Wait4(child, nil, unix.WNOHANG, nil)
			}
		}
		n, err := unix.Wait4(pid, nil, unix.WNOHANG, nil)
		if n == pid || errors.Is(err, unix.ECHILD) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d does not end though it was killed", pid)
		}
	}
}
