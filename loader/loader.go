// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/bpf"
	"github.com/pidgraft/pidgraft/collector"
	"github.com/pidgraft/pidgraft/forest"
)

// Scope is what of the machine a Loader looks at.
type Scope uint8

const (
	// Auto is Container if the process is the init of a pid namespace below
	// the caller's, else Subtree.
	Auto Scope = iota
	// Container: every task that has a number in the namespace that the
	// process is the init of.
	Container
	// Subtree: the process and its descendants.
	Subtree
	// Machine: every task of the caller's own pid namespace. There is no
	// root task.
	Machine
)

// The same in BPF (bpf/target.h, enum target_mode).
var targetModes = map[Scope]uint32{Container: 0, Subtree: 1, Machine: 2}

// Target says what to look at.
type Target struct {
	// PID is the root process, by its number in the caller's pid namespace.
	// Not used with Machine.
	PID   int
	Scope Scope
	// Unwatched leaves out the watchers, so that Changes stays at zero: for
	// a target that is frozen, or when one pass is enough. While they are
	// attached every system call of the machine takes the slow path.
	Unwatched bool
	// References also looks for who else holds pid objects: terminals, and
	// open files, all of the machine's. It takes about 0.3 µs for each file.
	References bool
	// Types, if not nil, are used instead of what the kernel says of itself
	// in /sys/kernel/btf/vmlinux.
	Types *Types
}

// Loader is a target under observation. It implements collector.Source. Its
// methods may be called from several goroutines; passes are made one at a time.
type Loader struct {
	mu   sync.Mutex
	coll *ebpf.Collection
	iter *link.Iter
	ring *ringbuf.Reader
	// pidfd keeps the root's pid object, and with it the object's
	// namespaces, from being freed: their addresses stay theirs. -1 with
	// Machine.
	pidfd    int
	pid      int // the root's number here; with Machine this process's
	scope    Scope
	target   bpf.PidsTarget
	watchers map[string]*ebpf.Program // by their names
	watching []link.Link              // at the first of the variable watched
	// references are the iterators that look for them, if that was asked for.
	references []*link.Iter
	passes     uint32
	last       *collector.Snapshot // what the last pass showed
	second     *ringbuf.Reader     // of the lane that walks a large idr beside the first, or nil
	parts      []part              // of the last pass, if that was divided
	walkErr    error
	seen       atomic.Int64 // tasks of the pass, as of the last time the ring was emptied

	spec   *ebpf.CollectionSpec
	kernel *btf.Spec   // the types that the programs are fitted to
	cast   castNumbers // of the running kernel
	types  *btf.Cache  // and those that they attach to
}

var _ collector.Source = (*Loader)(nil)

// Open loads the programs, finds the target and begins to watch it.
//
// The root process is found without a race: a pidfd is opened first, then the
// programs look for that number in the caller's namespace and note its pid
// object, then the pidfd must still name a process. A number cannot pass to
// another process while the first has not been reaped, so the object is the
// pidfd's.
//
// Errors: ErrNoProcess, ErrNotVisible, ErrNotInit, ErrSelf, ErrNotPermitted (a
// *PermissionError), ErrNoBTF, ErrUnsupported.
func Open(target Target) (*Loader, error) {
	return open(target, 0)
}

func open(target Target, ringBytes uint32) (_ *Loader, err error) {
	l := &Loader{pidfd: -1, scope: target.Scope}
	defer func() {
		if err != nil {
			l.Close()
		}
	}()
	// Who is not there needs no programs.
	if err := l.pin(target); err != nil {
		return nil, err
	}
	if err := l.prepare(target, ringBytes, true); err != nil {
		return nil, err
	}
	if err := l.begin(target); err != nil {
		return nil, err
	}
	return l, nil
}

// begin looks at the target with what prepare has made ready.
func (l *Loader) begin(target Target) error {
	if err := l.find(); err != nil {
		return err
	}
	if err := l.choose(target.PID); err != nil {
		return err
	}
	if err := l.need(programsOf(l.scope)...); err != nil {
		return err
	}
	if target.References {
		if err := l.needReferences(); err != nil {
			return err
		}
	}
	if target.Unwatched {
		return nil
	}
	return l.needWatchers(true)
}

// pin opens a pidfd of the process. With Machine it is about none.
func (l *Loader) pin(target Target) error {
	pid := target.PID
	if target.Scope == Machine {
		l.pid = os.Getpid()
		return nil
	}
	if pid == os.Getpid() {
		return fmt.Errorf("process %d: %w", pid, ErrSelf)
	}
	if pid <= 0 {
		return fmt.Errorf("process %d: %w: numbers begin with 1", pid, ErrNoProcess)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	switch {
	case errors.Is(err, unix.ESRCH):
		return fmt.Errorf("process %d: %w", pid, ErrNoProcess)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
		// EINVAL up to 6.15 or so, ENOENT since.
		return fmt.Errorf("process %d: %w: the number is a thread's, or left over as a group or session", pid, ErrNoProcess)
	case errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("open a pidfd: %w (kernel %s; pidfd_open came with 5.3)", ErrUnsupported, release())
	case err != nil:
		return explain(fmt.Sprintf("open a pidfd of process %d", pid), err)
	}
	l.pidfd, l.pid = fd, pid
	return nil
}

// alive reports whether the root process has not been reaped.
func (l *Loader) alive() bool {
	return l.pidfd < 0 || !errors.Is(unix.PidfdSendSignal(l.pidfd, 0, nil, 0), unix.ESRCH)
}

// choose decides the scope, and refuses those that the target does not fit.
func (l *Loader) choose(pid int) error {
	init := l.target.Nr == 1 && l.target.Level > l.target.ReaderLevel
	switch l.scope {
	case Auto:
		l.scope = Subtree
		if init {
			l.scope = Container
		}
	case Container:
		if l.target.Nr == 1 && l.target.Level == l.target.ReaderLevel {
			return fmt.Errorf("process %d is the init of the caller's own pid namespace: %w", pid, ErrSelf)
		}
		if !init {
			return fmt.Errorf("process %d: %w: it is number %d, %d levels below the caller's; dump it as a subtree",
				pid, ErrNotInit, l.target.Nr, l.target.Level-l.target.ReaderLevel)
		}
	}
	l.target.Mode = targetModes[l.scope]
	return l.set(bpf.PidsVarTarget, &l.target)
}

// Mode is how the target is taken; what Auto chose. Of a Machine it means
// nothing.
func (l *Loader) Mode() forest.Mode {
	if l.scope == Container {
		return forest.Container
	}
	return forest.Subtree
}

// WalkError says why this kernel cannot walk a namespace's idr, so that
// snapshots have Walked false; nil if it can.
func (l *Loader) WalkError() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.walkErr
}

// Close ends the observation and frees everything. It may be called twice.
func (l *Loader) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	errs := []error{l.unwatch()}
	for _, w := range l.watchers {
		errs = append(errs, w.Close())
	}
	l.watchers = nil
	for _, it := range l.references {
		errs = append(errs, it.Close())
	}
	l.references = nil
	if l.iter != nil {
		errs = append(errs, l.iter.Close())
		l.iter = nil
	}
	if l.ring != nil {
		errs = append(errs, l.ring.Close())
		l.ring = nil
	}
	if l.second != nil {
		errs = append(errs, l.second.Close())
		l.second = nil
	}
	if l.coll != nil {
		l.coll.Close()
		l.coll = nil
	}
	if l.pidfd >= 0 {
		errs = append(errs, unix.Close(l.pidfd))
		l.pidfd = -1
	}
	return errors.Join(errs...)
}

// set and get access a global variable of the programs.
func (l *Loader) set(name string, value any) error { return set(l.coll, name, value) }

func (l *Loader) get(name string, value any) error { return get(l.coll, name, value) }

func set(coll *ebpf.Collection, name string, value any) error {
	if err := coll.Variables[name].Set(value); err != nil {
		return fmt.Errorf("set %s of the BPF programs: %w", name, err)
	}
	return nil
}

func get(coll *ebpf.Collection, name string, value any) error {
	if err := coll.Variables[name].Get(value); err != nil {
		return fmt.Errorf("get %s of the BPF programs: %w", name, err)
	}
	return nil
}
