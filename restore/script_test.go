// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/internal/privilege"
	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/restore/plan"
)

// script is a hand-written plan. Actors have names.
type script struct {
	t      testing.TB
	plan   *plan.Plan
	names  map[string]int32
	forest *forest.Forest
}

func newScript(t testing.TB) *script {
	s := &script{t: t, names: map[string]int32{"restorer": plan.Restorer, "init": plan.Init},
		plan: &plan.Plan{
			Actors: []plan.Actor{{Role: plan.RoleRestorer, Task: -1}, {Role: plan.RoleTask, Task: -1}},
			Root:   plan.Init, Births: []plan.Op{{Code: plan.Clone, Child: plan.Init, Flags: plan.NewPID | plan.Pidfd, Numbers: []int32{1}, Signal: forest.SIGCHLD}},
		},
		forest: &forest.Forest{
			UserNamespaces: []forest.UserNamespace{{Parent: -1, Setgroups: true}},
			Namespaces:     []forest.Namespace{{Parent: -1}},
		},
	}
	return s
}

func (s *script) actor(name string) int32 {
	a, ok := s.names[name]
	if !ok {
		a = int32(len(s.plan.Actors))
		s.names[name] = a
		s.plan.Actors = append(s.plan.Actors, plan.Actor{Role: plan.RoleTask, Task: -1, Why: name})
	}
	return a
}

// do appends an operation to an actor's program and returns what others name
// it by.
func (s *script) do(name string, op plan.Op, after ...plan.Ref) plan.Ref {
	a := s.actor(name)
	if op.Code != plan.Clone && op.Child == 0 {
		op.Child = -1
	}
	op.After = after
	s.plan.Actors[a].Ops = append(s.plan.Actors[a].Ops, op)
	return plan.Ref{Actor: a, Op: int32(len(s.plan.Actors[a].Ops) - 1)}
}

// clone has name make child with these numbers, innermost first.
func (s *script) clone(name, child string, flags plan.CloneFlags, numbers ...int32) plan.Ref {
	return s.do(name, plan.Op{Code: plan.Clone, Child: s.actor(child), Flags: flags,
		Numbers: numbers, Signal: forest.SIGCHLD})
}

func (s *script) hold(names ...string) {
	for _, n := range names {
		s.do(n, plan.Op{Code: plan.Comm, Text: n})
		s.do(n, plan.Op{Code: plan.Hold})
	}
}

// exit ends a program with ExitGroup.
func (s *script) exit(name string, code int32, after ...plan.Ref) plan.Ref {
	return s.do(name, plan.Op{Code: plan.ExitGroup, Number: code}, after...)
}

// reap and await wait for the end of child, which name sees as pid.
func (s *script) reap(name, child string, pid int32, after ...plan.Ref) plan.Ref {
	return s.do(name, plan.Op{Code: plan.Reap, Child: s.actor(child), Pid: pid}, after...)
}

func (s *script) await(name, child string, pid int32, after ...plan.Ref) plan.Ref {
	return s.do(name, plan.Op{Code: plan.Await, Child: s.actor(child), Pid: pid}, after...)
}

func (s *script) comm(name string) plan.Ref {
	return s.do(name, plan.Op{Code: plan.Comm, Text: name})
}

// finished is the plan with every program closed.
func (s *script) finished() *plan.Plan {
	if len(s.plan.Actors[plan.Restorer].Ops) == 0 || !s.plan.Actors[plan.Restorer].Ops[len(s.plan.Actors[plan.Restorer].Ops)-1].Code.Last() {
		s.do("restorer", plan.Op{Code: plan.End})
	}
	return s.plan
}

var errSeen = errors.New("seen enough")

// look runs the script, hands what it made to check before the commit, and
// sees that all of it is gone afterwards.
func (s *script) look(opts Options, check func(root int, tasks map[string]procTask)) {
	s.t.Helper()
	var made map[string]procTask
	opts.Verify = func(_ context.Context, root int) error {
		made = below(s.t, root)
		check(root, made)
		return errSeen
	}
	if opts.Stall == 0 {
		opts.Stall = 5 * time.Second
	}
	opts.Stderr = os.Stderr
	_, err := Run(context.Background(), s.forest, s.finished(), opts)
	if !errors.Is(err, errSeen) {
		s.t.Fatalf("run: %v", err)
	}
	s.gone(made)
}

// gone checks that no task of a forest is left.
func (s *script) gone(made map[string]procTask) {
	s.t.Helper()
	if len(made) == 0 {
		s.t.Error("nothing was made")
	}
	for _, p := range made {
		if q, ok := readTask(fmt.Sprintf("/proc/%d", p.host)); ok && cmp.Equal(p.pid, q.pid) {
			s.t.Errorf("task %d (%s %s) is left", p.host, join(p.pid), p.comm)
		}
	}
}

// expect compares what was made with lines in the form of lines().
func (s *script) expect(opts Options, want string) {
	s.t.Helper()
	s.look(opts, func(_ int, tasks map[string]procTask) {
		s.t.Helper()
		var wants []string
		for line := range strings.Lines(want) {
			if line = strings.TrimSpace(line); line != "" {
				wants = append(wants, line)
			}
		}
		if d := cmp.Diff(wants, lines(tasks)); d != "" {
			s.t.Errorf("(-want +got):\n%s", d)
		}
	})
}

// eachMemory runs a test with shared and with own memory.
func eachMemory(t *testing.T, test func(t *testing.T, opts Options)) {
	requireRoot(t)
	t.Run("shared", func(t *testing.T) { test(t, Options{}) })
	t.Run("own", func(t *testing.T) { test(t, Options{Memory: OwnMemory}) })
}

// requireRoot skips without privileges; with them nothing here may be missing.
func requireRoot(t testing.TB) {
	t.Helper()
	require.Root(t)
	if missing := privilege.Effective().Missing(unix.CAP_SYS_ADMIN, unix.CAP_SYS_PTRACE, unix.CAP_SETUID,
		unix.CAP_SETGID, unix.CAP_SETPCAP, unix.CAP_SETFCAP, unix.CAP_KILL); missing != nil {
		t.Fatalf("root lacks %s", privilege.Join(missing))
	}
}
