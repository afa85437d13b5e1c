// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"context"
	"runtime"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/pidgraft/pidgraft/bpf"
	"github.com/pidgraft/pidgraft/collector"
)

// A walk of an idr is mostly waiting for memory, which two processors do at
// once. manyNumbers is from when on it is worth it.
//
// Tests replace it.
var manyNumbers uint32 = 4096

// lanes is how many there can be (bpf/emit.h, LANES).
const lanes = 2

// lane is what walks an idr: the program, with a number that keeps apart what two
// lanes remember, and a ring of its own.
type lane struct {
	program *ebpf.Program
	number  uint64
	ring    *ringbuf.Reader
}

// first is the lane that there always is.
func (l *Loader) first() *lane {
	return &lane{l.coll.Programs[bpf.PidsProgWalkIdr], 0, l.ring}
}

// other is the second lane.
func (l *Loader) other() (*lane, error) {
	if l.second == nil {
		ring, err := ringbuf.NewReader(l.coll.Maps[bpf.PidsMapSecondRing])
		if err != nil {
			return nil, explain("open the second ring buffer", err)
		}
		l.second = ring
	}
	return &lane{l.coll.Programs[bpf.PidsProgWalkIdr], 1, l.second}, nil
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
	second := &stretch{}
	var after *collector.Snapshot
	switch {
	case was.number > first.next && l.last != nil:
		second.next, first.until = was.number, was.number
		var before *collector.Snapshot
		before, after = was.split(l.last)
		if first.recs.last != nil { // nothing has differed yet
			first.recs.last = before
		}
	default:
		if second.next = first.yield(last); second.next == 0 {
			return first.finish(ctx)
		}
	}
	second.recs = newRecords(after, min(first.recs.size, int(last-second.next)+1))
	second.recs.shown = first.recs.shown
	var err error
	if second.lane, err = l.other(); err != nil {
		return err
	}
	walked := make(chan error, 1)
	go func() { walked <- second.finish(ctx) }()
	err = first.finish(ctx)
	if secondErr := <-walked; err == nil {
		err = secondErr
	}
	if err != nil {
		return err
	}
	l.boundary = first.recs.count()
	l.boundary.number = first.until
	first.recs.join(second.recs, l.last)
	return nil
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
