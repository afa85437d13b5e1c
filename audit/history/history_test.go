// SPDX-License-Identifier: Apache-2.0

package history

import (
	"bytes"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/pidgraft/pidgraft/audit/event"
	"github.com/pidgraft/pidgraft/audit/follow"
	"github.com/pidgraft/pidgraft/audit/state"
	"github.com/pidgraft/pidgraft/collector"
)

// process is one of a machine, which forgets nothing.
type process struct {
	nr      int32
	object  collector.ID
	start   uint64
	creator *process
	born    *process // whose session it was born in
	session *process
	dead    bool
	seen    bool // its birth was told
}

// machine makes events, and remembers all of its history. Addresses are used
// again at once.
type machine struct {
	s     *state.State
	t     *Tracker
	all   []*process
	live  []*process
	free  []collector.ID
	next  collector.ID
	clock uint64
}

func newMachine() *machine {
	m := &machine{s: state.New(0), t: NewTracker(), next: 1}
	m.fork(nil, false)
	return m
}

// address is one that is free.
func (m *machine) address() collector.ID {
	if n := len(m.free); n > 0 {
		id := m.free[n-1]
		m.free = m.free[:n-1]
		return id
	}
	m.next++
	return m.next
}

const taskOf = 1 << 20 // what a task's address is above its object's

func (m *machine) task(p *process) event.Task {
	return event.Task{
		ID: p.object + taskOf, StartTime: p.start, Pid: p.object,
		Numbers: []event.Number{{Nr: p.nr, Inode: 1, Namespace: 9}},
		Process: p.object, Group: p.session.object, Session: p.session.object,
	}
}

func (m *machine) tell(e event.Event) {
	m.clock++
	e.When = m.clock
	was := follow.Before{}
	if t := m.s.Task(e.Task.ID); t != nil {
		was = follow.Before{Known: true, Object: t.Object, Group: t.Process.Group, Session: t.Process.Session}
	}
	m.s.Apply(e)
	m.t.Event(m.s, e, was, m.s.Task(e.Task.ID))
}

// fork makes a process; if nobody tells, the tracker learns of it by a snapshot.
func (m *machine) fork(by *process, told bool) *process {
	m.clock++
	p := &process{nr: int32(len(m.all) + 1), object: m.address(), start: m.clock, creator: by, seen: told}
	p.session = p
	if by != nil {
		p.session = by.session
	}
	p.born = p.session
	m.all, m.live = append(m.all, p), append(m.live, p)
	if !told {
		m.s.Put(m.task(p))
		m.t.Renewed(m.s)
		return p
	}
	e := event.Event{Kind: event.Birth, Task: m.task(p)}
	if by != nil {
		e.Creator = event.Creator{ID: by.object + taskOf, Nr: by.nr, HostNr: by.nr}
	}
	m.tell(e)
	return p
}

func (m *machine) setsid(p *process) {
	for _, other := range m.all {
		if other.session == p && !other.dead {
			return
		}
	}
	old := p.session
	p.session = p
	m.tell(event.Event{Kind: event.Change, Task: m.task(p)})
	m.release(old)
}

// release gives the address of a dead process back when it leads nothing.
func (m *machine) release(p *process) {
	for _, other := range m.live {
		if other == p || other.session == p {
			return
		}
	}
	m.free = append(m.free, p.object)
}

func (m *machine) exit(i int) {
	p := m.live[i]
	m.live = append(m.live[:i:i], m.live[i+1:]...)
	p.dead = true
	m.tell(event.Event{Kind: event.Free, Task: event.Task{ID: p.object + taskOf, StartTime: p.start}})
	m.release(p)
	if p.session != p {
		for _, other := range m.live {
			if other == p.session {
				return
			}
		}
		m.release(p.session)
	}
}

func (m *machine) play(t *rapid.T, steps int) {
	for range steps {
		i := rapid.IntRange(0, len(m.live)-1).Draw(t, "who")
		p := m.live[i]
		switch rapid.IntRange(0, 9).Draw(t, "what") {
		case 0, 1, 2, 3:
			m.fork(p, true)
		case 4:
			m.fork(p, false)
		case 5:
			m.setsid(p)
		default:
			if len(m.live) > 1 {
				m.exit(i)
			}
		}
	}
}

// truth holds what a File says against all that happened. Taken: the Tracker had
// taken over from another.
func (m *machine) truth(f *File, taken bool) error {
	of := map[int32]*process{}
	for _, p := range m.all {
		of[p.nr] = p
	}
	used := map[int32]bool{}
	for _, p := range m.live {
		used[p.nr], used[p.session.nr] = true, true
	}
	alive, children := 0, make([]int, len(f.Entries))
	for i := range f.Entries {
		if up := f.Entries[i].Parent; up >= 0 {
			children[up]++
		}
	}
	for i := range f.Entries {
		e := &f.Entries[i]
		if e.Marks&Dead != 0 && e.Marks&Ghost == 0 && children[i] < 2 {
			return fmt.Errorf("%d is gone, and tells nobody apart", e.Nr)
		}
		p := of[e.Nr]
		if p == nil || e.Start != 0 && p.start != e.Start || (e.Marks&Dead != 0) != p.dead {
			return fmt.Errorf("entry %d is nobody: %+v", i, e)
		}
		if !p.dead {
			alive++
		}
		if e.Marks&Seen == 0 {
			if p.seen && !p.dead {
				return fmt.Errorf("the birth of %d was told", p.nr)
			}
			continue
		}
		// Those that are gone and whose own births nobody saw break the line.
		known := p.creator
		for known != nil && !used[known.nr] && known.seen {
			known = known.creator
		}
		if known != nil && used[known.nr] && e.Parent < 0 && !taken {
			return fmt.Errorf("%d descends from %d, and the history does not know of whom", p.nr, known.nr)
		}
		up := p.creator
		for range e.Between {
			// One who led a ghost is another one for who takes over without a
			// witness.
			if up == nil || used[up.nr] && !taken {
				return fmt.Errorf("%d has %d between, one of which is %v", p.nr, e.Between, up)
			}
			up = up.creator
		}
		switch {
		case e.Parent >= 0 && (up == nil || up.nr != f.Entries[e.Parent].Nr):
			return fmt.Errorf("%d was born of %v, and the history says of %d", p.nr, up, f.Entries[e.Parent].Nr)
		case e.Session >= 0 && f.Entries[e.Session].Nr != p.born.nr:
			return fmt.Errorf("%d was born in session %d, and the history says in %d", p.nr, p.born.nr, f.Entries[e.Session].Nr)
		case !p.dead && p.session != p && e.Session < 0 && !taken:
			return fmt.Errorf("nothing is known of the session of %d", p.nr)
		}
	}
	if alive != len(m.live) {
		return fmt.Errorf("%d live, and the history has %d", len(m.live), alive)
	}
	if ghosts := len(used) - alive; len(f.Entries) > 2*(alive+ghosts) {
		return fmt.Errorf("%d entries for %d live and %d ghosts", len(f.Entries), alive, ghosts)
	}
	return nil
}

// Whatever happens, the history is true, as small as it should be, survives being
// written down, and goes on from there.
func TestHistoryIsTrue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine()
		m.play(t, rapid.IntRange(0, 60).Draw(t, "steps"))
		m.t.sweep(m.s)
		f := m.t.Export(Header{Namespace: 1, Boottime: m.clock})
		if err := m.truth(f, false); err != nil {
			t.Fatal(err)
		}
		b := f.Encode()
		back, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(back.Encode(), b) {
			t.Fatal("it does not come back as it was")
		}
		// Another auditor takes over, after some time in which nobody looked.
		m.t = NewTracker() // which learns of it, and is of no use
		for range rapid.IntRange(0, 10).Draw(t, "unseen") {
			if rapid.Bool().Draw(t, "birth") || len(m.live) < 2 {
				m.fork(m.live[0], false)
			} else {
				m.exit(rapid.IntRange(1, len(m.live)-1).Draw(t, "who"))
			}
		}
		m.t = NewTracker()
		m.t.Load(back)
		m.t.Renewed(m.s)
		m.play(t, rapid.IntRange(0, 20).Draw(t, "more steps"))
		m.t.sweep(m.s)
		f = m.t.Export(Header{})
		for i := range f.Entries {
			if e := &f.Entries[i]; e.Marks&Dead == 0 && m.all[e.Nr-1].seen != (e.Marks&Seen != 0) {
				t.Fatalf("the birth of %d was told: %v; the history knows it: %v", e.Nr, m.all[e.Nr-1].seen, e.Marks&Seen != 0)
			}
		}
		if err := m.truth(f, true); err != nil {
			t.Fatal(err)
		}
	})
}

// The session of kernel threads, number 0 of the initial namespace, is nobody's to
// have led: one who was born in it was born in one that is not visible.
func TestBornWithTheIdle(t *testing.T) {
	const ns, idle, parent, child = 0x9, 0x10, 0x20, 0x30
	s, err := state.FromSnapshot(&collector.Snapshot{
		Namespace: ns, Namespaces: []collector.Namespace{{ID: ns, Inode: 1}},
		Pids: []collector.Pid{
			{ID: idle, Namespace: ns, Numbers: []int32{0}},
			{ID: parent, Namespace: ns, Numbers: []int32{5}, HasPID: true, HasTGID: true},
		},
		Tasks: []collector.Task{{ID: 1, GroupLeader: 1, Pid: parent, TGID: parent, PGID: idle, SID: idle, StartTime: 1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	tracker := NewTracker()
	tracker.Renewed(s)
	e := event.Event{Kind: event.Birth, When: 7, Creator: event.Creator{ID: 1, Nr: 5, HostNr: 5}, Task: event.Task{
		ID: 2, StartTime: 2, Pid: child, Process: child, Group: idle, Session: idle,
		Numbers: []event.Number{{Nr: 6, Inode: 1, Namespace: ns}},
	}}
	s.Apply(e)
	tracker.Event(s, e, follow.Before{}, s.Task(2))
	f, err := Decode(tracker.Export(Header{Namespace: 1}).Encode())
	if err != nil {
		t.Fatal(err)
	}
	if n := len(f.Entries); n != 2 || f.Entries[1].Session != Outside || f.Entries[1].Group != Outside {
		t.Errorf("%+v", f.Entries)
	}
}
