// SPDX-License-Identifier: Apache-2.0

package follow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pidgraft/pidgraft/audit/event"
	"github.com/pidgraft/pidgraft/audit/state"
	"github.com/pidgraft/pidgraft/collector"
)

// Source is where events and snapshots come from.
type Source interface {
	// Read appends the events that there are, at most max, waiting for the
	// first until the deadline.
	Read(events []event.Event, deadline time.Time, max int) ([]event.Event, error)
	// Totals are the counters. An event that is lost is counted before it
	// can be missed.
	Totals() (event.Totals, error)
	// Refresh asks for an event about the task that carries a number of the
	// namespace that is audited; false if none does.
	Refresh(number int32) (bool, error)
	// Snapshot makes a pass. It is called beside the others.
	Snapshot(ctx context.Context) (*collector.Snapshot, error)
	// Now is the clock of Event.When.
	Now() uint64
	// Stop makes the stream end: what is in it can still be read.
	Stop() error
}

// Handler is told what happens. It is called by the goroutine of Run, and may
// look at the State meanwhile.
type Handler interface {
	// Event was applied. Of a task that is gone t is nil; was is how it was
	// before.
	Event(e event.Event, was Before, t *state.Task)
	// Loss: events are missing.
	Loss(Loss)
	// Snapshot: the state has been made anew.
	Snapshot(Snapshot)
	// Recovered: a snapshot showed what no event had told.
	Recovered(Recovered)
	// Tick comes a few times a second.
	Tick() error
}

// Before is what an event found, for those who tell what it changed. It is
// empty if the task was not known.
type Before struct {
	Known          bool
	Object         *state.Object
	Group, Session *state.Object
	ChildNamespace collector.ID
	ParentID       collector.ID
	Subreaper      bool
	Comm           string
	Exiting        bool
}

// Loss is a number of events that are missing from the stream.
type Loss struct {
	Count   uint64
	Dropped uint64 // of these, on purpose
	Missed  uint64 // of these, not run by the kernel
	// From and Until bound when: the clock of the last look at the counters
	// that showed no loss, and that of this one.
	From, Until uint64
}

// Snapshot is a pass that became the state.
type Snapshot struct {
	Generation int
	// Taken by this clock between Begin and End.
	Begin, End uint64
	Raw        *collector.Snapshot
	Replayed   int // events that came meanwhile
	Cause      string
}

// Recovered is what was wrong with the state before a snapshot.
type Recovered struct {
	Generation int
	// Differences that no event has told of, also not since.
	Differences []state.Difference
	// Lost is how many events are known to be missing that could have told.
	// With none, the differences have no explanation.
	Lost uint64
}

// Options of a Follower; zero values are the defaults.
type Options struct {
	Heal      bool          // take a snapshot when events were lost
	Reconcile time.Duration // take one anyway after this time; 0: never
	Settle    time.Duration // how long an event may come after what it tells of
	Pause     time.Duration // the least time between two snapshots
	Batch     int           // events between two looks at the counters
	// Inline takes snapshots between two steps, not beside them: what happens is
	// then told by what the source says alone, and can be replayed.
	Inline bool
}

// Defaults of Options.
const (
	defaultSettle = 2 * time.Second
	defaultBatch  = 4096
	pollInterval  = 100 * time.Millisecond
	// maxPending bounds the events kept during a snapshot; beyond, it is
	// taken again.
	maxPending = 1 << 20
)

// Follower is a state that is kept up to date.
type Follower struct {
	src     Source
	handler Handler
	opts    Options

	state      *state.State
	generation int
	complete   bool

	totals  event.Totals // as last looked at
	lookAt  uint64       // when
	lost    uint64       // since the last snapshot: events that could have told
	events  []event.Event
	heal    *heal         // the snapshot that is being taken
	early   []event.Event // kept by one that came to nothing, before there was a state
	want    string        // why another one is wanted
	tookAt  uint64        // when the last one was
	since   uint64        // when it began: events read before know less than the state
	doubts  doubts
	refresh refreshes
	// askedOutside is when those were last read again whose parent is outside.
	askedOutside uint64
	// Received counts events by processor, to be held against the counters.
	received []uint64
}

// New is a Follower that has not begun.
func New(src Source, handler Handler, opts Options) *Follower {
	if opts.Settle == 0 {
		opts.Settle = defaultSettle
	}
	if opts.Batch == 0 {
		opts.Batch = defaultBatch
	}
	return &Follower{
		src: src, handler: handler, opts: opts, want: "start",
		refresh: make(refreshes), doubts: make(doubts), lookAt: src.Now(),
	}
}

// State is how everything is, as far as is known; nil before the first
// snapshot.
func (f *Follower) State() *state.State { return f.state }

// Generation counts the snapshots that became the state.
func (f *Follower) Generation() int { return f.generation }

// Complete reports whether nothing is missing from the state. It is then what a
// snapshot would show, but for what is still on its way.
func (f *Follower) Complete() bool { return f.complete && !f.state.Vague() }

// Want asks for a snapshot, and says why.
func (f *Follower) Want(cause string) {
	if f.want == "" {
		f.want = cause
	}
}

// Pending reports whether something is under way that Run would report in a
// moment: a snapshot, or differences that wait for their events.
func (f *Follower) Pending() bool { return f.heal != nil || f.want != "" || len(f.doubts) > 0 }

// Run follows until ctx ends or the handler wants it to, and then stops the
// stream and drains it.
//
// Errors: those of the source, ErrUnaccounted, and what the handler's Tick
// returned.
func (f *Follower) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := f.Advance(ctx, time.Now().Add(pollInterval)); err != nil {
			return err
		}
		if err := f.handler.Tick(); err != nil {
			return errors.Join(err, f.Drain())
		}
	}
	return f.Drain()
}

// Advance is one round of Run: it begins a snapshot if one is wanted, and takes a
// Step.
func (f *Follower) Advance(ctx context.Context, deadline time.Time) error {
	if err := f.begin(ctx); err != nil {
		return err
	}
	return f.Step(deadline)
}

// begin takes a snapshot beside the rest, if one is wanted.
func (f *Follower) begin(ctx context.Context) error {
	h, err := f.Begin()
	if h == nil || err != nil {
		return err
	}
	take := func() {
		snap, err := f.src.Snapshot(ctx)
		h.done <- result{snap, err, f.src.Now()}
	}
	if f.opts.Inline {
		take()
	} else {
		go take()
	}
	return nil
}

// Step reads events and applies them, notices what is lost, and makes the state
// anew when a snapshot has been taken.
func (f *Follower) Step(deadline time.Time) error {
	var err error
	f.events, err = f.src.Read(f.events[:0], deadline, f.opts.Batch)
	if err != nil {
		return err
	}
	for i := range f.events {
		f.apply(&f.events[i])
	}
	if err := f.account(); err != nil {
		return err
	}
	if err := f.finish(); err != nil {
		return err
	}
	if f.state != nil && f.state.Vague() {
		f.Want("vague")
	}
	f.settle()
	return f.reread()
}

// apply takes in one event that has come.
func (f *Follower) apply(e *event.Event) {
	for len(f.received) <= int(e.CPU) {
		f.received = append(f.received, 0)
	}
	f.received[e.CPU]++
	if f.heal != nil {
		f.heal.keep(e)
	}
	if f.state != nil {
		f.take(e)
	}
}

// take takes an event into the state, and tells of it.
func (f *Follower) take(e *event.Event) {
	was := before(f.state.Task(e.Task.ID))
	if e.Kind == event.Free && !was.Known {
		return // told already, by a snapshot or by who took its place
	}
	f.explain(e)
	if e.When >= f.since {
		f.state.Apply(*e)
	}
	t := f.state.Task(e.Task.ID)
	switch {
	case t == nil:
	case e.Kind == event.Refresh:
		f.refresh.answered(t, e.When)
	case e.Kind == event.Exit && t.Leader():
		f.refresh.leaving(t, e.When)
	case !was.Known && t.Leader() && t.Parent != nil && t.Parent.Exiting:
		// A pass that came in the middle of its exec did not show it, so it
		// was not among those whom its parent's exit concerns.
		f.refresh.add(t, e.When)
	case was.Known && was.Object != t.Object && f.refresh[was.Object.ID] != nil:
		// In an exec it took its leader's number along.
		delete(f.refresh, was.Object.ID)
		f.refresh.add(t, e.When)
	}
	f.handler.Event(*e, was, t)
}

func before(t *state.Task) Before {
	if t == nil {
		return Before{}
	}
	return Before{
		Known: true, Object: t.Object, Group: t.Process.Group, Session: t.Process.Session,
		ChildNamespace: t.ChildNamespace, ParentID: t.ParentID, Subreaper: t.Process.Subreaper,
		Comm: t.Comm, Exiting: t.Exiting,
	}
}

// account looks at the counters, and reports what is missing.
func (f *Follower) account() error {
	now := f.src.Now()
	totals, err := f.src.Totals()
	if err != nil {
		return err
	}
	if n := totals.Lost() - f.totals.Lost(); n > 0 {
		f.complete = false
		f.lost += n
		f.handler.Loss(Loss{
			Count: n, Dropped: totals.Dropped() - f.totals.Dropped(), Missed: totals.Missed - f.totals.Missed,
			From: f.lookAt, Until: now,
		})
		// What was lost before a pass began that is under way, it shows.
		if f.opts.Heal && (f.heal == nil || totals.Lost() > f.heal.lost) {
			f.Want("loss")
		}
	}
	f.totals, f.lookAt = totals, now
	if f.opts.Reconcile > 0 && f.tookAt != 0 && now-f.tookAt > uint64(f.opts.Reconcile) {
		f.Want("reconcile")
	}
	return nil
}

// ErrUnaccounted: the stream and the counters disagree, so something was lost
// that nobody counted.
var ErrUnaccounted = errors.New("events are missing that were not counted as lost")

// Drain stops the stream, reads what is left of it, and holds what came against
// what was sent, processor by processor.
func (f *Follower) Drain() error {
	if err := f.src.Stop(); err != nil {
		return err
	}
	// A snapshot that is under way would be of no use any more.
	f.heal = nil
	for {
		if err := f.Step(time.Now()); err != nil {
			return err
		}
		if len(f.events) == 0 {
			break
		}
	}
	for cpu, c := range f.totals.CPU {
		got := uint64(0)
		if cpu < len(f.received) {
			got = f.received[cpu]
		}
		if got != c.Sent {
			return fmt.Errorf("processor %d: %w: it sent %d events, and %d came", cpu, ErrUnaccounted, c.Sent, got)
		}
	}
	return nil
}

// Received is how many events came.
func (f *Follower) Received() uint64 {
	n := uint64(0)
	for _, c := range f.received {
		n += c
	}
	return n
}

// Totals are the counters as last looked at.
func (f *Follower) Totals() event.Totals { return f.totals }
