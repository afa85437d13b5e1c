// SPDX-License-Identifier: Apache-2.0

package testforest

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

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
