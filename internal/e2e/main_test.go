// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/internal/witness"
)

// pidgraft is the command under test.
var pidgraft = os.Getenv("PIDGRAFT")

// TestMain builds the command, unless PIDGRAFT names one, and looks for what
// the tests left behind.
func TestMain(m *testing.M) {
	flag.Parse()
	code, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func runTests(m *testing.M) (int, error) {
	if pidgraft == "" {
		dir, err := os.MkdirTemp("", "pidgraft-e2e")
		if err != nil {
			return 1, err
		}
		defer os.RemoveAll(dir)
		pidgraft = filepath.Join(dir, "pidgraft")
		cmd := exec.Command("go", "build", "-buildvcs=false", "-o", pidgraft, "../../cmd/pidgraft")
		if out, err := cmd.CombinedOutput(); err != nil {
			return 1, fmt.Errorf("build pidgraft: %w\n%s", err, out)
		}
	}
	// A detached forest becomes a child of this process, so whatever is left
	// at the end is seen as one.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 1, err
	}
	before, err := openFiles()
	if err != nil {
		return 1, err
	}
	code := m.Run()
	return code, errors.Join(leakedProcesses(), leakedFiles(before))
}

// leakedProcesses finds, and kills, what still runs below this process. Who has
// ended, as the coordinator of a detached restore does in its own time, is only
// to be reaped, which elsewhere pid 1 does.
func leakedProcesses() error {
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if _, err := unix.Wait4(-1, nil, unix.WNOHANG|unix.WALL, nil); errors.Is(err, unix.ECHILD) {
			return nil
		}
	}
	left, err := children(os.Getpid())
	if err != nil {
		return err
	}
	var errs []error
	for _, pid := range left {
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		errs = append(errs, fmt.Errorf("leaked process %d: %s (%q)", pid, comm(pid), cmdline))
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	return errors.Join(errs...)
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

// openFiles counts open descriptors by what they are.
func openFiles() (map[string]int, error) {
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		return nil, err
	}
	count := map[string]int{}
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil {
			continue // of the directory that was read
		}
		kind, _, _ := strings.Cut(target, ":")
		count[kind]++
	}
	return count, nil
}

func leakedFiles(before map[string]int) error {
	after, err := openFiles()
	if err != nil {
		return err
	}
	var errs []error
	for kind, n := range after {
		// The compiled puppet stays open for all tests; the runtime's own
		// descriptors are anonymous.
		if kind != "anon_inode" && !strings.HasPrefix(kind, "/") && n > before[kind] {
			errs = append(errs, fmt.Errorf("leaked %d descriptors of kind %s", n-before[kind], kind))
		}
	}
	return errors.Join(errs...)
}

// requireRoot skips where nothing here can run. The tests of a machine are run
// as root (make test), so CI fails instead.
func requireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("not root; CI runs as root")
	}
	t.Skip("needs root: BPF iterators, pid namespaces and set_tid")
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
	return finish(t, exec.Command(pidgraft, args...))
}

func finish(t testing.TB, cmd *exec.Cmd) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", strings.Join(cmd.Args, " "), err)
	}
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
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
		t.Cleanup(func() { reap(t, pid) })
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
