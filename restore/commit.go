// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/restore/plan"
)

// commit lets the forest live. It returns when the first task has reported
// success, or an error when that can no longer happen.
func (r *run) commit(pid int) error {
	if err := r.coordinator.commit(); err != nil {
		<-r.coordinator.ended // nobody reads: it has ended or is about to
		return r.lost()
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !r.mem.committed() {
		if pidfdEnded(int(r.init.Fd())) && !r.mem.committed() {
			if f := r.mem.failure(); f != nil {
				return r.explain(f)
			}
			return fmt.Errorf("process %d, the root of the new forest, ended before success could be reported", pid)
		}
		if r.pidfile != nil && !r.pidfile.there && r.mem.leaves() {
			if err := r.pidfile.publish(); err != nil {
				return err
			}
			r.mem.named()
		}
		select {
		case <-r.coordinator.rings:
		case <-tick.C:
		}
	}
	return nil
}

// finish waits for the coordinator: detached it leaves at once, else when the
// root has ended. A cancelled context ends the forest then.
func (r *run) finish(ctx context.Context, pid int) (Result, error) {
	result := Result{PID: pid}
	if r.opts.Detach {
		<-r.coordinator.ended
		if r.cgroup != "" {
			cgroupGone(r.cgroup, time.Second) // its guard may still be at it
		}
		return result, nil
	}
	select {
	case <-r.coordinator.ended:
	case <-ctx.Done():
		err := r.undo()
		return result, errors.Join(context.Cause(ctx), err)
	}
	m := r.mem.plan
	switch {
	case atomic.LoadUint32(&m.RootEnded) != 0:
		result.Status = syscall.WaitStatus(m.RootStatus)
	case atomic.LoadUint32(&m.InitEnded) != 0:
		result.Status = syscall.WaitStatus(m.InitStatus)
	default:
		return result, fmt.Errorf("the process that waited for the root %d was ended (%v); how the root fares is not known",
			pid, r.coordinator.cmd.ProcessState)
	}
	return result, nil
}

// undo ends whatever there is of the forest and waits until it is gone.
func (r *run) undo() error {
	r.coordinator.abandon()
	limit := time.NewTimer(undoLimit + time.Duration(len(r.plan.Actors))*time.Millisecond)
	defer limit.Stop()
	if r.init != nil {
		// also when the coordinator is stopped or gone
		_ = unix.PidfdSendSignal(int(r.init.Fd()), unix.SIGKILL, nil, 0)
	}
	if r.cgroup != "" {
		return r.undoInPlace(limit.C)
	}
	select {
	case <-r.coordinator.ended:
	case <-limit.C:
		return fmt.Errorf("process %d, which clears up, does not end: look at its children", r.coordinator.cmd.Process.Pid)
	}
	if r.init == nil && r.mem.state(birthIndex) != 0 {
		_ = r.openInit()
	}
	for r.init != nil && !pidfdEnded(int(r.init.Fd())) {
		select {
		case <-time.After(time.Millisecond):
		case <-limit.C:
			return fmt.Errorf("process %d, the first task of the new namespace, does not end", r.mem.pid(plan.Init))
		}
	}
	return nil
}

// watchSignals gives a context that ends with an InterruptedError on a signal
// that ends programs. Signals during the commit are kept until it is over;
// after it they are the root's.
func (r *run) watchSignals(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case sig := <-r.opts.Signals:
				if !r.committing.Load() {
					if ends(sig) {
						cancel(&InterruptedError{Signal: sig})
					}
					continue
				}
				select {
				case <-r.committed:
					r.forward(sig)
				case <-stop:
					return
				}
			}
		}
	}()
	return ctx, func() {
		close(stop)
		<-stopped
		cancel(nil)
	}
}

func ends(sig os.Signal) bool {
	switch sig {
	case unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT:
		return true
	}
	return false
}

// forward passes a signal on to the root; those that are about this process
// itself stay here.
func (r *run) forward(sig os.Signal) {
	s, ok := sig.(syscall.Signal)
	if !ok || s == unix.SIGCHLD || s == unix.SIGURG || s == unix.SIGPIPE || r.root == nil {
		return
	}
	_ = unix.PidfdSendSignal(int(r.root.Fd()), s, nil, 0)
}

func statusText(s syscall.WaitStatus) string {
	if s.Signaled() {
		return fmt.Sprintf("killed by %s", unix.SignalName(s.Signal()))
	}
	return fmt.Sprintf("exit code %d", s.ExitStatus())
}
