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

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore/plan"
	"github.com/pidgraft/pidgraft/restore/stub"
)

// run is a restore in progress.
type run struct {
	*program
	mem         *shared
	coordinator *coordinator
	pidfile     *pidfile // or nil
	init        *os.File // pidfd of the new namespace's first task
	root        *os.File // pidfd of the forest's root, once there is a commit
	next        int      // the restorer's own next operation
	endings     []uint32 // operations whose tasks must be seen to end

	committing atomic.Bool   // the decision is being made
	committed  chan struct{} // closed when the forest has been reported
}

// Run makes the forest f as p says: in a new pid namespace below the caller's,
// or if p was planned for that (plan.Options.Place) in the caller's own.
// All of it is there, verified and reported, or an error says why not and
// nothing is there: a CannotRunError, a TakenError, an OpError, a StallError, an
// InterruptedError, the error of Options.Verify or Options.Success, or that of
// ctx. A root that ended is not an error: see Result.Status.
func Run(ctx context.Context, f *forest.Forest, p *plan.Plan, opts Options) (Result, error) {
	opts.Progress.stage(StageBegin)
	if err := Preflight(f, p, opts); err != nil {
		return Result{}, err
	}
	return carryOut(ctx, f, p, opts)
}

// carryOut is Run without looking first.
func carryOut(ctx context.Context, f *forest.Forest, p *plan.Plan, opts Options) (Result, error) {
	if opts.Stall <= 0 {
		opts.Stall = DefaultStall
	}
	g, err := analyse(f, p, &opts)
	if err != nil {
		return Result{}, err
	}
	if inPlace(p) {
		if g.cgroup, err = newCgroup(); err != nil {
			return Result{}, err
		}
	}
	var file *pidfile
	if opts.Pidfile != "" {
		if file, err = newPidfile(opts.Pidfile); err != nil {
			return Result{}, err
		}
		defer file.close()
	}
	mem, err := share(g)
	if err != nil {
		return Result{}, err
	}
	defer mem.close()
	mem.plan.Pidfile = file.kind()
	c, err := startCoordinator(mem, &opts, file)
	if err != nil {
		return Result{}, err
	}
	defer c.close()

	r := &run{program: g, mem: mem, coordinator: c, pidfile: file,
		committed: make(chan struct{})}
	defer r.closeFiles()
	opts.Progress.of(r)
	defer opts.Progress.of(nil)
	ctx, stop := r.watchSignals(ctx)
	defer stop()

	pid, err := r.build(ctx)
	if err == nil {
		opts.Progress.stage(StageCommit)
		r.committing.Store(true) // from here on it is not to be interrupted
		err = r.commit(pid)
	}
	if err != nil {
		return Result{}, errors.Join(err, r.undo(), file.remove())
	}
	close(r.committed)
	opts.Progress.stage(StageLive)
	return r.finish(ctx, pid)
}

func (r *run) closeFiles() {
	for _, f := range []*os.File{r.init, r.root} {
		if f != nil {
			_ = f.Close()
		}
	}
}

// build does everything up to the commit and returns the root's number.
func (r *run) build(ctx context.Context) (int, error) {
	r.opts.Progress.stage(StageMake)
	if err := r.until(ctx, 50*time.Millisecond, r.allHeld); err != nil {
		return 0, err
	}
	r.opts.Progress.stage(StageEnd)
	r.endings = r.traced()
	if err := r.until(ctx, time.Millisecond, r.allEnded); err != nil {
		return 0, err
	}
	pid, err := r.numberOf(r.plan.Root)
	if err != nil {
		return 0, fmt.Errorf("the root of the new forest: %w", err)
	}
	if r.root, err = openPidfd(pid); err != nil {
		return 0, fmt.Errorf("the root of the new forest: %w", err)
	}
	if r.opts.Verify != nil {
		r.opts.Progress.stage(StageVerify)
		if err := r.opts.Verify(ctx, pid); err != nil {
			return 0, err
		}
	}
	if err := r.pidfile.write(pid); err != nil {
		return 0, err
	}
	if r.opts.Success != nil {
		line, err := r.opts.Success(pid)
		if err != nil {
			return 0, err
		}
		if most := r.opts.reportMax(); len(line) > most {
			return 0, fmt.Errorf("a report of %d bytes; at most %d fit", len(line), most)
		}
		r.mem.report(line)
	}
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	return pid, nil
}

// until waits for a condition, which is asked again whenever the bell rings
// and every so often. It gives up when something failed, the forest or the
// context ended, or nothing moves any more.
func (r *run) until(ctx context.Context, often time.Duration, condition func() (bool, error)) error {
	tick := time.NewTicker(often)
	defer tick.Stop()
	watch := newWatchdog(r.opts.Stall)
	for {
		if f := r.mem.failure(); f != nil {
			return r.explain(f)
		}
		if ok, err := condition(); ok || err != nil {
			return err
		}
		select {
		case <-r.coordinator.rings:
		case <-tick.C:
			if watch.stalled(r.mem) {
				return &StallError{Waiting: r.waiting(r.mem)}
			}
		case <-r.coordinator.ended:
			if f := r.mem.failure(); f != nil {
				return r.explain(f)
			}
			return r.lost()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// lost says how the forest ended before it should.
func (r *run) lost() error {
	if atomic.LoadUint32(&r.mem.plan.InitEnded) != 0 {
		return fmt.Errorf("the first task of the new namespace ended early (%s)",
			statusText(syscall.WaitStatus(r.mem.plan.InitStatus)))
	}
	return fmt.Errorf("the coordinating process ended early (%v)", r.coordinator.cmd.ProcessState)
}

// watchdog notices that nothing progresses.
type watchdog struct {
	limit time.Duration
	last  uint64
	since time.Time
}

func newWatchdog(limit time.Duration) *watchdog {
	return &watchdog{limit: limit, since: time.Now()}
}

func (w *watchdog) stalled(m *shared) bool {
	if now := m.progress(); now != w.last {
		w.last, w.since = now, time.Now()
	}
	return time.Since(w.since) > w.limit
}

// allHeld does the restorer's part of the plan as it becomes possible, and
// reports whether every task is in place.
func (r *run) allHeld() (bool, error) {
	if err := r.openInit(); err != nil {
		return false, err
	}
	if r.init == nil {
		return false, nil // it may run before its maker says its number
	}
	ops := r.plan.Actors[plan.Restorer].Ops
	for ; r.next < len(ops); r.next++ {
		op := &ops[r.next]
		for _, after := range op.After {
			if ok, err := r.happened(r.index(after)); !ok || err != nil {
				return false, err
			}
		}
		if err := r.do(op); err != nil {
			return false, err
		}
		r.mem.finish(r.index(plan.Ref{Actor: plan.Restorer, Op: int32(r.next)}))
	}
	return r.mem.held() == uint32(r.holds), nil
}

// happened reports whether an operation is done; an ending is when its task
// has ended.
func (r *run) happened(i uint32) (bool, error) {
	switch r.mem.state(i) {
	case stub.Done:
		return true, nil
	case stub.Leaving:
		whole := plan.Code(r.mem.ops[i].Code) != plan.ExitThread
		return taskGone(r.mem.trace(i), whole, r.mem.ops[i].Mark&stub.MarkLinger != 0)
	}
	return false, nil
}

// do carries out an operation of the restorer.
func (r *run) do(op *plan.Op) error {
	switch op.Code {
	case plan.WriteMaps:
		if err := r.writeMaps(op); err != nil {
			return fmt.Errorf("id maps of the user namespace of %s: %w", r.describe(int(op.Child)), err)
		}
	case plan.Kill:
		if err := r.kill(op); err != nil {
			return fmt.Errorf("kill %s: %w", r.describe(int(op.Child)), err)
		}
	}
	return nil
}

func (r *run) kill(op *plan.Op) error {
	pid, err := r.numberOf(int(op.Child))
	if err != nil {
		return err
	}
	// Nobody collects it before this, so the number is still its own.
	return unix.Kill(pid, unix.Signal(op.Signal))
}

// openInit takes hold of the first task as soon as there is one, so that it
// can be killed even when the coordinator is gone.
func (r *run) openInit() error {
	if r.init != nil || r.mem.state(birthIndex) != stub.Done {
		return nil
	}
	if r.cgroup != "" {
		f, err := r.holderFrom(r.mem.pid(plan.Init))
		r.init = f
		return err
	}
	f, err := openPidfd(r.mem.pid(plan.Init))
	if err == nil && !isFirst(f) {
		_ = f.Close()
		err = unix.ESRCH // a number given out again
	}
	if err != nil {
		return fmt.Errorf("the first task of the new namespace: %w", err)
	}
	r.init = f
	return nil
}

func openPidfd(pid int) (*os.File, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("pidfd_open %d: %w", pid, err)
	}
	return os.NewFile(uintptr(fd), "pidfd"), nil
}

// numberOf is the number of an actor with a pidfd in this namespace.
func (r *run) numberOf(actor int) (int, error) {
	if actor == plan.Init {
		return r.mem.pid(plan.Init), nil
	}
	return r.coordinator.hostPid(r.mem.pidfd(actor))
}

func (r *run) writeMaps(op *plan.Op) error {
	u := &r.forest.UserNamespaces[op.Number]
	maps := mapsOf(u)
	pid, err := r.numberOf(int(op.Child))
	if err != nil {
		return err
	}
	if u.Parent == 0 {
		return maps.write(pid)
	}
	return maps.writeInside(pid)
}

// allEnded reports whether every task that was to end has done so: what no
// other task waits for may still be on its way.
func (r *run) allEnded() (bool, error) {
	for ; len(r.endings) > 0; r.endings = r.endings[1:] {
		if ok, err := r.happened(r.endings[0]); !ok || err != nil {
			return false, err
		}
	}
	for ; len(r.lingering) > 0; r.lingering = r.lingering[1:] {
		pid, err := r.numberOf(int(r.lingering[0]))
		if err != nil {
			return false, err
		}
		if ok, err := taskGone(fmt.Sprintf("/proc/%d/stat", pid), true, true); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

// traced are the operations whose effect allEnded looks for.
func (r *run) traced() []uint32 {
	var list []uint32
	for i := range r.mem.ops {
		if r.mem.ops[i].Mark&stub.MarkTrace != 0 {
			list = append(list, uint32(i))
		}
	}
	return list
}
