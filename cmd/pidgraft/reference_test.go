// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/loader"
)

// TestReferences: a shell with a terminal and two children, a pipe that it owns
// and shares with this test, pidfds of and in it; all as the kernel says otherwise.
func TestReferences(t *testing.T) {
	tty, name := openTerminal(t)
	_, shared, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer shared.Close()
	self := pidfd(t, os.Getpid())

	cmd := exec.Command("sh", "-c", "sleep 1000 & sleep 1000 & echo; wait")
	cmd.Stdin = tty
	cmd.ExtraFiles = []*os.File{shared, self}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		_ = cmd.Wait()
	}()
	if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	sh := cmd.Process.Pid
	pidfd(t, sh)
	if _, err := unix.FcntlInt(shared.Fd(), unix.F_SETOWN, sh); err != nil {
		t.Fatal(err)
	}
	waitForNames(t, sh, "sleep", 2)

	f, err := look{pid: sh, scope: loader.Subtree, retries: retries, references: true}.take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []forest.Reference{
		{Object: 1, Kind: forest.TerminalSession, FD: forest.NoFD, Terminal: name},
		{Object: 1, Kind: forest.TerminalGroup, FD: forest.NoFD, Terminal: name},
		{Object: 1, Kind: forest.PIDFD, FD: forest.NoFD},
		{Object: 1, Kind: forest.OwnerProcess, FD: forest.NoFD},
	}
	for i := range f.Tasks {
		want = append(want,
			forest.Reference{Object: 1, Kind: forest.OwnerProcess, Holder: f.Tasks[i].Pid, FD: 3},
			forest.Reference{Object: forest.Outside, Kind: forest.PIDFD, Holder: f.Tasks[i].Pid, FD: 4})
	}
	if d := cmp.Diff(forest.SortReferences(want), f.References); d != "" {
		t.Errorf("references (-want +got):\n%s", d)
	}
	if len(f.Tasks) != 3 {
		t.Errorf("%d tasks, not a shell and two children", len(f.Tasks))
	}
	// The witnesses: this is the state that was meant.
	fields := strings.Fields(read(t, sh, "stat"))
	if fields[5] != fmt.Sprint(sh) || fields[7] != fmt.Sprint(sh) || fields[6] == "0" {
		t.Errorf("session %s, terminal %s, foreground group %s", fields[5], fields[6], fields[7])
	}
	if !strings.Contains(read(t, sh, "fdinfo/4"), fmt.Sprintf("\nPid:\t%d\n", os.Getpid())) {
		t.Errorf("descriptor 4 is no pidfd of this test:\n%s", read(t, sh, "fdinfo/4"))
	}

	// Who does not ask gets none.
	f, err = look{pid: sh, scope: loader.Subtree, retries: retries}.take(t.Context())
	if err != nil || len(f.References) > 0 {
		t.Errorf("unasked: %v, %v", f.References, err)
	}
}

// openTerminal makes a terminal and gives its slave, and the kernel's name of it.
func openTerminal(t *testing.T) (*os.File, string) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = master.Close() })
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tty.Close() })
	return tty, fmt.Sprintf("pts%d", n)
}

func pidfd(t *testing.T, pid int) *os.File {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func read(t *testing.T, pid int, file string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(pid), file))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// waitForNames waits until n children of a process have a name.
func waitForNames(t *testing.T, pid int, name string, n int) {
	t.Helper()
	for range 500 {
		have := 0
		for _, child := range strings.Fields(read(t, pid, fmt.Sprintf("task/%d/children", pid))) {
			if comm, err := os.ReadFile("/proc/" + child + "/comm"); err == nil && string(comm) == name+"\n" {
				have++
			}
		}
		if have == n {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("process %d does not get %d children named %s", pid, n, name)
}
