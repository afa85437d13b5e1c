// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"context"
	"errors"
	"runtime"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/pidgraft/pidgraft/bpf"
	"github.com/pidgraft/pidgraft/collector"
)

// A walk of an idr is mostly waiting for memory, which two processors do at
// once. manyNumbers is from when on it is worth to load the program a second
// time, which takes as long as 5,000 tasks.
//
// Tests replace it.
var manyNumbers uint32 = 8192

// lane is what walks an idr: the program on maps of its own, so that two lanes do
// not share what they remember, nor the ring.
type lane struct {
	coll    *ebpf.Collection
	program *ebpf.Program
	ring    *ringbuf.Reader
}

// first is the lane that there always is.
func (l *Loader) first() *lane {
	return &lane{l.coll, l.coll.Programs[bpf.PidsProgWalkIdr], l.ring}
}

// openSecond makes another lane.
func (l *Loader) openSecond() (_ *lane, err error) {
	second := new(lane)
	defer func() {
		if err != nil {
			second.close()
		}
	}()
	if second.coll, err = loadMaps(l.spec); err != nil {
		return nil, err
	}
	if second.program, err = l.loadProgram(bpf.PidsProgWalkIdr, second.coll.Maps); err != nil {
		return nil, err
	}
	if second.ring, err = ringbuf.NewReader(second.coll.Maps[bpf.PidsMapRing]); err != nil {
		return nil, explain("open the ring buffer", err)
	}
	return second, nil
}

func (l *lane) close() error {
	var errs []error
	if l.ring != nil {
		errs = append(errs, l.ring.Close())
	}
	if l.program != nil {
		errs = append(errs, l.program.Close())
	}
	if l.coll != nil {
		l.coll.Close()
	}
	return errors.Join(errs...)
}

func (l *lane) drain(recs *records) error { return drain(l.ring, recs) }

// boundary is where the second lane began in a pass: with which number, and with
// which records of the snapshot. Zero if there was one lane only.
type boundary struct {
	number           uint32
	tasks, pids, idr int
}

// split are the two parts of a snapshot.
func (b *boundary) split(s *collector.Snapshot) (before, after *collector.Snapshot) {
	return &collector.Snapshot{Tasks: s.Tasks[:b.tasks], Pids: s.Pids[:b.pids], IDR: s.IDR[:b.idr]},
		&collector.Snapshot{Tasks: s.Tasks[b.tasks:], Pids: s.Pids[b.pids:], IDR: s.IDR[b.idr:]}
}

// walkRest walks what is left, with a second lane if that is much. Later passes
// are divided where the first was, so that they show the same in the same order.
func (l *Loader) walkRest(ctx context.Context, first *stretch) error {
	was := l.boundary
	l.boundary = boundary{}
	last := first.recs.lastNumber(collector.ID(l.target.Ns))
	if l.scope != Container || last < manyNumbers || runtime.GOMAXPROCS(0) < 2 {
		return first.finish(ctx)
	}
	var number uint32
	var lastAfter *collector.Snapshot
	switch {
	case l.second == nil:
		// Loading it goes on beside the first.
	case was.number > first.at.Next && l.last != nil:
		number, first.at.Until = was.number, was.number
		var before *collector.Snapshot
		before, lastAfter = was.split(l.last)
		if first.recs.last != nil { // nothing has differed yet
			first.recs.last = before
		}
	default:
		if number = first.yield(last); number == 0 {
			return first.finish(ctx)
		}
	}
	second := &stretch{}
	walked := make(chan error, 1)
	go func() { walked <- l.walkSecond(ctx, first, second, last, number, lastAfter) }()
	err := first.finish(ctx)
	if secondErr := <-walked; err == nil {
		err = secondErr
	}
	if err != nil || second.recs == nil {
		return err
	}
	l.boundary = first.recs.count()
	l.boundary.number = first.at.Until
	first.recs.join(second.recs, l.last)
	return nil
}

// walkSecond walks what the first lane leaves to the second: from number on, or, if
// that is 0, from where it is worth it when there is a second lane. before is what
// the last pass showed there, or nil.
func (l *Loader) walkSecond(ctx context.Context, first, second *stretch, last, number uint32, before *collector.Snapshot) (err error) {
	if l.second == nil {
		// Without it, it only takes longer.
		if l.second, err = l.openSecond(); err != nil {
			return nil
		}
	}
	if number == 0 {
		if number = first.yield(last); number == 0 {
			return nil
		}
	}
	if err := set(l.second.coll, bpf.PidsVarTarget, &l.target); err != nil {
		return err
	}
	if err := set(l.second.coll, bpf.PidsVarPass, &bpf.PidsPass{Number: l.passes}); err != nil {
		return err
	}
	second.lane, second.at.Next = l.second, number
	second.recs = newRecords(before, first.recs.size)
	second.recs.shown = first.recs.shown
	return second.finish(ctx)
}

// lastNumber is about the highest number that a namespace has given.
func (r *records) lastNumber(ns collector.ID) uint32 {
	for i := range r.snapshot.Namespaces {
		if n := &r.snapshot.Namespaces[i]; n.ID == ns && n.Allocated&^collector.PidnsAdding >= manyNumbers {
			return n.Cursor
		}
	}
	return 0
}

// count is how many records there are.
func (r *records) count() boundary {
	if r.last != nil {
		return boundary{tasks: r.seen.tasks, pids: r.seen.pids, idr: r.seen.idr}
	}
	return boundary{tasks: len(r.snapshot.Tasks), pids: len(r.snapshot.Pids), idr: len(r.snapshot.IDR)}
}

// allSeen reports whether the pass was the same as the last to its end.
func (r *records) allSeen() bool {
	l := r.last
	return l != nil && r.seen.tasks == len(l.Tasks) && r.seen.pids == len(l.Pids) && r.seen.idr == len(l.IDR)
}

// join adds the records of the second lane. last is the snapshot of which both
// saw a part.
func (r *records) join(second *records, last *collector.Snapshot) {
	same := r.allSeen() && second.allSeen()
	r.tasks += second.tasks
	if same {
		r.last = last
		r.seen.tasks, r.seen.pids, r.seen.idr = len(last.Tasks), len(last.Pids), len(last.IDR)
	} else {
		r.part()
		second.part()
		r.snapshot.Tasks = append(r.snapshot.Tasks, second.snapshot.Tasks...)
		r.snapshot.Pids = append(r.snapshot.Pids, second.snapshot.Pids...)
		r.snapshot.IDR = append(r.snapshot.IDR, second.snapshot.IDR...)
	}
	r.snapshot.Namespaces = append(r.snapshot.Namespaces, second.snapshot.Namespaces...)
	had := make(map[collector.ID]bool, len(r.userNamespaces))
	for i := range r.userNamespaces {
		had[r.userNamespaces[i].ID] = true
	}
	for _, u := range second.userNamespaces {
		if !had[u.ID] {
			r.userNamespaces = append(r.userNamespaces, u)
			r.maps[u.ID] = second.maps[u.ID]
		}
	}
}
