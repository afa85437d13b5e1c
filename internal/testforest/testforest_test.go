// SPDX-License-Identifier: Apache-2.0

package testforest

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/internal/leak"
	"github.com/pidgraft/pidgraft/internal/require"
)

func TestMain(m *testing.M) { os.Exit(leak.Checked(m, Close).Run()) }

func TestSamplesAreBuilt(t *testing.T) {
	require.Root(t)
	for _, s := range Samples() {
		t.Run(s.Name, func(t *testing.T) {
			f := Start(t, s.Script)
			if err := unix.Kill(f.Root(), 0); err != nil {
				t.Errorf("root task %d: %v", f.Root(), err)
			}
		})
	}
}

func TestNumbersAreThoseOfTheTest(t *testing.T) {
	require.Root(t)
	f := Start(t, `
		outside fork init newpid
		init fork a
		a thread t num=50
		init fork n newpid
		n fork b`)
	for name, want := range map[string]string{"init": "1", "t": "50", "b": "4 2"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", f.PID(name)))
		if err != nil {
			t.Fatal(err)
		}
		if comm := statusField(text, "Name"); comm != name {
			t.Errorf("task %d is called %q, not %q", f.PID(name), comm, name)
		}
		got := strings.Join(strings.Fields(statusField(text, "NSpid")), " ")
		if !strings.HasSuffix(got, " "+want) {
			t.Errorf("%s: NSpid is %q, should end in %q", name, got, want)
		}
	}
}

func TestErrorsAreTheKernels(t *testing.T) {
	require.Root(t)
	f := Start(t, "outside fork init newpid\ninit fork a")
	for line, want := range map[string]unix.Errno{
		"init fork b num=2":   unix.EEXIST,
		"init fork b num=0":   unix.EINVAL,
		"init reap init":      unix.ECHILD,
		"a setpgid self init": unix.EPERM,
	} {
		if err := f.Do(line); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", line, err, want)
		}
	}
	if err := f.Do("init fork b"); err != nil {
		t.Errorf("a failed fork must leave its name free: %v", err)
	}
}

func TestExecOfThread(t *testing.T) {
	require.Root(t)
	f := Start(t, `
		outside fork init newpid
		init fork a
		a thread t`)
	leader := f.PID("a")
	if err := f.Do("t exec"); err != nil {
		t.Fatal(err)
	}
	if f.PID("t") != leader {
		t.Errorf("after exec the thread is task %d, not its leader %d", f.PID("t"), leader)
	}
	if err := f.Do("t fork b"); err != nil {
		t.Error(err)
	}
	if err := f.Do("a fork c"); err == nil {
		t.Error("the old leader still makes calls")
	}
}

// What a task does to itself or its namespace is seen by asking it.
func TestAttributes(t *testing.T) {
	require.Root(t)
	f := Start(t, `
		outside fork init newpid
		init fork a
		a subreaper 1
		a pdeath TERM
		init last-pid 40
		init fork b`)
	if OwnPidMax() {
		if err := f.Do("b pid-max 400"); err != nil {
			t.Fatal(err)
		}
	}
	a, err := f.Attributes("a")
	if err != nil {
		t.Fatal(err)
	}
	if !a.Subreaper || a.Pdeath != int32(unix.SIGTERM) || a.LastPid != "41" || OwnPidMax() && a.PidMax != "400" {
		t.Errorf("a says %+v", a)
	}
}

// Ways to end that an init cannot ignore, and others.
func TestEnds(t *testing.T) {
	require.Root(t)
	f := Start(t, `
		outside fork init newpid
		init fork a newpid
		a fault SEGV
		init fork b newpid
		b fault ILL
		init fork s newpid
		s fault SYS
		init fork c newpid
		c reboot hup
		init fork d newpid
		d reboot int
		init fork e
		e kill e TERM
		init fork g
		g fork h sig=KILL
		h exit 0
		init fork k
		k ignore CHLD ign
		k fork l
		l exit 0
		k ignore CHLD nocldwait
		k fork m
		m exit 0`)
	// As wait has it. In /proc 5.10 shows 0 for who ended by reboot.
	for name, want := range map[string]unix.Signal{
		"a": unix.SIGSEGV, "b": unix.SIGILL, "s": unix.SIGSYS, "c": unix.SIGHUP, "d": unix.SIGINT,
		"e": unix.SIGTERM, "g": unix.SIGKILL,
	} {
		if got := waited(t, f, "init", name); !got.Signaled() || got.Signal() != want {
			t.Errorf("%s ended with status %#x, want signal %d", name, got, want)
		}
	}
	for _, name := range []string{"l", "m"} {
		if err := f.Do("k reap " + name); err == nil {
			t.Errorf("%s was there to be reaped", name)
		}
	}
	if err := f.Do("outside reboot hup"); err == nil {
		t.Error("the test's own namespace may be rebooted")
	}
	// A clone that fails late, as the first in its namespace, spoils it.
	if err := f.Do("init fork x fail"); !errors.Is(err, unix.EFAULT) {
		t.Errorf("a clone that is to fail late: %v", err)
	}
	if err := f.Run("init fork y\ny unshare pid"); err != nil {
		t.Fatal(err)
	}
	if err := f.Do("y fork z fail"); !errors.Is(err, unix.EFAULT) {
		t.Errorf("the first clone in a namespace: %v", err)
	}
	if err := f.Do("y fork z"); !errors.Is(err, unix.ENOMEM) {
		t.Errorf("a clone in a spoilt namespace: %v, want ENOMEM", err)
	}
}

// waited is the status by which a parent collects a child.
func waited(t *testing.T, f *Forest, parent, child string) unix.WaitStatus {
	t.Helper()
	a, b := f.actors[parent], f.actors[child]
	n, err := a.sees(b)
	if err != nil {
		t.Fatal(err)
	}
	got, err := a.call(unix.SYS_WAIT4, n, dataAddr(a.number), unix.WNOHANG|unix.WALL)
	if err != nil || got != n {
		t.Fatalf("wait4 of %s: %d, %v", child, got, err)
	}
	return *(*unix.WaitStatus)(unsafe.Pointer(&a.slot.data))
}

func TestKillLeavesNothing(t *testing.T) {
	require.Root(t)
	f := Start(t, `
		outside fork init newpid
		init fork a
		outside fork top
		top fork b
		host kill b STOP
		top exit 0`)
	names := []string{"outside", "init", "a", "b", "top"}
	var pids []int
	for _, name := range names {
		pids = append(pids, f.PID(name))
	}
	if err := f.Kill(); err != nil {
		t.Fatal(err)
	}
	for i, pid := range pids {
		if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
			t.Errorf("%s (task %d) is still there: %v", names[i], pid, err)
		}
	}
}

// A ghost's number is taken, that of a task that is gone is not.
func TestExists(t *testing.T) {
	require.Root(t)
	f := Start(t, `
		outside fork init newpid
		init fork a
		a setsid
		a fork b
		b thread c`)
	ghost, thread := f.PID("a"), f.PID("c")
	if err := f.Run("a exit 0\ninit reap a\nc exit-thread 0"); err != nil {
		t.Fatal(err)
	}
	if ok, err := f.Exists(ghost); err != nil || !ok {
		t.Errorf("the ghost exists: %v, %v", ok, err)
	}
	for range 1000 {
		if ok, err := f.Exists(thread); err == nil && !ok {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Error("the number of a thread that ended is not given back")
}
