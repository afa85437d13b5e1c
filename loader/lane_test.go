// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"math"
	"runtime"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pidgraft/pidgraft/collector"
	"github.com/pidgraft/pidgraft/internal/testforest"
)

// inLanes has targets of that many numbers walked in two lanes.
func inLanes(t *testing.T, numbers uint32) {
	was, processors := manyNumbers, runtime.GOMAXPROCS(2)
	manyNumbers = numbers
	t.Cleanup(func() {
		manyNumbers = was
		runtime.GOMAXPROCS(processors)
	})
}

// many is how many tasks are enough for two lanes, and more than one block of
// numbers in each.
func many() string {
	if testing.Short() {
		return "300"
	}
	return "900"
}

// Two lanes show what one does: the same tasks in the same order, and no pid
// object, namespace or user namespace that the other does not.
func TestLanes(t *testing.T) {
	privileged(t)
	f := testforest.Start(t, "outside fork init newpid\ninit fork a newpid newuser\na setsid\na fork b\ninit fork c\nc setsid\n"+
		"c fork d\nc thread e\ninit sleepers "+many())
	inLanes(t, math.MaxUint32)
	one := snapshot(t, start(t, Target{PID: f.Root(), Scope: Container}))

	inLanes(t, 128)
	for _, ringBytes := range []uint32{0, 4096} {
		l, err := open(Target{PID: f.Root(), Scope: Container}, ringBytes)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		var last *collector.Snapshot
		for pass := range 4 {
			s := snapshot(t, l)
			if d := cmp.Diff(one.Tasks, s.Tasks); d != "" {
				t.Errorf("ring of %d bytes, pass %d: tasks:\n%s", ringBytes, pass, d)
			}
			if !slices.Equal(one.IDR, s.IDR) {
				t.Errorf("ring of %d bytes, pass %d: the idr has %d objects, and had %d", ringBytes, pass, len(s.IDR), len(one.IDR))
			}
			sameOnce(t, "pid objects", one.Pids, s.Pids, func(p *collector.Pid) collector.ID { return p.ID })
			sameOnce(t, "namespaces", one.Namespaces, s.Namespaces, func(n *collector.Namespace) collector.ID { return n.ID })
			sameOnce(t, "user namespaces", one.UserNamespaces, s.UserNamespaces, func(u *collector.UserNamespace) collector.ID { return u.ID })
			if len(l.parts) < 3 {
				t.Errorf("ring of %d bytes, pass %d: one lane (walk: %v)", ringBytes, pass, l.WalkError())
			}
			if pass > 0 && &last.Tasks[0] != &s.Tasks[0] {
				t.Errorf("ring of %d bytes, pass %d: not seen to be the same as the one before", ringBytes, pass)
			}
			last = s
		}
	}
}

// sameOnce compares lists in which the same may come twice, and in any order.
// What everybody on the machine changes is left out.
func sameOnce[R any](t *testing.T, what string, a, b []R, id func(*R) collector.ID) {
	t.Helper()
	in := func(list []R) map[collector.ID]bool {
		m := map[collector.ID]bool{}
		for i := range list {
			m[id(&list[i])] = true
		}
		return m
	}
	if d := cmp.Diff(in(a), in(b)); d != "" {
		t.Errorf("%s: %s", what, d)
	}
}

// What changes between two passes in either lane shows.
func TestLanesSeeChanges(t *testing.T) {
	f := testforest.Start(t, "outside fork init newpid\ninit fork a\ninit sleepers "+many()+"\ninit fork z")
	inLanes(t, 128)
	l := start(t, Target{PID: f.Root(), Scope: Container})
	others := loaders{}
	for range 3 {
		snapshot(t, l)
	}
	if len(l.parts) < 3 {
		t.Fatal("one lane")
	}
	for _, script := range []string{"a setsid", "z setsid", "a fork b", "z fork y", "a exit 1", "z exit 2", "init reap z", "init reap a"} {
		before := snapshot(t, l)
		if err := f.Run(script); err != nil {
			t.Fatal(err)
		}
		two := snapshot(t, l)
		if cmp.Equal(before.Tasks, two.Tasks) {
			t.Errorf("%s: nothing changed", script)
		}
		if one := snapshot(t, others.start(t, Target{PID: f.Root(), Scope: Container})); !cmp.Equal(one.Tasks, two.Tasks) || !slices.Equal(one.IDR, two.IDR) {
			t.Errorf("%s: another look differs:\n%s", script, cmp.Diff(one.Tasks, two.Tasks))
		}
	}
}

// A target that was walked by one lane is divided when it has grown.
func TestLanesOfWhatGrows(t *testing.T) {
	f := testforest.Start(t, "outside fork init newpid\ninit fork a\ninit sleepers 100")
	inLanes(t, 128)
	l := start(t, Target{PID: f.Root(), Scope: Container})
	snapshot(t, l)
	if len(l.parts) > 0 {
		t.Fatal("divided at once")
	}
	if err := f.Run("init sleepers 300"); err != nil {
		t.Fatal(err)
	}
	got := snapshot(t, l)
	if len(l.parts) < 2 {
		t.Fatal("one lane")
	}
	if want := snapshot(t, loaders{}.start(t, Target{PID: f.Root(), Scope: Container})); !cmp.Equal(want.Tasks, got.Tasks) || !slices.Equal(want.IDR, got.IDR) {
		t.Errorf("another look differs:\n%s", cmp.Diff(want.Tasks, got.Tasks))
	}
}
