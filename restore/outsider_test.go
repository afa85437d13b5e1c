// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore/plan"
)

// stayed is a forest with a zombie that entered from outside, whose parent is
// an outsider that stays.
func stayed(t testing.TB) *script {
	s := newScript(t)
	s.plan.Births = append(s.plan.Births, plan.Op{Code: plan.Clone, Child: s.actor("outsider"), Signal: 17})
	s.clone("init", "a", 0, 7)
	s.do("outsider", plan.Op{Code: plan.JoinPID, Child: -1, Via: plan.Init})
	s.clone("outsider", "z", 0, 8)
	s.exit("z", 3)
	s.do("outsider", plan.Op{Code: plan.Await, Child: s.actor("z")})
	s.do("outsider", plan.Op{Code: plan.Stay, Child: -1})
	s.hold("init", "a")
	return s
}

// The outsider outlives the restorer, and lets go of its zombie as soon as
// Init ends, which would otherwise wait for that for ever.
func TestOutsiderStays(t *testing.T) {
	eachMemory(t, func(t *testing.T, opts Options) {
		opts.Detach = true
		var zombie procTask
		opts.Verify = func(_ context.Context, root int) error {
			found := entrants(t, root)
			if len(found) != 1 {
				return fmt.Errorf("%d entrants", len(found))
			}
			zombie, _ = readTask(fmt.Sprintf("/proc/%d", found[0]))
			return nil
		}
		s := stayed(t)
		res, err := Run(context.Background(), s.forest, s.finished(), opts)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond) // the coordinator has left by now
		p, ok := readTask(fmt.Sprintf("/proc/%d", zombie.host))
		if !ok || p.state != "Z" || join(p.pid) != "8" || exitCode(t, p.host) != 3<<8 {
			t.Errorf("the zombie is %+v", p)
		} else if p.ppid != zombie.ppid || countFiles(t, p.ppid) != 0 {
			t.Errorf("its parent is %d, was %d, with %d files", p.ppid, zombie.ppid, countFiles(t, p.ppid))
		}
		killRoot(t, res.PID)
		eventually(t, "nothing is left", func() bool {
			_, ok := readTask(fmt.Sprintf("/proc/%d", zombie.host))
			_, parent := readTask(fmt.Sprintf("/proc/%d", zombie.ppid))
			return !ok && !parent
		})
	})
}

// Nothing is left of it if the forest is given up.
func TestOutsiderGivenUp(t *testing.T) {
	eachMemory(t, func(t *testing.T, opts Options) {
		s := stayed(t)
		s.look(opts, func(root int, _ map[string]procTask) {
			if found := entrants(t, root); len(found) != 1 {
				t.Errorf("%d entrants", len(found))
			}
		})
	})
}

// besides is a forest that needs a user namespace made outside of it: a helper
// of the outsider makes it, keeps it, and ends. It waits inside for what after
// says.
func besides(t testing.TB, after func(s *script, made plan.Ref) []plan.Ref) *script {
	s := newScript(t)
	s.forest.UserNamespaces = append(s.forest.UserNamespaces, forest.UserNamespace{
		UIDMap: []forest.Extent{{First: 0, Parent: 0, Count: 1}}, GIDMap: []forest.Extent{{First: 0, Parent: 0, Count: 1}},
	})
	s.plan.Births = append(s.plan.Births, plan.Op{Code: plan.Clone, Child: s.actor("outsider"), Signal: forest.SIGCHLD})
	s.clone("outsider", "h", plan.Pidfd)
	made := s.do("h", plan.Op{Code: plan.UnshareUser, Child: -1, Number: 1})
	s.do("h", plan.Op{Code: plan.Keep, Child: -1}, after(s, made)...)
	s.exit("h", 0)
	s.reap("outsider", "h", 0)
	s.exit("outsider", 0)
	s.hold("init")
	return s
}

// A change of user namespace takes a parent-death signal away, so a helper
// outside of the new namespace that has made one could outlive all that failed.
func TestHelperOutsideEnds(t *testing.T) {
	eachMemory(t, func(t *testing.T, opts Options) {
		besides(t, func(*script, plan.Ref) []plan.Ref { return nil }).look(opts, func(int, map[string]procTask) {})
		s := besides(t, func(s *script, made plan.Ref) []plan.Ref {
			failed := s.clone("init", "a", 0, 1)
			s.plan.Actors[plan.Init].Ops[failed.Op].After = []plan.Ref{made}
			s.hold("a")
			return []plan.Ref{failed}
		})
		s.fails(context.Background(), opts, "clone3: EEXIST")
	})
}

// TestHelperOutsideEndsKilled is the same with the coordinator killed while the
// helper waits, before and after it made a user namespace.
func TestHelperOutsideEndsKilled(t *testing.T) {
	requireRoot(t)
	n := 20
	if testing.Short() {
		n = 5
	}
	for range n {
		outcome := killAt(t, "besides", 2, time.Duration(rand.Int64N(int64(30*time.Millisecond))))
		if outcome != "nothing" || t.Failed() {
			t.Fatalf("it left %s", outcome)
		}
	}
}

// Every thread of the root's process hears of its parent's leaving.
func TestRefusesThreadPdeath(t *testing.T) {
	eachMemory(t, func(t *testing.T, opts Options) {
		threads := func() *script {
			s := newScript(t)
			s.clone("init", "a", plan.Thread, 7)
			s.do("a", plan.Op{Code: plan.Pdeath, Signal: int32(unix.SIGTERM)})
			s.hold("init", "a")
			return s
		}
		threads().look(opts, func(int, map[string]procTask) {})
		opts.Detach = true
		threads().fails(context.Background(), opts, "a root with a thread that has a parent-death signal")
	})
}
