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

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore/plan"
)

// fails runs a script that must fail with an error that says want and leave
// nothing.
func (s *script) fails(ctx context.Context, opts Options, want string) error {
	s.t.Helper()
	nothingLeft(s.t)
	_, err := Run(ctx, s.forest, s.finished(), opts)
	if err == nil || !strings.Contains(err.Error(), want) {
		s.t.Errorf("run: %v\nwant: %s", err, want)
	}
	nothingLeft(s.t)
	return err
}

func TestFailedOperation(t *testing.T) {
	eachMemory(t, func(t *testing.T, opts Options) {
		s := newScript(t)
		s.clone("init", "a", 0, 7)
		s.clone("init", "b", 0, 7)
		s.hold("init", "a", "b")
		s.withTasks(map[string]forest.Task{"a": {}, "b": {}}, map[string][]int32{"a": {7}, "b": {7}})
		err := s.fails(context.Background(), opts, "task 7 (b): clone3: EEXIST: number 7 is taken in the root namespace")
		var op *OpError
		if !errors.As(err, &op) || !errors.Is(err, unix.EEXIST) {
			t.Errorf("%v is not an OpError of EEXIST", err)
		}

		s = newScript(t)
		s.clone("init", "i", plan.NewPID, 1, 7)
		s.clone("i", "a", 0, 5, 60)
		s.clone("i", "b", 0, 5, 61)
		s.hold("init", "i", "a", "b")
		s.withTasks(map[string]forest.Task{"a": {}, "b": {}}, map[string][]int32{"a": {60, 5}, "b": {61, 5}})
		s.fails(context.Background(), opts, "task 61/5 (b): clone3: EEXIST: number 5 is taken at level 1 by task 60/5 (a)")

		s = newScript(t)
		s.clone("init", "a", 0, 7)
		s.do("a", plan.Op{Code: plan.Setpgid, Number: 33})
		s.hold("init", "a")
		s.withTasks(map[string]forest.Task{"a": {}}, map[string][]int32{"a": {7}})
		s.fails(context.Background(), opts, "task 7 (a): setpgid to group 33: EPERM")

		s = newScript(t)
		s.clone("init", "a", 0, 1<<22)
		s.hold("init", "a")
		want := "EINVAL: one of its numbers 4194304 is not below pid_max of its level"
		if each, err := PidMaxEach(nil); err != nil || !each {
			want = "cannot restore here: missing: a pid_max above 4194304" // known beforehand
		}
		s.fails(context.Background(), opts, want)
	})
}

// An init in a group of its own namespace cannot even be killed: the runner
// refuses such a plan, whoever made it.
func TestRefusesUnkillable(t *testing.T) {
	requireRoot(t)
	s := newScript(t)
	s.clone("init", "a", 0, 7)
	founded := s.do("a", plan.Op{Code: plan.Setpgid})
	s.do("init", plan.Op{Code: plan.Setpgid, Number: 7}, founded)
	s.hold("init", "a")
	s.fails(context.Background(), Options{}, "an init must not join group 7")
}

func TestFailedHooks(t *testing.T) {
	requireRoot(t)
	nope := errors.New("nope")
	s := flat(t, 20)
	s.fails(context.Background(), Options{Verify: func(context.Context, int) error { return nope }}, "nope")
	s.fails(context.Background(), Options{Success: func(int) ([]byte, error) { return nil, nope }}, "nope")
	s.fails(context.Background(), Options{Success: func(int) ([]byte, error) {
		return make([]byte, SuccessMax+1), nil
	}}, "a report of 4097 bytes")
	r, w := pipe(t, time.Second)
	r.Close()
	s.fails(context.Background(), Options{Detach: true, Stdout: w, Success: report}, "write the report: EPIPE")
}

func TestInterrupted(t *testing.T) {
	eachMemory(t, func(t *testing.T, opts Options) {
		signals := make(chan os.Signal, 1)
		opts.Signals = signals
		opts.Verify = func(ctx context.Context, _ int) error {
			signals <- unix.SIGTERM
			<-ctx.Done()
			return ctx.Err()
		}
		flat(t, 20).fails(context.Background(), opts, "canceled")

		ctx, cancel := context.WithCancel(context.Background())
		opts.Verify = func(context.Context, int) error { cancel(); return nil }
		flat(t, 20).fails(ctx, opts, "canceled")

		// in the middle of a plan
		opts.Verify = nil
		time.AfterFunc(20*time.Millisecond, func() { signals <- unix.SIGINT })
		s, _ := stuck(t)
		err := s.fails(context.Background(), opts, "interrupted by interrupt")
		var interrupted *InterruptedError
		if !errors.As(err, &interrupted) {
			t.Errorf("%v is not an InterruptedError", err)
		}
	})
}

// stuck is a plan that waits for ever, and what is to be said about it.
func stuck(t testing.TB) (*script, []string) {
	s := newScript(t)
	s.clone("init", "a", 0, 7)
	s.clone("a", "b", 0, 8)
	held := s.do("b", plan.Op{Code: plan.Comm, Text: "b"})
	s.reap("a", "b", 8)
	reaped := s.comm("a")
	s.do("b", plan.Op{Code: plan.Nop}, reaped)
	s.do("init", plan.Op{Code: plan.Nop}, held, reaped)
	s.hold("init", "a", "b")
	return s, []string{
		"is at nop, after comm of task 7 (a)",
		"task 7 (a) is at reap of task 8 (b)",
		"task 8 (b) is at nop, after comm of task 7 (a)",
	}
}

func TestStall(t *testing.T) {
	eachMemory(t, func(t *testing.T, opts Options) {
		opts.Stall = 200 * time.Millisecond
		s, want := stuck(t)
		s.withTasks(map[string]forest.Task{"a": {}, "b": {}}, map[string][]int32{"a": {7}, "b": {8}})
		err := s.fails(context.Background(), opts, "stopped making progress")
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("missing %q in:\n%v", w, err)
			}
		}
	})
}

// Whoever is killed before the commit takes everything along.
func TestKilledHelpers(t *testing.T) {
	eachMemory(t, func(t *testing.T, opts Options) {
		kill := func(pid int) {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				t.Error(err)
			}
		}
		parent := func(pid int) int {
			p, _ := readTask(fmt.Sprintf("/proc/%d", pid))
			return p.ppid
		}
		opts.Verify = func(_ context.Context, root int) error { kill(parent(root)); return nil }
		flat(t, 50).fails(context.Background(), opts, "ended")
		opts.Verify = func(_ context.Context, root int) error { kill(root); return nil }
		flat(t, 50).fails(context.Background(), opts, "ended")
		opts.Verify = func(_ context.Context, root int) error {
			kill(parent(root))
			kill(root)
			return nil
		}
		flat(t, 50).fails(context.Background(), opts, "ended")
		// a stopped coordinator cannot keep anything alive
		opts.Verify = func(_ context.Context, root int) error {
			coord := parent(root)
			time.AfterFunc(50*time.Millisecond, func() { _ = unix.Kill(coord, unix.SIGCONT) })
			if err := unix.Kill(coord, unix.SIGSTOP); err != nil {
				t.Error(err)
			}
			return errSeen
		}
		flat(t, 50).fails(context.Background(), opts, "seen enough")
	})
}
