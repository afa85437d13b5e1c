// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/audit/follow"
	"github.com/pidgraft/pidgraft/collector"
	"github.com/pidgraft/pidgraft/loader"
)

// Live is the running kernel.
type Live struct {
	*loader.Stream
	loader *loader.Loader
}

var _ follow.Source = (*Live)(nil)

// Seen is how many tasks the snapshot that is being taken has shown.
func (l *Live) Seen() int { return l.loader.Seen() }

// Open begins to follow a namespace: that of a container's init, or the
// caller's own (loader.Machine).
//
// Errors: those of loader.Open and Loader.Follow.
func Open(target loader.Target, opts loader.StreamOptions) (*Live, error) {
	target.Unwatched = true
	opts.Types = target.Types
	l, err := loader.Open(target)
	if err != nil {
		return nil, err
	}
	s, err := l.Follow(opts)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &Live{s, l}, nil
}

// Snapshot makes a pass over the namespace.
func (l *Live) Snapshot(ctx context.Context) (*collector.Snapshot, error) {
	return l.loader.Snapshot(ctx)
}

// WalkError says why the numbers that no task carries cannot all be seen; nil if
// they can.
func (l *Live) WalkError() error { return l.loader.WalkError() }

// Levels are how far below the initial pid namespace the caller's is, and the one
// that is audited.
func (l *Live) Levels() (caller, audited int) { return l.loader.Levels() }

// Ended reports whether the container's init is gone.
func (l *Live) Ended() bool { return l.loader.Ended() }

// Now is CLOCK_MONOTONIC, which is what bpf_ktime_get_ns reads.
func (l *Live) Now() uint64 { return Now() }

// Now is CLOCK_MONOTONIC, in nanoseconds, or up to some microseconds before. What
// the runtime reads without a system call is the same clock, from another zero;
// asking the kernel each time took a tenth of an audit's processor time.
func Now() uint64 { return begun.kernel + uint64(time.Since(begun.runtime)) }

// begun is one moment by both clocks.
var begun = func() (b struct {
	kernel  uint64
	runtime time.Time
}) {
	var t unix.Timespec
	// It cannot fail for this clock. First: so that Now is never late, and what
	// an event is held against never younger than it says.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	b.kernel, b.runtime = uint64(t.Nano()), time.Now()
	return b
}()

// Close frees everything.
func (l *Live) Close() error { return errors.Join(l.Stream.Close(), l.loader.Close()) }
