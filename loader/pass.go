// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/bpf"
	"github.com/pidgraft/pidgraft/collector"
)

// errClosed is what a closed Loader answers.
var errClosed = fmt.Errorf("loader: %w", os.ErrClosed)

// firstSize is for how many records there is room before any were counted. What
// is not used of it is address space that no memory stands behind; growing to
// 20,000 tasks by appending costs half as much again as the pass itself.
const firstSize = 1 << 15

// Snapshot makes one pass: over the tasks, and for a container or a machine
// over the namespace's pid objects. For a container it is one walk of the
// namespace's idr, where that can be walked, else the iterator over all tasks of
// the machine. It costs about half a microsecond a task.
//
// What it shows may share records with the Snapshot before: nobody may change
// either.
//
// Errors: ErrNoProcess when the root ended; ErrNotVisible when the kernel hides
// it; ErrSelf when this process turns out to be in the subtree; that of ctx.
func (l *Loader) Snapshot(ctx context.Context) (*collector.Snapshot, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.coll == nil {
		return nil, errClosed
	}
	l.passes++
	recs, walked, err := l.pass(ctx)
	if err == nil {
		err = l.passReferences(ctx, recs)
	}
	if err != nil {
		return nil, err
	}
	s := recs.finish()
	dropOutsiders(s, recs.undecided)
	s.Walked = walked
	if !walked {
		s.IDR = nil
	}
	s.Namespace = collector.ID(l.target.Ns)
	s.Self = collector.ID(l.target.Self)
	if l.scope != Machine {
		if err := l.findRoot(s); err != nil {
			return nil, err
		}
	}
	l.last = s
	return s, nil
}

// Seen is how many tasks the pass that goes on has shown, or the last one if none
// does. It may be called meanwhile.
func (l *Loader) Seen() int { return int(l.seen.Load()) }

// pass reads the tasks and the pid objects.
func (l *Loader) pass(ctx context.Context) (recs *records, walked bool, err error) {
	size := firstSize
	if l.last != nil {
		n := max(len(l.last.Tasks), len(l.last.Pids))
		size = max(size, n+n/16)
	}
	if l.scope == Container && l.walkErr == nil {
		// What is larger than that is divided, and made room for then.
		if recs, err = l.beginPass(min(size, int(manyNumbers))); err != nil {
			return nil, false, err
		}
		if walked, err = l.walk(ctx, recs); walked || err != nil {
			return recs, walked, err
		}
	}
	if err := l.needTasks(); err != nil {
		return nil, false, err
	}
	if recs, err = l.beginPass(size); err != nil {
		return nil, false, err
	}
	if err := l.passTasks(ctx, recs); err != nil {
		return nil, false, err
	}
	if l.scope == Machine && l.walkErr == nil {
		walked, err = l.walk(ctx, recs)
	}
	return recs, walked, err
}

// beginPass makes the programs forget what they have shown.
func (l *Loader) beginPass(size int) (*records, error) {
	l.seen.Store(0)
	var passes [lanes]bpf.PidsPass
	for i := range passes {
		passes[i].Number = l.passes
	}
	if err := l.set(bpf.PidsVarPasses, &passes); err != nil {
		return nil, err
	}
	recs := newRecords(l.last, size)
	recs.shown = &l.seen
	return recs, nil
}

// findRoot finds the root task in a pass, or knows it from the last one.
func (l *Loader) findRoot(s *collector.Snapshot) error {
	unknown := s.Tasks
	if last := l.last; last != nil && len(s.Tasks) > 0 && len(s.Tasks) == len(last.Tasks) && &s.Tasks[0] == &last.Tasks[0] {
		s.Root, unknown = last.Root, nil
	}
	for i := range unknown {
		t := &s.Tasks[i]
		// Not by address: an exec by another thread changes that.
		if t.Pid == collector.ID(l.target.Pid) && t.GroupLeader == t.ID {
			s.Root = t.ID
		}
		if t.ID == s.Self {
			return fmt.Errorf("process %d: %w", l.pid, ErrSelf)
		}
	}
	switch {
	case !l.alive():
		return fmt.Errorf("process %d: %w: it ended while it was looked at", l.pid, ErrNoProcess)
	case s.Root == 0:
		return fmt.Errorf("process %d: %w: it exists, but no pass over tasks shows it", l.pid, ErrNotVisible)
	}
	return nil
}

// passTasks runs the task iterator to its end, emptying the ring whenever the
// kernel pauses.
func (l *Loader) passTasks(ctx context.Context, recs *records) error {
	stuck := 0
	return read(l.iter, func() (bool, error) {
		before := recs.tasks
		if err := l.drain(recs); err != nil {
			return false, err
		}
		// What one task needs is a few hundred records at most.
		if stuck++; recs.tasks > before {
			stuck = 0
		}
		if stuck > 10_000 {
			return false, errors.New("the task iterator makes no progress")
		}
		return true, ctx.Err()
	})
}

// read reads a new iterator to its end. The programs write to the ring and
// never to the file, so a read returns nothing: 0 at the end, and EAGAIN when
// the ring is full, or after a million tasks without a byte for the file
// (bpf_seq_read, kernel/bpf/bpf_iter.c). After each, also the last, pause is
// called; it says whether to go on.
func read(it *link.Iter, pause func() (bool, error)) error {
	file, err := it.Open()
	if err != nil {
		return explain("open the iterator", err)
	}
	defer file.Close()
	var buf [1]byte
	for {
		_, readErr := file.Read(buf[:])
		if readErr != nil && !errors.Is(readErr, io.EOF) && !errors.Is(readErr, unix.EAGAIN) {
			return fmt.Errorf("read the iterator: %w", readErr)
		}
		more, err := pause()
		if err != nil {
			return err
		}
		if !more || errors.Is(readErr, io.EOF) {
			return nil
		}
	}
}

// past is a deadline that never makes the ring's reader wait.
var past = time.Unix(0, 0)

// drain decodes what is in the ring.
func (l *Loader) drain(recs *records) error { return drain(l.ring, recs) }

func drain(ring *ringbuf.Reader, recs *records) error {
	ring.SetDeadline(past)
	var rec ringbuf.Record
	for {
		err := ring.ReadInto(&rec)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			recs.show()
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the ring buffer: %w", err)
		}
		if err := recs.add(rec.RawSample); err != nil {
			return fmt.Errorf("decode: %w", err)
		}
	}
}
