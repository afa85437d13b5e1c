// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore/model"
	"github.com/pidgraft/pidgraft/restore/plan"
)

// planned is a script with the plan for the forest that history makes below a
// root that the outsider forks.
func planned(t *testing.T, mode forest.Mode, history func(k *model.Kernel, root model.TaskID)) *script {
	t.Helper()
	requireRoot(t)
	k := model.New()
	args := model.CloneArgs{ExitSignal: forest.SIGCHLD}
	if mode == forest.Container {
		args.Flags = model.NewPID
	}
	root, errno := k.Clone(model.Outsider, args)
	if errno != 0 {
		t.Fatal(errno, k.Why())
	}
	history(k, root)
	f, err := k.Forest(root, mode)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Plan(f, plan.Options{PidMax: 32768, OwnPidMax: true})
	if err != nil {
		t.Fatal(err)
	}
	return &script{t: t, forest: f, plan: p}
}

func subreaper(t *testing.T, on uintptr) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, on, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
}

func stateOf(pid int) string {
	p, ok := readTask(fmt.Sprintf("/proc/%d", pid))
	if !ok {
		return "gone"
	}
	return p.state
}

// A root that is stopped must not keep the report's pipe: whoever reads it waits
// for its end.
func TestStoppedRootCloses(t *testing.T) {
	s := planned(t, forest.Container, func(k *model.Kernel, root model.TaskID) {
		k.Kill(model.Outsider, root, int32(unix.SIGSTOP))
	})
	for range 100 {
		out, in := pipe(t, 10*time.Second)
		res, err := Run(context.Background(), s.forest, s.plan, Options{Detach: true, Stdout: in, Success: report})
		if err != nil {
			t.Fatal(err)
		}
		in.Close()
		files := countFiles(t, res.PID)
		killRoot(t, res.PID)
		out.Close()
		if files > 0 {
			t.Fatalf("the stopped root has %d files open", files)
		}
	}
}

// A root that is the first task is stopped after the commit; detaching must
// not wake it, nor a stopped child, though both are in a group of their own.
func TestStoppedRoot(t *testing.T) {
	s := planned(t, forest.Container, func(k *model.Kernel, root model.TaskID) {
		k.Setpgid(root, 0, 0)
		child, _ := k.Fork(root)
		k.Kill(model.Outsider, child, int32(unix.SIGSTOP))
		k.Kill(model.Outsider, root, int32(unix.SIGSTOP))
		k.WaitStopped(model.Outsider, root)
	})
	t.Run("detached", func(t *testing.T) {
		s.t = t
		// In another session than its new parent, or no group is orphaned.
		subreaper(t, 0)
		defer subreaper(t, 1)
		res, err := Run(context.Background(), s.forest, s.plan, Options{Detach: true})
		if err != nil {
			t.Fatal(err)
		}
		defer killRoot(t, res.PID)
		for number, p := range below(t, res.PID) {
			if p.state != "T" {
				t.Errorf("task %s is %s, not stopped", number, p.state)
			}
		}
	})
	t.Run("foreground", func(t *testing.T) {
		s.t = t
		status := foreground(t, s, Options{}, func(_ chan<- os.Signal, pid int) {
			eventually(t, "the root is stopped", func() bool { return stateOf(pid) == "T" })
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				t.Error(err)
			}
		})
		if status.Signal() != unix.SIGKILL {
			t.Errorf("the root's status is %#x, not a death by SIGKILL", status)
		}
	})
}

// A root that has ended stays a zombie below the holder while detached; in the
// foreground its status is that of the restore.
func TestEndedRoot(t *testing.T) {
	s := planned(t, forest.Subtree, func(k *model.Kernel, root model.TaskID) { k.ExitGroup(root, 41) })
	t.Run("detached", func(t *testing.T) {
		s.t = t
		res, err := Run(context.Background(), s.forest, s.plan, Options{Detach: true})
		if err != nil {
			t.Fatal(err)
		}
		p, ok := readTask(fmt.Sprintf("/proc/%d", res.PID))
		if !ok || p.state != "Z" || exitCode(t, p.host) != 41<<8 {
			t.Fatalf("the root is %+v, not a zombie with exit code 41", p)
		}
		if err := unix.Kill(p.ppid, unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		eventually(t, "root and holder are gone", func() bool { return stateOf(res.PID) == "gone" })
	})
	t.Run("foreground", func(t *testing.T) {
		s.t = t
		res, err := Run(context.Background(), s.forest, s.plan, Options{})
		if err != nil || res.Status != syscall.WaitStatus(41<<8) {
			t.Errorf("status %#x (%v), want exit code 41", res.Status, err)
		}
	})
}
