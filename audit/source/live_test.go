// SPDX-License-Identifier: Apache-2.0

package source_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pidgraft/pidgraft/audit/event"
	"github.com/pidgraft/pidgraft/audit/follow"
	"github.com/pidgraft/pidgraft/audit/source"
	"github.com/pidgraft/pidgraft/audit/state"
	"github.com/pidgraft/pidgraft/internal/churn"
	"github.com/pidgraft/pidgraft/internal/leak"
	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/internal/testforest"
	"github.com/pidgraft/pidgraft/internal/witness"
	"github.com/pidgraft/pidgraft/loader"
)

var (
	duration = flag.Duration("audit.for", 3*time.Second, "how long to follow a random workload, or to check it; a third in guests")
	moments  = flag.Int("audit.moments", 6, "at how many moments to compare it; half of them in guests")
)

func TestMain(m *testing.M) { os.Exit(leak.Checked(m, churn.Close, testforest.Close).Run()) }

// So many tasks do this and that in a random workload, and so many births a second
// go on beside; fewer in guests (package churn).
const tasks, births = 60, 2000

// work is what is done with a random workload.
type work struct {
	moments  int
	duration time.Duration
	ring     uint32 // bytes that some seconds of it do not fit
}

// workload is for the machine. A guest has one processor, which counts its
// instructions: as much there would be minutes of the host's.
func workload() work {
	if require.InGuest() {
		return work{*moments / 2, *duration / 3, 1 << 17}
	}
	return work{*moments, *duration, 1 << 19}
}

// follower is a live namespace being followed.
type follower struct {
	*follow.Follower
	t      testing.TB
	live   *source.Live
	beside *loader.Loader // of another snapshot

	events    int
	births    int
	losses    []follow.Loss
	snapshots []follow.Snapshot
	recovered []follow.Recovered
}

func (f *follower) Event(e event.Event, _ follow.Before, _ *state.Task) {
	f.events++
	if e.Kind == event.Birth {
		f.births++
	}
}
func (f *follower) Loss(l follow.Loss)           { f.losses = append(f.losses, l) }
func (f *follower) Snapshot(s follow.Snapshot)   { f.snapshots = append(f.snapshots, s) }
func (f *follower) Recovered(r follow.Recovered) { f.recovered = append(f.recovered, r) }
func (f *follower) Tick() error                  { return nil }

func (f *follower) lost() uint64 {
	n := uint64(0)
	for _, l := range f.losses {
		n += l.Count
	}
	return n
}

func start(t testing.TB, pid int, stream loader.StreamOptions, opts follow.Options) *follower {
	t.Helper()
	require.Root(t)
	require.Feature(t, require.BTF)
	live, err := source.Open(loader.Target{PID: pid, Scope: loader.Container}, stream)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := live.Close(); err != nil {
			t.Error(err)
		}
	})
	f := &follower{t: t, live: live}
	f.Follower = follow.New(live, f, opts)
	f.until("the first snapshot", func() bool { return f.State() != nil })
	return f
}

// run follows for a while.
func (f *follower) run(d time.Duration) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	for ctx.Err() == nil {
		f.step()
	}
}

func (f *follower) step() {
	f.t.Helper()
	if err := f.Advance(context.Background(), time.Now().Add(5*time.Millisecond)); err != nil {
		f.t.Fatal(err)
	}
}

// until follows until something is so, and fails if it does not come to that.
func (f *follower) until(what string, ok func() bool) {
	f.t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); f.step() {
		if time.Now().After(end) {
			f.t.Fatalf("after 20 seconds there is not %s", what)
		}
	}
}

// differences holds the state against an independent snapshot, by programs of its
// own.
func (f *follower) differences(pid int) []string {
	f.t.Helper()
	if f.beside == nil {
		l, err := loader.Open(loader.Target{PID: pid, Scope: loader.Container, Unwatched: true})
		if err != nil {
			f.t.Fatal(err)
		}
		f.beside = l
		f.t.Cleanup(func() { l.Close() })
	}
	s, err := f.beside.Snapshot(context.Background())
	if err != nil {
		f.t.Fatal(err)
	}
	fresh, err := state.FromSnapshot(s)
	if err != nil {
		f.t.Fatal(err)
	}
	var words []string
	for _, d := range state.Compare(f.State(), fresh) {
		words = append(words, fmt.Sprintf("task %s %v %v", d.Task.Object, d.Verb, d.What))
	}
	if got, want := f.State().Counts(), fresh.Counts(); len(words) == 0 && got != want {
		words = append(words, fmt.Sprintf("the state has %+v, the snapshot %+v", got, want))
	}
	if err := f.State().Check(); err != nil {
		words = append(words, err.Error())
	}
	return words
}

// equal waits until the state of a namespace at rest is what a fresh snapshot
// shows: tasks are freed some time after they were released.
func (f *follower) equal(pid int) {
	f.t.Helper()
	var words []string
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); f.step() {
		if words = f.differences(pid); len(words) == 0 && f.Complete() {
			return
		}
	}
	f.t.Errorf("the state is not that of a fresh snapshot (- state, + snapshot):\n%s", strings.Join(words, "\n"))
}

// cgroup is a new one that can be frozen.
type cgroup struct{ dir string }

func newCgroup(t testing.TB) (cgroup, *os.File) {
	t.Helper()
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err != nil {
			continue
		}
		dir, err := os.MkdirTemp(root, "pidgraft-audit-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
				err := os.Remove(dir)
				if err == nil {
					return
				}
				if time.Now().After(end) {
					t.Error(err)
					return
				}
			}
		})
		f, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return cgroup{dir}, f
	}
	t.Fatal("no cgroup v2 is mounted")
	return cgroup{}, nil
}

func (c cgroup) freeze(t testing.TB, yes bool) {
	t.Helper()
	word, want := "0", "frozen 0"
	if yes {
		word, want = "1", "frozen 1"
	}
	if err := os.WriteFile(filepath.Join(c.dir, "cgroup.freeze"), []byte(word), 0); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		b, err := os.ReadFile(filepath.Join(c.dir, "cgroup.events"))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), want) {
			return
		}
	}
	t.Fatalf("the cgroup does not come to be %q", want)
}

// At random moments of a random workload, held still, the state is what an
// independent snapshot and /proc show, and nothing had to be recovered.
func TestStateIsTheKernels(t *testing.T) {
	require.Root(t)
	require.Feature(t, require.BTF)
	cg, dir := newCgroup(t)
	load := workload()
	w := churn.Random(t, 1, tasks, 0, int(dir.Fd()))
	defer w.Stop() // before the cgroup goes
	f := start(t, w.PID(), loader.StreamOptions{}, follow.Options{Heal: true, Reconcile: time.Second})
	const enough = 100 // births
	begun, n, equal, beside := time.Now(), 0, 0, 0
	for ; n < load.moments || f.births < enough && n < 10*load.moments; n++ {
		// As long as makes up for what the moments take.
		left := max(time.Until(begun.Add(*duration))/time.Duration(max(load.moments-n, 1)), 10*time.Millisecond)
		if n >= load.moments {
			left = 200 * time.Millisecond // for more births
		}
		f.run(time.Duration(rand.Int64N(int64(2 * left))))
		cg.freeze(t, true)
		f.equal(w.PID())
		// The witness shares no code with what is tested, and takes its time.
		if n%5 == 0 {
			f.witness(w.PID())
			beside++
		}
		cg.freeze(t, false)
		if t.Failed() {
			n++
			break
		}
		equal++
	}
	f.until("an end of the doubts", func() bool { return !f.Pending() })
	if err := f.Drain(); err != nil {
		t.Error(err)
	}
	if len(f.losses) > 0 || len(f.recovered) > 0 {
		t.Errorf("lost %v, recovered %v", f.losses, f.recovered)
	}
	causes := make(map[string]int)
	for _, s := range f.snapshots {
		causes[s.Cause]++
	}
	t.Logf("%d moments compared, %d equal (%d also by /proc); %.0f s, %d events, %d births, snapshots for %v",
		n, equal, beside, time.Since(begun).Seconds(), f.events, f.births, causes)
	if f.births < enough {
		t.Errorf("only %d births: nothing went on", f.births)
	}
}

// Whatever is lost of a busy namespace, it is said; and when it comes to rest, one
// snapshot later the state is right again.
func TestLossIsHealed(t *testing.T) {
	require.Root(t)
	require.Feature(t, require.BTF)
	load := workload()
	for _, test := range []struct {
		name   string
		stream loader.StreamOptions
		stall  time.Duration
	}{
		{"one in 100", loader.StreamOptions{DropOneIn: 100}, 0},
		{"one in 10", loader.StreamOptions{DropOneIn: 10}, 0},
		{"stall", loader.StreamOptions{RingBytes: load.ring}, 2 * time.Second},
	} {
		if testing.Short() && test.stream.DropOneIn == 100 {
			continue // rarer, it is the same
		}
		t.Run(test.name, func(t *testing.T) {
			cg, dir := newCgroup(t)
			w := churn.Random(t, 1, tasks, births, int(dir.Fd()))
			defer w.Stop() // before the cgroup goes
			f := start(t, w.PID(), test.stream, follow.Options{Heal: true})
			begun := time.Now()
			f.run(load.duration / 3)
			if test.stream.DropOneIn > 0 {
				f.until("a loss", func() bool { return len(f.losses) > 0 })
			}
			time.Sleep(test.stall)
			cg.freeze(t, true)
			rate := float64(f.births) / time.Since(begun).Seconds()
			// What is in the ring, and the losses that are known by then.
			f.until("a whole state", func() bool { return f.Complete() && len(f.losses) > 0 })
			before, told := len(f.snapshots), len(f.losses)
			f.equal(w.PID())
			f.witness(w.PID())
			f.until("an end of the doubts", func() bool { return !f.Pending() })
			for _, s := range f.snapshots[before:] {
				// A loss that was told only since needs one of its own.
				if test.stream.DropOneIn == 0 && s.Cause == "loss" && len(f.losses) == told {
					t.Errorf("one snapshot did not do: %+v", s)
				}
			}
			if err := f.Drain(); err != nil {
				t.Error(err)
			}
			totals := f.Totals()
			if f.lost() != totals.Lost() || f.Received() != totals.Sent() {
				t.Errorf("lost %d and said so of %d, sent %d and received %d",
					totals.Lost(), f.lost(), totals.Sent(), f.Received())
			}
			for _, r := range f.recovered {
				if r.Lost == 0 {
					t.Errorf("recovered without a loss: %+v", r)
				}
			}
			// What the kernel says it has sent and lost, and what came and was said.
			silent := int64(totals.Lost()+totals.Sent()) - int64(f.lost()+f.Received())
			t.Logf("%d events lost, %d of them on purpose; %d reported in %d records; %d silent (%.0f births a second were seen, %d events came, %d snapshots, %d recoveries)",
				totals.Lost(), totals.Dropped(), f.lost(), len(f.losses), silent, rate, totals.Sent(), len(f.snapshots), len(f.recovered))
		})
	}
}

// witness holds the state against /proc.
func (f *follower) witness(pid int) {
	f.t.Helper()
	seen, err := witness.Read(pid)
	if err != nil {
		f.t.Fatal(err)
	}
	level := 0
	for task := range f.State().Tasks() {
		if task.Object.Namespace.Own > 0 && int(task.Object.Numbers[0]) == pid {
			level = len(task.Object.Numbers) - 1
		}
	}
	chain := func(o *state.Object) string {
		if o == nil || len(o.Numbers) <= level {
			return ""
		}
		_, below, _ := strings.Cut("/"+o.String(), "/")
		for range level {
			_, below, _ = strings.Cut(below, "/")
		}
		return below
	}
	if got, want := f.State().Counts().Tasks, len(seen.Tasks); got != want {
		f.t.Errorf("the state has %d tasks, /proc %d", got, want)
	}
	for task := range f.State().Tasks() {
		key := chain(task.Object)
		known, ok := seen.Tasks[witness.Key(key)]
		if !ok {
			f.t.Errorf("task %s is not in /proc", key)
			continue
		}
		for _, use := range []struct {
			field witness.Field
			o     *state.Object
		}{{witness.Group, task.Process.Group}, {witness.Session, task.Process.Session}} {
			// Where the task itself is deeper, /proc shows more levels.
			want := known[use.field]
			if strings.Contains(want, "inherited") || strings.Contains(want, "outside") {
				continue
			}
			if strings.Trim(want, "0/") == "" {
				want = "" // visible nowhere in the namespace
			}
			if got := chain(use.o); got != want && !strings.HasPrefix(want, got+"/") {
				f.t.Errorf("the %s of task %s is %s, and by /proc %s", use.field, key, got, want)
			}
		}
	}
}

// The parent of one who entered is outside, and of its exit nothing is told; the
// new parent shows all the same.
func TestParentOutsideExits(t *testing.T) {
	require.Root(t)
	f := testforest.Start(t, `
		outside fork init newpid
		outside fork between
		between setns init pid
		between fork entrant`)
	a := start(t, f.Root(), loader.StreamOptions{}, follow.Options{})
	entrant := func() *state.Task {
		for task := range a.State().Tasks() {
			if task.Object.Numbers[0] == int32(f.PID("entrant")) {
				return task
			}
		}
		t.Fatal("the entrant is not there")
		return nil
	}
	before := entrant().ParentID
	if before == 0 || entrant().Parent != nil {
		t.Fatalf("the entrant is %+v", entrant())
	}
	if err := f.Run("between exit 0\noutside reap between"); err != nil {
		t.Fatal(err)
	}
	a.until("another parent", func() bool { return entrant().ParentID != before })
	if len(a.snapshots) != 1 {
		t.Errorf("it took %d snapshots", len(a.snapshots))
	}
}
