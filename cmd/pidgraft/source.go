// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/collector"
	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/image"
	"github.com/pidgraft/pidgraft/image/criu/packing"
	"github.com/pidgraft/pidgraft/loader"
)

// retries is how often a target that changes is looked at again.
const retries = 10

// pause waits 1, 2, 4 and up to 128 ms: on a busy machine a task that ends has
// freed its number only when it had a processor again.
func pause(before int) { time.Sleep(time.Millisecond << min(before, 7)) }

// look says how to look at a live target.
type look struct {
	pid     int
	scope   loader.Scope
	freeze  bool
	retries int
	// held: the target does nothing until it is let, so that one pass shows it and
	// nobody needs to watch it.
	held  bool
	types *loader.Types // as in loader.Target
	// references are looked for, too.
	references bool
	all        bool // as in collector.Options: a forest may come with Refusals
	// prepare is as in collector.Options; a frozen target does not wait for it.
	prepare func(*forest.Forest)
	// closing, if not nil, is for who waits until the target is closed, which
	// takes a moment for every task of the machine.
	closing *sync.WaitGroup
	// room, if not nil, returns when there is memory for what the target shows.
	room func()
	// open opens the target instead of loader.Open.
	open func(pid int) (*loader.Loader, error)
}

// target is what the loader is to look at.
func (k look) target() loader.Target {
	return loader.Target{PID: k.pid, Scope: k.scope, Unwatched: k.freeze || k.held, Types: k.types, References: k.references}
}

// take dumps a live target into memory.
func (k look) take(ctx context.Context) (*forest.Forest, error) {
	open := k.open
	if open == nil {
		open = func(int) (*loader.Loader, error) { return loader.Open(k.target()) }
	}
	s := beginStep("open", nil)
	defer func() { s.stop() }()
	l, err := open(k.pid)
	if err != nil {
		return nil, err
	}
	defer k.close(l)
	if k.room != nil {
		k.room()
	}
	s.end()
	opts := collector.Options{Producer: producer(), Retries: k.retries, Pause: pause, Prepare: k.prepare, All: k.all}
	thaw := func() error { return nil }
	if k.held {
		opts.Method = forest.Frozen
	}
	if k.freeze {
		s = beginStep("freeze", nil)
		if thaw, err = l.Freeze(ctx); err != nil {
			return nil, interrupted(ctx, err)
		}
		s.end()
		opts.Method, opts.Prepare = forest.Frozen, nil
	}
	w := watchLook(l, &opts)
	s = w.step
	f, err := collector.Cut(ctx, l, l.Mode(), opts)
	var refused collector.Refusals
	if err := errors.Join(err, thaw()); errors.As(err, &refused) {
		return f, err
	} else if err != nil {
		return nil, interrupted(ctx, err)
	}
	return f, nil
}

// lookWatch tells of a look at work: how many tasks the pass shows, and what the
// last one found to have changed.
type lookWatch struct {
	step *step
	last atomic.Pointer[collector.Look]
	at   time.Time // when the last pass ended
}

func watchLook(l *loader.Loader, opts *collector.Options) *lookWatch {
	w := &lookWatch{at: time.Now()}
	seen := seenBy(l)
	w.step = beginStep("look", func() standing {
		is := seen()
		if last := w.last.Load(); last != nil && last.Changed != "" {
			is.waits = fmt.Sprintf("for rest, pass %d of %d, changed: %s", last.Pass+1, last.Most, last.Changed)
		}
		return is
	})
	opts.Looked = func(is collector.Look) {
		w.last.Store(&is)
		now := time.Now()
		args := []any{"pass", is.Pass, "tasks", is.Tasks, "pids", is.Pids}
		if is.Changed != "" {
			args = append(args, "changed", is.Changed)
		}
		logStep("look", now.Sub(w.at), args...)
		w.at = now
	}
	return w
}

func seenBy(l *loader.Loader) func() standing {
	return func() standing { return standing{done: int64(l.Seen()), unit: "tasks"} }
}

func (k look) close(l *loader.Loader) {
	if k.closing == nil {
		l.Close()
		return
	}
	k.closing.Go(func() { l.Close() })
}

// interrupted tells what a target did from what became of the looking.
func interrupted(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted: %w", err)
	case errors.Is(err, loader.ErrNoProcess):
		return endedError{err}
	}
	return err
}

// producer is this machine, now.
func producer() forest.Producer {
	p := forest.Producer{Tool: version(), Time: time.Now().UnixNano(), Machine: runtime.GOARCH}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		p.Release = unix.ByteSliceToString(u.Release[:])
		p.Version = unix.ByteSliceToString(u.Version[:])
		p.Machine = unix.ByteSliceToString(u.Machine[:])
	}
	return p
}

// source is an operand of show, diff and restore: an image by its name, "-"
// for one on standard input, or pid:N for a live target, N as parsePID takes it;
// pid:@CONTAINER may be @CONTAINER. A file of such a name is ./@CONTAINER.
// An image is one of pidgraft, or a checkpoint of CRIU: a directory of images, or
// an archive.
type source string

const pidPrefix = "pid:"

func (s source) isLive() bool {
	return strings.HasPrefix(string(s), pidPrefix) || strings.HasPrefix(string(s), "@")
}

// readImage reads an image of either kind.
func (s source) readImage() (*forest.Forest, error) {
	f, _, err := s.readAnyImage()
	return f, err
}

// readAnyImage reads an image, says whether it is CRIU's, and warns of what in it
// is not understood.
func (s source) readAnyImage() (f *forest.Forest, criusOwn bool, err error) {
	in := os.Stdin
	if s == "-" {
		if isTerminal(in) {
			return nil, false, usageError{errors.New("standard input is a terminal, not an image")}
		}
	} else {
		if in, err = os.Open(string(s)); err != nil {
			return nil, false, err
		}
		defer in.Close()
	}
	reading, through := beginReading(in)
	defer func() {
		reading.stop()
		if err == nil {
			logStep("read", time.Since(reading.begun), "tasks", len(f.Tasks))
		}
	}()
	if info, err := in.Stat(); err == nil && info.IsDir() {
		f, err = readCheckpointDirectory(in.Name())
		return f, true, s.errorOf(err)
	}
	pack, r := packing.Sniff(through)
	if pack != packing.NotArchive {
		// Memory in an archive need not be read to be skipped.
		if _, err := in.Seek(0, io.SeekStart); err == nil {
			r = in
		}
		f, err = readCheckpointArchive(r, pack)
		return f, true, s.errorOf(err)
	}
	d := image.NewDecoder(r)
	f, err = d.Decode()
	for _, w := range d.Warnings() {
		slog.Warn(fmt.Sprintf("%s: %s", s, w))
	}
	return f, false, s.errorOf(err)
}

// errorOf names the source of an error.
func (s source) errorOf(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", s, err)
}

// pid is N of pid:N.
func (s source) pid() (int, error) {
	return parsePID(strings.TrimPrefix(string(s), pidPrefix))
}

// parsePID reads what names a process: its number here; N@NAMESPACE, its number in
// another pid namespace; or @NAMESPACE, the init of one. NAMESPACE is what --ns
// takes or the id of a container.
func parsePID(arg string) (int, error) {
	number, where, elsewhere := strings.Cut(arg, "@")
	if elsewhere && number == "" {
		number = "1"
	}
	pid, err := strconv.Atoi(number)
	if err != nil || pid <= 0 || pid > forest.MaxNumber {
		return 0, usageError{fmt.Errorf("%q is not a pid: give the number of a process in this pid namespace, N@NAMESPACE or @CONTAINER", arg)}
	}
	if !elsewhere {
		return pid, nil
	}
	own, err := inodeOf("/proc/self/ns/pid")
	if err != nil {
		return 0, err
	}
	inode, err := parseWhere(where, own)
	if err != nil {
		return 0, err
	}
	return numberOf(pid, inode)
}

// read takes or reads the forest. like, if not nil, says in which mode a live
// target is taken; types are as in look.
func (s source) read(ctx context.Context, like *forest.Forest, types *loader.Types) (*forest.Forest, error) {
	if !s.isLive() {
		return s.readImage()
	}
	pid, err := s.pid()
	if err != nil {
		return nil, err
	}
	scope := loader.Auto
	if like != nil {
		scope = scopeOf(like.Mode)
	}
	return look{pid: pid, scope: scope, retries: retries, types: types}.take(ctx)
}

func scopeOf(m forest.Mode) loader.Scope {
	if m == forest.Container {
		return loader.Container
	}
	return loader.Subtree
}
