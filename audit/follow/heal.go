// SPDX-License-Identifier: Apache-2.0

package follow

import (
	"errors"
	"fmt"

	"github.com/pidgraft/pidgraft/audit/event"
	"github.com/pidgraft/pidgraft/audit/state"
	"github.com/pidgraft/pidgraft/collector"
)

// heal is a snapshot that is being taken.
type heal struct {
	cause string
	first bool   // there is no state yet
	begin uint64 // the clock before the pass
	lost  uint64 // the counter of lost events before the pass
	// events that were read since, by whose task the pass may have come too
	// early.
	events   []event.Event
	overflow bool
	done     chan result
	result   *result
}

type result struct {
	snapshot *collector.Snapshot
	err      error
	end      uint64
}

// keep notes an event for replay. One that was read before the pass began knows
// less than the pass, but without a state nobody has been told of it.
func (h *heal) keep(e *event.Event) {
	switch {
	case e.When < h.begin && !h.first:
	case len(h.events) >= maxPending:
		h.overflow = true
	default:
		h.events = append(h.events, *e)
	}
}

// Begin gets ready for a snapshot, if one is wanted and none is being taken.
// Whoever calls it takes the snapshot afterwards.
func (f *Follower) Begin() (*heal, error) {
	if f.want == "" || f.heal != nil || f.tookAt != 0 && f.src.Now() < f.tookAt+uint64(f.opts.Pause) {
		return nil, nil
	}
	// In this order: what is lost before the counter is read has happened
	// before the pass, which sees what became of it.
	totals, err := f.src.Totals()
	if err != nil {
		return nil, err
	}
	f.heal = &heal{
		cause: f.want,
		first: f.state == nil,
		lost:  totals.Lost(),
		begin: f.src.Now(),
		done:  make(chan result, 1),
	}
	f.heal.events, f.early = f.early, nil
	f.want = ""
	return f.heal, nil
}

// finish makes the state anew, if the snapshot has been taken and all that was
// in the stream by then has been read: the old state must not look worse than it
// is, nor an old event come after the new one.
func (f *Follower) finish() error {
	h := f.heal
	if h == nil {
		return nil
	}
	if h.result == nil {
		select {
		case r := <-h.done:
			h.result = &r
		default:
		}
		return nil
	}
	if n := len(f.events); n >= f.opts.Batch && f.events[n-1].When < h.result.end {
		return nil
	}
	f.heal = nil
	return f.renew(h, *h.result)
}

func (f *Follower) renew(h *heal, r result) error {
	switch {
	case errors.Is(r.err, collector.ErrChanged) || h.overflow:
		f.again(h)
		return nil
	case r.err != nil:
		return fmt.Errorf("snapshot: %w", r.err)
	}
	renewed, err := state.FromSnapshot(r.snapshot)
	if errors.Is(err, collector.ErrChanged) {
		f.again(h)
		return nil
	}
	if err != nil {
		return err
	}
	if !h.first {
		for i := range h.events {
			renewed.Apply(h.events[i])
		}
	}
	f.generation++
	f.tookAt, f.since = r.end, h.begin
	// Lost before the pass began is healed; what was lost since is not, and
	// account has seen to that.
	f.complete = f.totals.Lost() == h.lost
	told := f.lost
	f.lost = f.totals.Lost() - h.lost
	if old := f.state; old != nil {
		renewed.Inherit(old)
		f.doubts.add(state.Compare(old, renewed), f.generation, told, f.src.Now()+uint64(f.opts.Settle))
	}
	f.state = renewed
	f.handler.Snapshot(Snapshot{
		Generation: f.generation, Begin: h.begin, End: r.end,
		Raw: r.snapshot, Replayed: len(h.events), Cause: h.cause,
	})
	if h.first {
		// Who was born, or came in, meanwhile is told as everybody after.
		for i := range h.events {
			f.take(&h.events[i])
		}
	}
	f.watch()
	return nil
}

// again wants another pass in the place of one that was no good.
func (f *Follower) again(h *heal) {
	f.Want(h.cause)
	if h.first && !h.overflow {
		f.early = h.events
	}
}

// doubts are differences between a state and the snapshot that replaced it, by
// task. An event that tells of one may still be on its way: a task is freed an
// RCU period after it was released, and a birth is told after the snapshot can
// see it.
type doubts map[collector.ID]doubt

type doubt struct {
	state.Difference
	generation int
	lost       uint64
	until      uint64
}

func (d doubts) add(all []state.Difference, generation int, lost, until uint64) {
	for _, diff := range all {
		d[diff.Task.ID] = doubt{diff, generation, lost, until}
	}
}

// explain takes away what an event tells of. It shows all of a process, so it
// tells of all its threads.
func (f *Follower) explain(e *event.Event) {
	if len(f.doubts) == 0 {
		return
	}
	f.doubts.explain(e.Task.ID, e)
	if t := f.state.Task(e.Task.ID); t != nil {
		for _, other := range t.Process.Tasks {
			if other != t && f.doubts[other.ID].Verb == state.Changed {
				f.doubts.explain(other.ID, e)
			}
		}
	}
}

func (d doubts) explain(id collector.ID, e *event.Event) {
	diff, ok := d[id]
	if !ok {
		return
	}
	told := false
	switch diff.Verb {
	case state.Born:
		// One whose number somebody else took in the middle of its exec was
		// gone until its exec was told.
		told = e.Kind == event.Birth || e.Kind == event.Exec && diff.lost == 0
	case state.Gone:
		told = e.Kind == event.Exit || e.Kind == event.Free
	case state.Changed:
		// Whatever changed it, this event says how it is now.
		told = e.Kind != event.Free && e.Kind != event.Refresh
	}
	if told {
		delete(d, id)
	}
}

// settle reports differences that no event explained in time.
func (f *Follower) settle() {
	now := f.src.Now()
	var r Recovered
	for id, d := range f.doubts {
		if now < d.until {
			continue
		}
		delete(f.doubts, id)
		// One that came back had only been between two numbers.
		back := d.Verb == state.Gone && f.state.Task(id) != nil
		if back || !d.hidden() {
			continue
		}
		r.Generation = max(r.Generation, d.generation)
		r.Lost = max(r.Lost, d.lost)
		r.Differences = append(r.Differences, d.Difference)
	}
	if len(r.Differences) > 0 {
		state.SortDifferences(r.Differences)
		f.handler.Recovered(r)
	}
}

// hidden reports whether an event should have told of the difference. Parents
// change without one, and of a task that was seen to exit nothing more is to be
// told.
func (d doubt) hidden() bool {
	switch d.Verb {
	case state.Gone:
		return !d.Task.Exiting
	case state.Changed:
		return len(d.What) != 1 || d.What[0] != state.ParentChanged
	}
	return true
}
