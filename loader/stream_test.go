// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"testing"
	"time"

	"github.com/pidgraft/pidgraft/audit/event"
	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/internal/testforest"
)

// follow begins to follow the container of a forest.
func follow(t testing.TB, pid int, opts StreamOptions) (*Loader, *Stream) {
	t.Helper()
	require.Root(t)
	l := start(t, Target{PID: pid, Scope: Container, Unwatched: true})
	s, err := l.Follow(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return l, s
}

// until reads events until one fits, and gives that.
func until(t testing.TB, s *Stream, fits func(event.Event) bool) event.Event {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		events, err := s.Read(nil, time.Now().Add(20*time.Millisecond), 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			if fits(e) {
				return e
			}
		}
	}
	t.Fatal("no such event came")
	return event.Event{}
}

// Each operation is followed by an event that shows the task as it then is.
func TestStreamShowsTasks(t *testing.T) {
	privileged(t)
	t.Run("tracepoints", func(t *testing.T) { streamShowsTasks(t, Tracepoints) })
	t.Run("fentry", func(t *testing.T) {
		require.Feature(t, require.Trampolines)
		streamShowsTasks(t, Fentry)
	})
}

func streamShowsTasks(t *testing.T, source Source) {
	f := testforest.Start(t, `
		outside fork init newpid
		init fork a
		init fork b
		init fork inner newpid
		inner fork deep`)
	_, s := follow(t, f.Root(), StreamOptions{Source: source})
	if is, err := s.Source(); is != source || err != nil {
		t.Errorf("the source is %v: %v", is, err)
	}
	// numbers are those that the forest knows a task by.
	is := func(kind event.Kind, name string) func(event.Event) bool {
		return func(e event.Event) bool {
			return e.Kind == kind && len(e.Task.Numbers) > 0 && int(e.Task.Numbers[0].Nr) == f.PID(name)
		}
	}
	do := func(line string) {
		t.Helper()
		if err := f.Do(line); err != nil {
			t.Fatal(err)
		}
	}

	do("a fork c")
	e := until(t, s, is(event.Birth, "c"))
	if n := len(e.Task.Numbers); n != 2 {
		t.Errorf("c has %d numbers, want 2", n)
	}
	if int(e.Creator.HostNr) != f.PID("a") || e.Creator.Namespace != e.Task.Numbers[1].Namespace {
		t.Errorf("the creator of c is %+v", e.Creator)
	}
	c := e.Task
	if e = until(t, s, is(event.Change, "c")); e.Task.Comm != "c" {
		t.Errorf("c calls itself %q", e.Task.Comm)
	}
	do("c setsid")
	// By fentry there is one for the session before.
	e = until(t, s, func(e event.Event) bool {
		return is(event.Change, "c")(e) && (source == Tracepoints || e.Task.Group == e.Task.Pid)
	})
	if e.Task.Session != c.Pid || e.Task.Group != c.Pid || e.Task.ID != c.ID {
		t.Errorf("after setsid c is %+v", e.Task)
	}
	// A parent moves its child: the event is the child's.
	do("inner setpgid deep self")
	e = until(t, s, is(event.Change, "deep"))
	if len(e.Task.Numbers) != 3 || e.Task.Group != e.Task.Pid || e.Task.GroupNr == 0 {
		t.Errorf("after setpgid deep is %+v", e.Task)
	}
	do("b subreaper 1")
	if e = until(t, s, is(event.Change, "b")); !e.Task.Subreaper {
		t.Error("b is no subreaper")
	}
	do("b thread x")
	if e = until(t, s, is(event.Birth, "x")); e.Task.Process == e.Task.Pid || e.Task.ProcessNr == 0 {
		t.Errorf("the thread is %+v", e.Task)
	}
	do("a exec")
	until(t, s, is(event.Exec, "a"))
	do("c exit 3")
	if e = until(t, s, is(event.Exit, "c")); e.Task.ID != c.ID || e.Task.Flags&4 == 0 {
		t.Errorf("at its exit c is %+v", e.Task)
	}
	do("b setns inner pid")
	if e = until(t, s, is(event.Change, "b")); e.Task.ChildNamespace == e.Task.Numbers[1].Namespace {
		t.Errorf("after setns b is %+v", e.Task)
	}
	do("b fork entrant")
	e = until(t, s, is(event.Birth, "entrant"))
	if len(e.Task.Numbers) != 3 || e.Creator.Namespace == e.Task.Numbers[2].Namespace {
		t.Errorf("the entrant is %+v", e)
	}
	do("a reap c")
	e = until(t, s, func(e event.Event) bool { return e.Kind == event.Free && e.Task.ID == c.ID })
	if e.Task.StartTime != c.StartTime {
		t.Errorf("c was born at %d and is freed as one born at %d", c.StartTime, e.Task.StartTime)
	}
}

// A task is read again by its number in the target's namespace.
func TestStreamRefresh(t *testing.T) {
	privileged(t)
	f := testforest.Start(t, "outside fork init newpid\ninit sleepers 70\ninit fork a")
	_, s := follow(t, f.Root(), StreamOptions{})
	for _, number := range []int32{1, 64, 72} {
		if ok, err := s.Refresh(number); !ok || err != nil {
			t.Fatalf("refresh %d: %v, %v", number, ok, err)
		}
		until(t, s, func(e event.Event) bool {
			return e.Kind == event.Refresh && e.Task.Numbers[1].Nr == number
		})
	}
	for _, number := range []int32{0, 73, 64 * 64, 1 << 21, -1} {
		if ok, err := s.Refresh(number); ok || err != nil {
			t.Errorf("refresh %d: %v, %v", number, ok, err)
		}
	}
}

// What is lost is counted, in the counters and in the next event.
func TestStreamLoss(t *testing.T) {
	privileged(t)
	f := testforest.Start(t, "outside fork init newpid\ninit fork a")
	_, s := follow(t, f.Root(), StreamOptions{RingBytes: 4096})
	for range 100 {
		if _, err := s.Refresh(1); err != nil {
			t.Fatal(err)
		}
	}
	totals, err := s.Totals()
	if err != nil {
		t.Fatal(err)
	}
	if totals.Lost() < 80 || totals.Dropped() != 0 {
		t.Errorf("got %+v", totals)
	}
	events, err := s.Read(nil, time.Now(), 1000)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Refresh(2); err != nil {
		t.Fatal(err)
	}
	last := until(t, s, func(e event.Event) bool { return e.Kind == event.Refresh && e.Task.Numbers[1].Nr == 2 })
	totals, err = s.Totals()
	if err != nil {
		t.Fatal(err)
	}
	if last.Lost == 0 || last.Lost > totals.CPU[last.CPU].Lost {
		t.Errorf("the event says that %d are lost, the counters %+v", last.Lost, totals)
	}
	if len(events) == 0 || events[0].Lost != 0 {
		t.Errorf("%d events came before", len(events))
	}
}

// One in so many is dropped on purpose, and counted as such.
func TestStreamDrop(t *testing.T) {
	privileged(t)
	f := testforest.Start(t, "outside fork init newpid")
	_, s := follow(t, f.Root(), StreamOptions{DropOneIn: 4})
	const asked = 400
	got := 0
	for range asked {
		if _, err := s.Refresh(1); err != nil {
			t.Fatal(err)
		}
	}
	events, err := s.Read(nil, time.Now(), 10*asked)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Kind == event.Refresh {
			got++
		}
	}
	totals, err := s.Totals()
	if err != nil {
		t.Fatal(err)
	}
	// Those missed are of hooks, which a refresh is none of.
	if totals.Dropped()+totals.Missed != totals.Lost() || totals.Dropped() < uint64(asked-got) || got < asked/2 || got > asked*9/10 {
		t.Errorf("%d of %d came, the counters say %+v", got, asked, totals)
	}
}
