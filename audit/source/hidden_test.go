// SPDX-License-Identifier: Apache-2.0

package source_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/audit/hidden"
	"github.com/pidgraft/pidgraft/audit/source"
	"github.com/pidgraft/pidgraft/internal/churn"
	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/internal/testforest"
	"github.com/pidgraft/pidgraft/loader"
)

// apart runs a function on a thread of its own, in a mount namespace of its own,
// which both end with it.
func apart(t *testing.T, do func() error) {
	t.Helper()
	done := make(chan error)
	var run func()
	run = func() {
		// Not unlocked: the thread ends with the goroutine.
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// That of the process does not end, and /proc/self would show its
			// namespace from now on. It is held while another does it.
			defer runtime.UnlockOSThread()
			next := make(chan struct{})
			go func() {
				defer close(next)
				run()
			}()
			<-next
			return
		}
		err := unix.Unshare(unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = do()
		}
		done <- err
	}
	go run()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func checker(l *loader.Loader, views hidden.Views, whole bool) *hidden.Checker {
	caller, _ := l.Levels()
	return &hidden.Checker{Snapshot: l.Snapshot, Views: views, Level: caller, Whole: whole}
}

func openLoader(t *testing.T, target loader.Target) *loader.Loader {
	t.Helper()
	require.Root(t)
	require.Feature(t, require.BTF)
	target.Unwatched = true
	l, err := loader.Open(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// A process is hidden by what is mounted over its entry, or by how proc is
// mounted; the report says who sees it all the same.
func TestHidden(t *testing.T) {
	require.Root(t)
	f := testforest.Start(t, "outside fork init newpid\ninit fork a\ninit fork b\na setuid 1000")
	l := openLoader(t, loader.Target{PID: f.Root(), Scope: loader.Container})
	entry := fmt.Sprintf("/proc/%d", f.PID("a"))
	other := fmt.Sprintf("/proc/%d", f.PID("b"))
	empty := t.TempDir()
	for _, test := range []struct {
		name   string
		hide   func() (proc string, err error)
		unseen []string
	}{
		{"nothing", func() (string, error) { return "/proc", nil }, nil},
		{"an empty directory over it", func() (string, error) {
			return "/proc", unix.Mount(empty, entry, "", unix.MS_BIND, "")
		}, []string{hidden.OpenProc}},
		{"another process over it", func() (string, error) {
			return "/proc", unix.Mount(other, entry, "", unix.MS_BIND, "")
		}, []string{hidden.OpenProc}},
		{"hidepid", func() (string, error) {
			dir := t.TempDir()
			if err := unix.Mount("proc", dir, "proc", 0, "hidepid=ptraceable"); err != nil {
				return "", err
			}
			return dir, dropPtrace()
		}, []string{hidden.Readdir, hidden.OpenProc}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var found []hidden.Process
			apart(t, func() error {
				dir, err := test.hide()
				if err != nil {
					return err
				}
				views, err := source.OpenProc(dir)
				if err != nil {
					return err
				}
				defer views.Close()
				found, err = checker(l, views, false).Check(context.Background())
				return err
			})
			if len(test.unseen) == 0 {
				if len(found) > 0 {
					t.Errorf("found %+v", found)
				}
				return
			}
			i := slices.IndexFunc(found, func(p hidden.Process) bool { return int(p.Number) == f.PID("a") })
			// What hides the one from who lacks a privilege hides all that have it.
			if i < 0 || len(found) > 1 && test.name != "hidepid" || !slices.Equal(found[i].Unseen, test.unseen) {
				t.Fatalf("found %+v, want %d not seen by %q", found, f.PID("a"), test.unseen)
			}
			for _, view := range []string{hidden.IDR, hidden.Tasks, hidden.KillZero, hidden.PidfdOpen} {
				if !slices.Contains(found[i].Seen, view) {
					t.Errorf("not seen by %s: %+v", view, found[i])
				}
			}
		})
	}
}

// dropPtrace takes from this thread what sees through hidepid.
func dropPtrace() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	data[0].Effective &^= 1 << unix.CAP_SYS_PTRACE
	return unix.Capset(&header, &data[0])
}

// However fast processes come and go, none of them is called hidden.
func TestNoFalseAlarms(t *testing.T) {
	for _, whole := range []bool{false, true} {
		load := workload()
		w := churn.Random(t, 3, tasks, births, -1)
		target := loader.Target{PID: w.PID(), Scope: loader.Container}
		if whole {
			target = loader.Target{Scope: loader.Machine}
		}
		l := openLoader(t, target)
		views, err := source.OpenProc("/proc")
		if err != nil {
			t.Fatal(err)
		}
		defer views.Close()
		checks, alarms, unshown := 0, 0, map[int32]bool{}
		from, begun := cursor(t, l, w.PID()), time.Now()
		for end := time.Now().Add(load.duration); time.Now().Before(end); checks++ {
			found, err := checker(l, views, whole).Check(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range found {
				if unshown[p.Number] = !p.Hides(); p.Hides() {
					alarms++
					comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.Number))
					t.Errorf("%+v is called hidden; it is %q", p, comm)
				}
			}
		}
		born := float64(cursor(t, l, w.PID())-from) / time.Since(begun).Seconds()
		t.Logf("%d false alarms in %d checks beside %.0f births a second, %.0f s; whole machine %v; kept from BPF: %v",
			alarms, checks, born, time.Since(begun).Seconds(), whole, unshown)
		// The development machine keeps its pid 1, and no other.
		for nr := range unshown {
			if nr != 1 || !whole || sees(t, l, 1) {
				t.Errorf("process %d is called unshown", nr)
			}
		}
		w.Stop()
	}
}

// cursor is how far the numbers of the namespace of an init have come. It is young:
// they do not wrap.
func cursor(t *testing.T, l *loader.Loader, pid int) uint32 {
	t.Helper()
	s, err := l.Snapshot(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	caller, _ := l.Levels()
	for _, p := range s.Pids {
		if caller >= len(p.Numbers) || p.Numbers[caller] != int32(pid) {
			continue
		}
		for _, ns := range s.Namespaces {
			if ns.ID == p.Namespace {
				return ns.Cursor
			}
		}
	}
	t.Fatalf("no pass shows process %d", pid)
	return 0
}

// sees reports whether a snapshot shows the task with a number.
func sees(t *testing.T, l *loader.Loader, nr int32) bool {
	t.Helper()
	s, err := l.Snapshot(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	caller, _ := l.Levels()
	carried := make(map[uint64]bool)
	for i := range s.Tasks {
		carried[uint64(s.Tasks[i].Pid)] = true
	}
	for _, p := range s.Pids {
		if caller < len(p.Numbers) && p.Numbers[caller] == nr && carried[uint64(p.ID)] {
			return true
		}
	}
	return false
}
