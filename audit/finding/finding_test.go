// SPDX-License-Identifier: Apache-2.0

package finding

import (
	"strings"
	"testing"
	"time"

	"github.com/pidgraft/pidgraft/audit/event"
	"github.com/pidgraft/pidgraft/audit/state"
	"github.com/pidgraft/pidgraft/collector"
)

// world makes states task by task. Identities are made of numbers: that of a
// task is its own number, that of its pid object 1000 more.
type world struct{ *state.State }

func newWorld() world { return world{state.New(0)} }

const object = 1000

// task puts in a task. inner, if not 0, is its number in a namespace below.
func (w world) task(nr, inner, tgid, pgid, sid, parent int32, change ...func(*event.Task)) {
	e := event.Task{
		ID: collector.ID(nr), StartTime: uint64(nr), Pid: collector.ID(nr + object),
		Numbers: []event.Number{{Nr: nr, Inode: 1, Namespace: 11}},
		Process: collector.ID(tgid + object), Group: collector.ID(pgid + object), Session: collector.ID(sid + object),
		Parent: collector.ID(parent), Comm: "t",
	}
	if inner != 0 {
		e.Numbers = append(e.Numbers, event.Number{Nr: inner, Inode: 2, Namespace: 22})
	}
	for _, c := range change {
		c(&e)
	}
	w.Put(e)
}

func zombie(t *event.Task) { t.Flags, t.ExitState = 0x4, 0x20 }
func exiting(t *event.Task) {
	t.Flags = 0x4
}

func TestFind(t *testing.T) {
	for _, test := range []struct {
		name    string
		build   func(world)
		want    []Kind
		text    string
		culprit int32
	}{
		{"healthy", func(w world) {
			w.task(1, 0, 1, 1, 1, 0)
			w.task(2, 0, 2, 2, 1, 1)
			w.task(3, 0, 2, 2, 1, 1)
		}, nil, "", 0},
		{"leaderless session", func(w world) {
			w.task(1, 0, 1, 1, 1, 0)
			w.task(2, 0, 2, 2, 2, 1)
			w.task(3, 0, 3, 2, 2, 2)
			w.Remove(2, 2)
		}, []Kind{Leaderless}, "session 2 has no leader any more, and process 3 in it", 0},
		{"session of the kernel threads", func(w world) {
			w.task(1, 0, 1, 1, 1, 0)
			e := event.Task{
				ID: 2, StartTime: 1, Pid: object + 2, Process: object + 2, Group: object, Session: object, Parent: 1,
				Numbers: []event.Number{{Nr: 2, Inode: 1, Namespace: 11}}, Comm: "kthreadd",
			}
			w.Put(e)
			// Number 0, which only the idle tasks carry.
			e.ID, e.Pid, e.Process, e.Numbers = 99, object, object, []event.Number{{Nr: 0, Inode: 1, Namespace: 11}}
			w.Put(e)
			w.Remove(99, 1)
		}, nil, "", 0},
		{"orphaned group", func(w world) {
			w.task(1, 0, 1, 1, 1, 0)
			w.task(2, 0, 2, 2, 2, 1)
			w.task(3, 0, 3, 3, 2, 1)
		}, []Kind{Orphaned}, "group 3 is orphaned", 0},
		{"zombie", func(w world) {
			w.task(1, 0, 1, 1, 1, 0)
			w.task(2, 0, 2, 1, 1, 1)
			w.task(3, 0, 3, 1, 1, 2, zombie)
		}, []Kind{Zombie}, "its parent 2 (t) does not reap it", 2},
		{"dead leader of a live process", func(w world) {
			w.task(1, 0, 1, 1, 1, 0)
			w.task(2, 0, 2, 1, 1, 1, zombie)
			w.task(3, 0, 2, 1, 1, 1)
		}, nil, "", 0},
		{"tgid of nobody", func(w world) {
			w.task(1, 0, 1, 1, 1, 0)
			w.task(3, 0, 2, 1, 1, 1)
		}, nil, "", 0}, // not described, so nothing is known of it
		{"group across sessions", func(w world) {
			w.task(1, 0, 1, 1, 1, 0)
			w.task(2, 0, 2, 1, 2, 1)
		}, []Kind{Invariant}, "group 1 has members in the sessions", 0},
		{"leader in another session", func(w world) {
			w.task(1, 0, 1, 1, 1, 0)
			w.task(2, 0, 2, 2, 1, 1)
			w.task(3, 0, 3, 2, 2, 2)
		}, []Kind{Invariant, Invariant}, "", 0},
		{"namespace without init", func(w world) {
			w.task(1, 0, 1, 1, 1, 0)
			w.task(5, 2, 5, 1, 1, 1)
		}, []Kind{Invariant}, "pid namespace 2 has no init and has 1 tasks", 0},
		{"init that waits for an entrant", func(w world) {
			w.task(1, 0, 1, 1, 1, 0)
			w.task(5, 1, 5, 1, 1, 1, exiting)
			w.task(6, 2, 6, 1, 1, 1, zombie)
		}, []Kind{StuckInit, Zombie}, "1 (t) outside has not reaped 6/2 (t)", 1},
		{"init that waits for a member of a group", func(w world) {
			w.task(1, 0, 1, 1, 1, 0)
			w.task(5, 1, 5, 5, 1, 1, exiting)
			w.task(6, 2, 6, 6, 1, 5)
			w.task(7, 0, 7, 6, 1, 1)
			w.Remove(6, 6)
		}, []Kind{StuckInit}, "7 (t) outside is in the group 6/2", 7},
		{"dead namespace", func(w world) {
			w.task(1, 0, 1, 1, 1, 0)
			w.task(5, 1, 5, 5, 1, 1)
			w.task(6, 0, 6, 5, 1, 1)
			w.Remove(5, 5)
		}, []Kind{DeadInit}, "still has 1 numbers", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld()
			test.build(w)
			if err := w.Check(); err != nil {
				t.Fatal(err)
			}
			all := Find(w.State)
			var kinds []Kind
			said, blamed := test.text == "", test.culprit == 0
			for _, f := range all {
				kinds = append(kinds, f.Kind)
				said = said || strings.Contains(f.Text, test.text)
				blamed = blamed || f.Culprit != nil && f.Culprit.Object.Nr == test.culprit
			}
			if len(kinds) != len(test.want) {
				t.Fatalf("found %+v, want %v", all, test.want)
			}
			have := make(map[Kind]int)
			for i := range kinds {
				have[kinds[i]]++
				have[test.want[i]]--
			}
			for kind, n := range have {
				if n != 0 {
					t.Errorf("%s: %+d", kind, n)
				}
			}
			if !said || !blamed {
				t.Errorf("nothing says %q of %d: %+v", test.text, test.culprit, all)
			}
		})
	}
}

func TestNameIsHarmless(t *testing.T) {
	w := newWorld()
	w.task(1, 0, 1, 1, 1, 0, func(e *event.Task) { e.Comm = "a\x1b[2J\xff\n" })
	if got := Name(w.Task(1)); got != "1 (a?[2J??)" {
		t.Errorf("%q", got)
	}
}

// What lasts is raised once, and cleared once; what does not is never told.
func TestTracker(t *testing.T) {
	tr := NewTracker(Options{ZombieAfter: 10, Hold: 2})
	a, z := Finding{Kind: Leaderless, Key: "a"}, Finding{Kind: Zombie, Key: "z"}
	for _, step := range []struct {
		now             time.Duration
		all             []Finding
		raised, cleared int
	}{
		{1, []Finding{a, z}, 0, 0},
		{2, []Finding{a, z}, 0, 0},
		{3, []Finding{a, z}, 1, 0},
		{4, []Finding{z}, 0, 1},
		{5, []Finding{a, z}, 0, 0},
		{6, []Finding{z}, 0, 0},
		{11, []Finding{z}, 1, 0},
		{12, []Finding{z}, 0, 0},
		{13, nil, 0, 1},
	} {
		raised, cleared := tr.Update(step.all, uint64(step.now))
		if len(raised) != step.raised || len(cleared) != step.cleared {
			t.Errorf("at %d: raised %v, cleared %v", step.now, raised, cleared)
		}
	}
	if all := tr.Raised(); len(all) != 0 {
		t.Errorf("still raised: %v", all)
	}
}
