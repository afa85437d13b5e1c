// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"context"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/pidgraft/pidgraft/collector"
)

// What a run of walk_idr says (bpf/idr.h, enum walk_status).
const (
	walkMore = iota
	walkDone
	walkFull
	walkAgain
	walkCannot
)

// walk reads the pid objects of the target's namespace out of its idr, one leaf
// of 64 numbers a run, and for a Container the tasks that have them. It reports
// false, and notes why in walkErr, when this kernel cannot.
//
// The namespace cannot go away meanwhile: the pidfd holds the root's pid object,
// and that its namespace.
func (l *Loader) walk(ctx context.Context, recs *records) (bool, error) {
	first := &stretch{lane: l.first(), pass: l.passes, recs: recs}
	err := first.step(ctx)
	if err == nil {
		// What is in the first leaf came with its namespace.
		err = first.lane.drain(recs)
	}
	if err == nil {
		err = l.walkRest(ctx, first)
	}
	var cannot *cannotWalk
	if errors.As(err, &cannot) {
		l.walkErr = cannot.why
		return false, l.drain(recs)
	}
	return err == nil, err
}

// cannotWalk is the error of a kernel whose idrs cannot be walked.
type cannotWalk struct{ why error }

func (e *cannotWalk) Error() string { return e.why.Error() }

// stretch is a part of an idr that one lane walks.
type stretch struct {
	lane *lane
	pass uint32 // a number of its own: what refers to an object comes after it in each
	recs *records
	last *collector.Snapshot // the part of the last one to hold it against

	next   uint32 // the number to go on with
	until  uint32 // a multiple of 64 to stop before, or 0
	done   bool
	walked bool // and its records are complete
}

// finish walks to the end of the stretch.
func (s *stretch) finish(ctx context.Context) error {
	// Without progress are steps at a full ring and in a tree that changes
	// underfoot: a few.
	for stuck := 0; stuck < 10_000; stuck++ {
		if s.done {
			return s.lane.drain(s.recs)
		}
		before := s.next
		if err := s.step(ctx); err != nil {
			return err
		}
		if s.next != before {
			stuck = 0
		}
	}
	return fmt.Errorf("walk the idr: no progress at number %d", s.next)
}

// step runs the program once, and empties the ring if that is full.
func (s *stretch) step(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	status, err := s.run()
	if err != nil {
		return err
	}
	switch status {
	case walkMore, walkAgain, walkDone:
		return nil
	case walkFull:
		return s.lane.drain(s.recs)
	case walkCannot:
		return &cannotWalk{fmt.Errorf("walk the idr: %w: its nodes, or the pid objects in them, are not as expected", ErrUnsupported)}
	}
	return fmt.Errorf("walk the idr: unknown status %d", status)
}

func (s *stretch) run() (uint32, error) {
	walked, err := s.lane.program.Run(&ebpf.RunOptions{
		Context: [4]uint64{s.lane.number, uint64(s.next), uint64(s.until), uint64(s.pass)},
	})
	if err != nil {
		return 0, &cannotWalk{explain("run the idr walk", err)}
	}
	status := walked & 7 // bpf/idr.h, walked
	s.next, s.done = walked>>3, status == walkDone
	return status, nil
}
