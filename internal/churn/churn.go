// SPDX-License-Identifier: Apache-2.0

// Package churn runs pid namespaces in which something goes on, for tests of
// the auditor: births at a rate, or everything that tasks can do to pids, at
// random. internal/testforest is for forests that a test knows all about.
package churn

import (
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"github.com/pidgraft/pidgraft/internal/require"
)

//go:embed program/churn.c
var source []byte

// Env names the program built elsewhere, for machines without a compiler.
const Env = "PIDGRAFT_CHURN"

// program is the compiled churn.c, without a name, so that nothing is left
// behind however the test ends.
var program = sync.OnceValues(func() (*os.File, error) {
	if path := os.Getenv(Env); path != "" {
		return os.Open(path)
	}
	dir, err := os.MkdirTemp("", "churn")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "churn")
	if err := Compile(path, ""); err != nil {
		return nil, err
	}
	return os.Open(path)
})

// Close gives back what is kept for all tests.
func Close() error {
	f, err := program()
	if err != nil {
		return nil // nothing is kept
	}
	return f.Close()
}

// Compile makes, with the compiler cc or else $CC or gcc, the program that Env may
// name. It is static.
func Compile(path, cc string) error {
	if cc == "" {
		cc = os.Getenv("CC")
	}
	if cc == "" {
		cc = "gcc"
	}
	cmd := exec.Command(cc, "-O2", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", "-static", "-o", path, "-x", "c", "-")
	cmd.Stdin = bytes.NewReader(source)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compile churn.c with %s: %w\n%s", cc, err, out)
	}
	return nil
}

// Churn is a running namespace.
type Churn struct {
	cmd  *exec.Cmd
	life io.Closer
}

// Births starts a namespace with so many births a second, each of a child that
// exits at once. It ends with the test.
func Births(t testing.TB, rate int) *Churn {
	return start(t, -1, "births", strconv.Itoa(rate))
}

// Random starts a namespace with about so many tasks, which fork, exit, exec,
// make threads, sessions, groups and namespaces and enter these, at random, and
// with births beside them at a rate, as by Births. A cgroup, if not negative, is
// the descriptor of one that they are to be in. It ends with the test.
//
// In a guest, whose one processor is many times slower, there are a sixth of the
// tasks, which do a fifth as much, and a twentieth of the births: or they would be
// all that it does.
func Random(t testing.TB, seed int64, tasks, rate, cgroup int) *Churn {
	pace := 1
	if require.InGuest() {
		pace = 5
		tasks, rate = max(tasks/6, 1), rate/20
	}
	return start(t, cgroup, "random", strconv.FormatInt(seed, 10), strconv.Itoa(tasks), strconv.Itoa(rate), strconv.Itoa(pace))
}

func start(t testing.TB, cgroup int, args ...string) *Churn {
	t.Helper()
	f, err := program()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), args...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	if cgroup >= 0 {
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, cgroup
	}
	life, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	// The parent-death signal is the thread's.
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &Churn{cmd, life}
	t.Cleanup(c.Stop)
	return c
}

// PID is the init of the namespace.
func (c *Churn) PID() int { return c.cmd.Process.Pid }

// Stop ends it, with everything in it. It may be called twice.
func (c *Churn) Stop() {
	c.life.Close()
	// An init that is told to end takes all others along; one that does not
	// listen is made to.
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}
