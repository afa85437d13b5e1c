// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"context"
	"maps"
	"runtime"
	"slices"
	"sync"

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

// part is where a stretch of a walk ended: before which number (0: there is no
// end), and after which records of the snapshot.
type part struct {
	until            uint32
	tasks, pids, idr int
}

// division is a walk that two lanes share: each takes the next stretch when it is
// done with one, as neither has a processor for itself. What a stretch shows
// does not depend on its lane, so a later pass over the same stretches shows the
// same in the same order.
type division struct {
	mu        sync.Mutex
	stretches []*stretch
	taken     int // of those
	joined    int // likewise: their records are in whole
	failed    bool
	whole     *records
	parts     []part
	size      int                   // records of a stretch, about
	spare     []*collector.Snapshot // room for those of another
}

// walkRest walks what is left, with a second lane if that is much. Later passes
// are divided as the first was.
func (l *Loader) walkRest(ctx context.Context, first *stretch) error {
	was := l.parts
	l.parts = nil
	objects, highest := first.recs.extent(collector.ID(l.target.Ns))
	room := objects + objects/16
	if l.scope != Container || first.done || objects < int(manyNumbers) || highest < first.next+manyNumbers || runtime.GOMAXPROCS(0) < 2 {
		if first.recs.last == nil && objects >= int(manyNumbers) {
			first.recs.grow(room)
		}
		return first.finish(ctx)
	}
	second, err := l.other()
	if err != nil {
		return err
	}
	d := l.divide(first, was, room, highest)
	walked := make(chan error, 1)
	go func() { walked <- d.walk(ctx, second) }()
	err = d.walkFrom(ctx, first)
	if secondErr := <-walked; err == nil {
		err = secondErr
	}
	if err == nil {
		l.parts = d.parts
	}
	return err
}

// divide divides what first has begun, whose records become those of the first
// part only. All of it gets room for so many.
func (l *Loader) divide(first *stretch, was []part, room int, highest uint32) *division {
	// One that showed less than one lane is for was not divided, or ended before.
	last := l.last
	if last != nil && (len(was) == 0 || was[0].until <= first.next || !first.recs.within(was[0])) {
		first.recs.part()
		last = nil
	}
	if last == nil {
		was = newParts(first.next, highest)
	}
	whole, begun := first.recs, *first.recs
	*whole = *newRecords(last, room)
	whole.shown = begun.shown
	d := &division{whole: whole, taken: 1, size: int(was[0].until-first.next) + 64}
	if begun.last == nil {
		begun.grow(d.size)
	}
	first.recs = &begun
	var from part
	for i, to := range was {
		s := first
		if i > 0 {
			l.passes++
			s = &stretch{pass: l.passes, next: from.until}
		}
		s.until = to.until
		if last != nil {
			s.last = &collector.Snapshot{
				Tasks: last.Tasks[from.tasks:to.tasks], Pids: last.Pids[from.pids:to.pids], IDR: last.IDR[from.idr:to.idr],
			}
		}
		d.stretches = append(d.stretches, s)
		from = to
	}
	if begun.last != nil { // nothing has differed yet
		begun.last = first.last
	}
	return d
}

// newParts divides the numbers from first to about last.
func newParts(first, last uint32) []part {
	const most = 64
	size := max(manyNumbers/4, (last-first)/most, 64) &^ 63
	var parts []part
	for n := (first + size) &^ 63; n+size <= last; n += size {
		parts = append(parts, part{until: n})
	}
	return append(parts, part{})
}

// walkFrom walks the stretch that was begun, and then others.
func (d *division) walkFrom(ctx context.Context, first *stretch) error {
	err := first.finish(ctx)
	if err != nil {
		d.fail()
		return err
	}
	d.join(first)
	return d.walk(ctx, first.lane)
}

// walk walks stretches in one lane until there are no more.
func (d *division) walk(ctx context.Context, in *lane) error {
	for {
		s := d.take()
		if s == nil {
			return nil
		}
		s.lane = in
		if err := s.finish(ctx); err != nil {
			d.fail()
			return err
		}
		d.join(s)
	}
}

func (d *division) fail() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failed = true
}

// take is the next stretch that nobody has, or nil.
func (d *division) take() *stretch {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failed || d.taken == len(d.stretches) {
		return nil
	}
	s := d.stretches[d.taken]
	d.taken++
	var room *collector.Snapshot
	if n := len(d.spare); n > 0 {
		room, d.spare = d.spare[n-1], d.spare[:n-1]
	}
	s.recs = newRecordsIn(room, s.last, d.size)
	s.recs.shown = d.whole.shown
	return s
}

// join adds the records of a stretch when those of all before it are there.
func (d *division) join(s *stretch) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s.walked = true
	for d.joined < len(d.stretches) && d.stretches[d.joined].walked {
		s := d.stretches[d.joined]
		d.joined++
		d.whole.join(s.recs)
		p := d.whole.count()
		p.until = s.until
		d.parts = append(d.parts, p)
		if !s.recs.allSeen() {
			d.spare = append(d.spare, s.recs.snapshot)
		}
		s.recs = nil
	}
}

// extent is how many pid objects a namespace has, and about its highest number.
func (r *records) extent(ns collector.ID) (objects int, highest uint32) {
	for i := range r.snapshot.Namespaces {
		if n := &r.snapshot.Namespaces[i]; n.ID == ns {
			return int(n.Allocated &^ collector.PidnsAdding), n.Cursor
		}
	}
	return 0, 0
}

// count is how many records there are.
func (r *records) count() part {
	if r.last != nil {
		return part{tasks: r.seen.tasks, pids: r.seen.pids, idr: r.seen.idr}
	}
	return part{tasks: len(r.snapshot.Tasks), pids: len(r.snapshot.Pids), idr: len(r.snapshot.IDR)}
}

// within reports whether what the pass has shown so far can be the beginning of a
// part of the last one.
func (r *records) within(p part) bool {
	return r.last == nil || r.seen.tasks <= p.tasks && r.seen.pids <= p.pids && r.seen.idr <= p.idr
}

// allSeen reports whether the pass was the same as the last to its end.
func (r *records) allSeen() bool {
	l := r.last
	return l != nil && r.seen.tasks == len(l.Tasks) && r.seen.pids == len(l.Pids) && r.seen.idr == len(l.IDR)
}

// join adds the records of the stretch that comes next.
func (r *records) join(next *records) {
	r.tasks += next.tasks
	if r.last != nil && next.allSeen() {
		r.seen.tasks += next.seen.tasks
		r.seen.pids += next.seen.pids
		r.seen.idr += next.seen.idr
	} else {
		r.part()
		next.part()
		r.snapshot.Tasks = append(r.snapshot.Tasks, next.snapshot.Tasks...)
		r.snapshot.Pids = append(r.snapshot.Pids, next.snapshot.Pids...)
		r.snapshot.IDR = append(r.snapshot.IDR, next.snapshot.IDR...)
	}
	r.snapshot.Namespaces = append(r.snapshot.Namespaces, next.snapshot.Namespaces...)
	r.snapshot.Misnumbered = append(r.snapshot.Misnumbered, next.snapshot.Misnumbered...)
	maps.Copy(r.undecided, next.undecided)
	for ns, c := range next.chains {
		if had, ok := r.chains[ns]; !ok {
			r.chains[ns] = c
		} else if !slices.Equal(had.namespaces, c.namespaces) {
			r.snapshot.Misnumbered = append(r.snapshot.Misnumbered, c.object)
		}
	}
	had := make(map[collector.ID]bool, len(r.userNamespaces))
	for i := range r.userNamespaces {
		had[r.userNamespaces[i].ID] = true
	}
	for _, u := range next.userNamespaces {
		if !had[u.ID] {
			r.userNamespaces = append(r.userNamespaces, u)
			r.maps[u.ID] = next.maps[u.ID]
		}
	}
}
