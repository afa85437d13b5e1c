// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/audit/event"
	"github.com/pidgraft/pidgraft/bpf"
)

// nativeSyscalls are this architecture's numbers.
var nativeSyscalls = bpf.AuditSyscalls{
	Setsid:  unix.SYS_SETSID,
	Setpgid: unix.SYS_SETPGID,
	Setns:   unix.SYS_SETNS,
	Unshare: unix.SYS_UNSHARE,
	Prctl:   unix.SYS_PRCTL,
}

// Stream is the events of a target, in one order for all processors. Reading is
// for one goroutine; the rest may be called beside it.
type Stream struct {
	coll    *ebpf.Collection
	ring    *ringbuf.Reader
	links   []link.Link
	hooks   []*ebpf.Program // that send events
	source  Source
	whyNot  error
	refresh *ebpf.Program
	record  ringbuf.Record
}

// StreamOptions are what a Stream can be told.
type StreamOptions struct {
	// RingBytes is the room for events not yet read: a power of two, at
	// least a page; 0 for 8 MiB, which is 25,000 events.
	RingBytes uint32
	// DropOneIn loses one event in so many, at random and counted, for
	// tests; 0: none.
	DropOneIn uint32
	// Source is how events are seen.
	Source Source
	// Types are as in Target.
	Types *Types
}

// follow is Follow by one source. l.mu is held.
func (l *Loader) follow(opts StreamOptions) (_ *Stream, err error) {
	s := &Stream{source: opts.Source}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	points, err := l.loadStream(s, opts)
	if err != nil {
		return nil, err
	}
	s.refresh = s.coll.Programs[bpf.AuditProgAuditRefresh]
	if s.ring, err = ringbuf.NewReader(s.coll.Maps[bpf.AuditMapEvents]); err != nil {
		return nil, explain("open the ring of events", err)
	}
	for point := range points {
		program := s.coll.Programs[point]
		hook, err := attach(point, program)
		if err != nil {
			return nil, err
		}
		s.links, s.hooks = append(s.links, hook), append(s.hooks, program)
	}
	return s, nil
}

// Source is how the events are seen; if that is not the best way, the error says
// why.
func (s *Stream) Source() (Source, error) { return s.source, s.whyNot }

// loadStream loads the programs of a source, by the points that they are for.
func (l *Loader) loadStream(s *Stream, opts StreamOptions) (map[string]*ebpf.ProgramSpec, error) {
	load := bpf.LoadAudit
	if lockdown() == confidentiality {
		load = bpf.LoadLockedAudit
	}
	spec, err := load()
	if err != nil {
		return nil, err
	}
	if opts.Source == Fentry {
		// All of the kernel's types are looked at: 7 MiB that are not kept.
		defer func() { l.types = btf.NewCache() }()
	}
	points, err := opts.Source.prepare(spec, l.types)
	if err != nil {
		return nil, err
	}
	if opts.RingBytes != 0 {
		spec.Maps[bpf.AuditMapEvents].MaxEntries = opts.RingBytes
	}
	for name, value := range map[string]any{
		bpf.AuditVarNative:    nativeSyscalls,
		bpf.AuditVarCompat:    compatSyscalls,
		bpf.AuditVarDropOneIn: opts.DropOneIn,
		bpf.AuditVarTarget:    bpf.AuditTarget(l.target),
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("set %s: %w", name, err)
		}
	}
	// Not l.kernel: that may have no more than the other object names, and what
	// is not there reads as what this kernel does not have.
	kernel, err := kernelTypes(spec, opts.Types, l.types, nil, nil)
	if err != nil {
		return nil, err
	}
	s.coll, err = loadCollection(spec, ebpf.CollectionOptions{
		Cache:    l.types,
		Programs: ebpf.ProgramOptions{KernelTypes: kernel},
	})
	return points, err
}

// Levels are how far below the initial pid namespace the caller's is, and the one
// that is looked at.
func (l *Loader) Levels() (caller, target int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int(l.target.ReaderLevel), int(l.target.Level)
}

// Read appends to events what there is, and waits for the first until the
// deadline. At most max are read, so that a busy machine does not keep it.
//
// Errors: os.ErrClosed after Close.
func (s *Stream) Read(events []event.Event, deadline time.Time, max int) ([]event.Event, error) {
	s.ring.SetDeadline(deadline)
	for range max {
		err := s.ring.ReadInto(&s.record)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return events, nil
		}
		if err != nil {
			return events, fmt.Errorf("read the ring of events: %w", err)
		}
		e, err := decodeEvent(s.record.RawSample)
		if err != nil {
			return events, fmt.Errorf("decode: %w", err)
		}
		events = append(events, e)
		if s.record.Remaining == 0 {
			return events, nil
		}
	}
	return events, nil
}

// Totals are the counters of the stream.
func (s *Stream) Totals() (event.Totals, error) {
	var per []bpf.AuditCounters
	if err := s.coll.Maps[bpf.AuditMapCounters].Lookup(uint32(0), &per); err != nil {
		return event.Totals{}, fmt.Errorf("read the counters of events: %w", err)
	}
	t := event.Totals{CPU: make([]event.Counters, len(per))}
	for i, c := range per {
		t.CPU[i] = event.Counters{Sent: c.Sent, Lost: c.Lost, Dropped: c.Dropped}
	}
	for _, prog := range s.hooks {
		n, err := misses(prog)
		if err != nil {
			return event.Totals{}, err
		}
		t.Missed += n
	}
	return t, nil
}

// What a run of audit_refresh says (bpf/hooks.h, enum refresh_status).
const (
	refreshDone = iota
	refreshNone
	refreshLost
)

// Refresh asks for an event that says how the task with this number, in the
// namespace that is audited, is now. It reports false if there is none. That a
// full ring lost the event shows in the counters.
func (s *Stream) Refresh(number int32) (bool, error) {
	status, err := s.refresh.Run(&ebpf.RunOptions{Context: []uint64{uint64(uint32(number))}})
	switch {
	case err != nil:
		return false, explain("read a task again", err)
	case status > refreshLost:
		return false, fmt.Errorf("read a task again: unknown status %d", status)
	}
	return status != refreshNone, nil
}

// Stop ends the events; those in the ring can still be read. It may be called
// twice.
func (s *Stream) Stop() error { return detach(&s.links) }

// Close frees everything. It may be called twice, and beside Read.
func (s *Stream) Close() error {
	errs := []error{s.Stop()}
	if s.ring != nil {
		errs = append(errs, s.ring.Close())
	}
	if s.coll != nil {
		s.coll.Close()
	}
	return errors.Join(errs...)
}

// Ended reports whether the root process has ended and was reaped. A Machine
// does not end.
func (l *Loader) Ended() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.alive()
}
