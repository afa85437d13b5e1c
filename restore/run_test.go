// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/restore/plan"
)

func TestFlat(t *testing.T) {
	eachMemory(t, func(t *testing.T, opts Options) {
		s := newScript(t)
		s.clone("init", "a", 0, 77)
		s.clone("init", "b", 0, 5)
		s.clone("b", "c", 0, 301)
		s.hold("init", "a", "b", "c")
		s.expect(opts, `
			1 init S parent - pgid 0 sid 0
			301 c S parent 5 pgid 0 sid 0
			5 b S parent 1 pgid 0 sid 0
			77 a S parent 1 pgid 0 sid 0
		`)
	})
}

func TestThreadsSessionsGroups(t *testing.T) {
	eachMemory(t, func(t *testing.T, opts Options) {
		s := newScript(t)
		s.do("init", plan.Op{Code: plan.Setsid})
		s.clone("init", "a", 0, 10)
		s.clone("init", "late", 0, 50)
		setsid := s.do("a", plan.Op{Code: plan.Setsid})
		s.clone("a", "t1", plan.Thread, 11)
		s.clone("a", "b", 0, 20)
		s.clone("t1", "c", 0, 30)
		founded := s.do("b", plan.Op{Code: plan.Setpgid})
		s.do("c", plan.Op{Code: plan.Setpgid, Number: 20}, founded)
		s.do("late", plan.Op{Code: plan.Setsid}, setsid)
		s.hold("init", "a", "t1", "b", "c", "late")
		s.expect(opts, `
			1 init S parent - pgid 1 sid 1
			10 a S parent 1 pgid 10 sid 10
			11 t1 S parent 1 pgid 10 sid 10 thread of 10
			20 b S parent 10 pgid 20 sid 10
			30 c S parent 10 pgid 20 sid 10
			50 late S parent 1 pgid 50 sid 50
		`)
	})
}

func TestZombies(t *testing.T) {
	eachMemory(t, func(t *testing.T, opts Options) {
		s := newScript(t)
		want := map[string]int{}
		n := int32(10)
		zombie := func(status int, end plan.Op) {
			n++
			name := "z" + strconv.Itoa(int(n))
			s.clone("init", name, 0, n)
			if n%2 == 0 { // which would leave all sharers dumpable
				s.do(name, plan.Op{Code: plan.SetIDs, UID: 1000, GID: 1001, EUID: 1002, EGID: 1003})
			}
			s.do(name, end)
			s.await("init", name, n)
			want[strconv.Itoa(int(n))] = status
		}
		for _, code := range []int32{0, 1, 77, 255} {
			zombie(int(code)<<8, plan.Op{Code: plan.ExitGroup, Number: code})
		}
		for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGKILL, unix.SIGSEGV, unix.SIGABRT, unix.SIGSYS, 64} {
			zombie(int(sig), plan.Op{Code: plan.Die, Signal: int32(sig)})
		}
		s.hold("init")
		s.look(opts, func(_ int, tasks map[string]procTask) {
			if len(tasks) != len(want)+1 {
				t.Errorf("%d tasks, want %d", len(tasks), len(want)+1)
			}
			for pid, status := range want {
				p := tasks[pid]
				if got := exitCode(t, p.host); p.state != "Z" || got != status {
					t.Errorf("%s is %s with status %#x, want Z with %#x", pid, p.state, got, status)
				}
				uid, gid := "0\t0\t0\t0", "0\t0\t0\t0"
				if atoi(pid)%2 == 0 {
					uid, gid = "1000\t1002\t1002\t1002", "1001\t1003\t1003\t1003"
				}
				if p.uid != uid || p.gid != gid {
					t.Errorf("%s has uid %s and gid %s, want %s and %s", pid, p.uid, p.gid, uid, gid)
				}
			}
		})
	})
}

// A zombie that nobody waits for in the plan is still one before Verify.
func TestUnwatchedZombie(t *testing.T) {
	eachMemory(t, func(t *testing.T, opts Options) {
		s := newScript(t)
		for i := int32(2); i < 40; i++ {
			name := "z" + strconv.Itoa(int(i))
			s.clone("init", name, 0, i)
			s.exit(name, i)
		}
		s.hold("init")
		s.look(opts, func(_ int, tasks map[string]procTask) {
			for pid, p := range tasks {
				if pid != "1" && p.state != "Z" {
					t.Errorf("%s is %s", pid, p.state)
				}
			}
		})
	})
}

func TestGhosts(t *testing.T) {
	eachMemory(t, func(t *testing.T, opts Options) {
		s := newScript(t)
		s.do("init", plan.Op{Code: plan.Setsid})
		// a ghost session and group 40, its member adopted by init
		s.clone("init", "ghost", 0, 40)
		s.do("ghost", plan.Op{Code: plan.Setsid})
		s.clone("ghost", "member", 0, 41)
		s.exit("ghost", 0)
		s.reap("init", "ghost", 40)
		// a ghost group 50 in init's session
		s.clone("init", "leader", 0, 50)
		founded := s.do("leader", plan.Op{Code: plan.Setpgid})
		s.clone("init", "joiner", 0, 51)
		joined := s.do("init", plan.Op{Code: plan.Setpgid, Child: s.actor("joiner"), Pid: 51, Number: 50}, founded)
		s.exit("leader", 3, joined)
		s.reap("init", "leader", 50)
		s.hold("init", "member", "joiner")
		s.expect(opts, `
			1 init S parent - pgid 1 sid 1
			41 member S parent 1 pgid 40 sid 40
			51 joiner S parent 1 pgid 50 sid 1
		`)
	})
}

func TestParents(t *testing.T) {
	eachMemory(t, func(t *testing.T, opts Options) {
		s := newScript(t)
		s.clone("init", "a", 0, 10)
		s.clone("a", "sibling", plan.Parent, 11)
		// a reaper for a while
		on := s.do("a", plan.Op{Code: plan.Subreaper, Number: 1})
		s.clone("a", "middle", 0, 12)
		s.clone("middle", "adopted", 0, 13)
		s.exit("middle", 0, on)
		s.reap("a", "middle", 12)
		s.do("a", plan.Op{Code: plan.Subreaper, Number: 0})
		// and one that goes to the init instead
		s.clone("a", "middle2", 0, 14)
		s.clone("middle2", "orphan", 0, 15)
		s.exit("middle2", 0)
		s.reap("a", "middle2", 14)
		s.hold("init", "a", "sibling", "adopted", "orphan")
		s.expect(opts, `
			1 init S parent - pgid 0 sid 0
			10 a S parent 1 pgid 0 sid 0
			11 sibling S parent 1 pgid 0 sid 0
			13 adopted S parent 10 pgid 0 sid 0
			15 orphan S parent 1 pgid 0 sid 0
		`)
	})
}

// What comes after the end of a thread sees its children at their new parent.
func TestAfterThread(t *testing.T) {
	eachMemory(t, func(t *testing.T, opts Options) {
		for range 20 {
			s := newScript(t)
			s.clone("init", "p", 0, 5)
			s.clone("p", "t", plan.Thread, 6)
			s.clone("t", "c", 0, 7)
			end := s.do("t", plan.Op{Code: plan.ExitThread})
			// a is after c among the leader's children
			s.clone("p", "a", 0, 8)
			s.do("init", plan.Op{Code: plan.Nop}, end)
			s.hold("init", "p", "c", "a")
			s.expect(opts, `
				1 init S parent - pgid 0 sid 0
				5 p S parent 1 pgid 0 sid 0
				7 c S parent 5 pgid 0 sid 0
				8 a S parent 5 pgid 0 sid 0
			`)
		}
	})
}

func TestDeadLeaders(t *testing.T) {
	eachMemory(t, func(t *testing.T, opts Options) {
		s := newScript(t)
		s.clone("init", "p", 0, 5)
		s.clone("p", "t", plan.Thread, 6)
		s.comm("p")
		s.do("p", plan.Op{Code: plan.ExitThread, Number: 7 << 8})
		s.hold("init", "t")
		s.expect(opts, `
			1 init S parent - pgid 0 sid 0
			5 p Z parent 1 pgid 0 sid 0
			6 t S parent 1 pgid 0 sid 0 thread of 5
		`)

		// the root's own leader: another thread commits
		s = newScript(t)
		s.clone("init", "t", plan.Thread, 6)
		s.clone("init", "c", 0, 9)
		s.comm("init")
		s.do("init", plan.Op{Code: plan.ExitThread})
		s.hold("t", "c")
		s.expect(opts, `
			1 init Z parent - pgid 0 sid 0
			6 t S parent - pgid 0 sid 0 thread of 1
			9 c S parent 1 pgid 0 sid 0
		`)
		opts.Detach = true
		r, err := Run(context.Background(), s.forest, s.finished(), opts)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond) // of the coordinator's going, too
		if got := len(below(t, r.PID)); got != 3 {
			t.Errorf("%d tasks after the commit, want 3", got)
		}
		killRoot(t, r.PID)
	})
}

func TestNested(t *testing.T) {
	eachMemory(t, func(t *testing.T, opts Options) {
		s := newScript(t)
		s.clone("init", "i2", plan.NewPID, 1, 20)
		s.clone("i2", "i3", plan.NewPID, 1, 2, 30)
		s.clone("i3", "deep", 0, 7, 8, 9)
		s.clone("i2", "mid", 0, 500, 501)
		s.do("deep", plan.Op{Code: plan.Setsid})
		s.hold("init", "i2", "i3", "deep", "mid")
		s.expect(opts, `
			1 init S parent - pgid 0 sid 0
			20/1 i2 S parent 1 pgid 0 sid 0
			30/2/1 i3 S parent 20/1 pgid 0 sid 0
			501/500 mid S parent 20/1 pgid 0 sid 0
			9/8/7 deep S parent 30/2/1 pgid 7 sid 7
		`)
	})
}

// As deep as the kernel goes: every level but the machine's own is named.
func TestDeepest(t *testing.T) {
	requireRoot(t)
	require.Feature(t, require.InitialPIDNamespace)
	s := newScript(t)
	for i := 2; i <= forest.MaxDepth; i++ {
		maker, name := "init", "i"+strconv.Itoa(i)
		if i > 2 {
			maker = "i" + strconv.Itoa(i-1)
		}
		numbers := []int32{1}
		for level := i - 1; level >= 1; level-- {
			numbers = append(numbers, int32(100*i+level))
		}
		s.clone(maker, name, plan.NewPID, numbers...)
		s.forest.Namespaces = append(s.forest.Namespaces, forest.Namespace{Parent: i - 2, Level: i - 1})
	}
	for name := range s.names {
		if name != "restorer" {
			s.hold(name)
		}
	}
	s.look(Options{}, func(_ int, tasks map[string]procTask) {
		deepest := ""
		for pid, p := range tasks {
			if len(p.pid) == forest.MaxDepth {
				deepest = pid
			}
		}
		if !strings.HasPrefix(deepest, "3201/3202/3203/") || !strings.HasSuffix(deepest, "/3231/1") {
			t.Errorf("deepest task is %q", deepest)
		}
	})
	s.forest.Namespaces = append(s.forest.Namespaces, forest.Namespace{Parent: 31, Level: 32})
	var cannot *CannotRunError
	if _, err := Run(context.Background(), s.forest, s.finished(), Options{}); !errors.As(err, &cannot) {
		t.Errorf("one level more: %v", err)
	}
}

// A namespace owned by a nested user namespace, and a task in it that an
// entrant bore: kernel-rules 9.
func TestUserNamespace(t *testing.T) {
	eachMemory(t, func(t *testing.T, opts Options) {
		s := newScript(t)
		s.forest.UserNamespaces = append(s.forest.UserNamespaces,
			forest.UserNamespace{Parent: 0, OwnerUID: 1000, OwnerGID: 1000,
				UIDMap: []forest.Extent{{First: 0, Parent: 1000, Count: 1}, {First: 1, Parent: 100000, Count: 65536}},
				GIDMap: []forest.Extent{{First: 0, Parent: 1000, Count: 1}, {First: 1, Parent: 100000, Count: 65536}}},
			forest.UserNamespace{Parent: 1, OwnerUID: 1000, OwnerGID: 1000,
				UIDMap:    []forest.Extent{{First: 7, Parent: 5, Count: 1}},
				GIDMap:    []forest.Extent{{First: 7, Parent: 5, Count: 1}},
				Setgroups: true})
		owned := plan.Op{Code: plan.Clone, Child: s.actor("i"), Flags: plan.NewPID | plan.NewUser | plan.Pidfd,
			Numbers: []int32{1, 10}, Signal: forest.SIGCHLD, UID: 1000, GID: 1000}
		born := s.do("init", owned)
		mapped := s.do("restorer", plan.Op{Code: plan.WriteMaps, Number: 1, Child: s.actor("i")}, born)

		s.do("init", plan.Op{Code: plan.JoinPID, Via: s.actor("i")})
		s.clone("init", "e", 0, 2, 20)
		s.clone("e", "t", 0, 3, 30)
		s.clone("e", "u", 0, 4, 40)
		s.exit("e", 0)
		reaped := s.reap("init", "e", 20)
		s.do("init", plan.Op{Code: plan.JoinPID, Via: plan.Init})
		s.clone("init", "plain", 0, 50)

		s.do("t", plan.Op{Code: plan.JoinUser, Via: s.actor("i")}, mapped, reaped)
		s.do("t", plan.Op{Code: plan.SetIDs, UID: 5, GID: 5, EUID: 6, EGID: 6})
		// u is in a user namespace below that one
		s.do("u", plan.Op{Code: plan.JoinUser, Via: s.actor("i")}, mapped, reaped)
		s.do("u", plan.Op{Code: plan.SetIDs}, mapped)
		unshared := s.do("u", plan.Op{Code: plan.UnshareUser})
		inner := s.do("restorer", plan.Op{Code: plan.WriteMaps, Number: 2, Child: s.actor("u")}, unshared)
		s.do("u", plan.Op{Code: plan.SetIDs, UID: 7, GID: 7, EUID: 7, EGID: 7}, inner)
		s.do("i", plan.Op{Code: plan.SetIDs}, mapped)
		s.hold("init", "i", "t", "u", "plain")
		s.look(opts, func(_ int, tasks map[string]procTask) {
			want := []string{
				"1 init S parent - pgid 0 sid 0",
				"10/1 i S parent 1 pgid 0 sid 0",
				"30/3 t S parent 10/1 pgid 0 sid 0",
				"40/4 u S parent 10/1 pgid 0 sid 0",
				"50 plain S parent 1 pgid 0 sid 0",
			}
			if d := cmp.Diff(want, lines(tasks)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			for pid, ids := range map[string]string{
				"1":    "0\t0\t0\t0",
				"10/1": "1000\t1000\t1000\t1000",
				"30/3": "100004\t100005\t100005\t100005",
				"40/4": "100004\t100004\t100004\t100004",
			} {
				if tasks[pid].uid != ids || tasks[pid].gid != ids {
					t.Errorf("%s has uid %s gid %s, want %s", pid, tasks[pid].uid, tasks[pid].gid, ids)
				}
			}
			user := func(pid string) string { return link(t, tasks[pid].host, "ns/user") }
			if user("10/1") != user("30/3") || user("10/1") == user("1") || user("40/4") == user("10/1") {
				t.Errorf("user namespaces %s, %s, %s, %s", user("1"), user("10/1"), user("30/3"), user("40/4"))
			}
			if owner := ownerOf(t, tasks["10/1"].host); owner != 1000 {
				t.Errorf("the user namespace belongs to uid %d, want 1000", owner)
			}
			for pid, want := range map[string]string{"10/1": "deny", "40/4": "deny", "1": "allow"} {
				if got := strings.TrimSpace(read(t, tasks[pid].host, "setgroups")); got != want {
					t.Errorf("setgroups of %s is %s, want %s", pid, got, want)
				}
			}
		})
	})
}

func link(t *testing.T, pid int, name string) string {
	t.Helper()
	s, err := os.Readlink(fmt.Sprintf("/proc/%d/%s", pid, name))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func read(t *testing.T, pid int, name string) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// ownerOf is the uid that owns a task's user namespace.
func ownerOf(t *testing.T, pid int) int {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	uid, err := unix.IoctlGetInt(int(f.Fd()), unix.NS_GET_OWNER_UID)
	if err != nil {
		t.Fatal(err)
	}
	return uid
}

func TestUnsharePID(t *testing.T) {
	eachMemory(t, func(t *testing.T, opts Options) {
		s := newScript(t)
		s.clone("init", "a", 0, 5)
		s.do("a", plan.Op{Code: plan.UnsharePID})
		s.clone("a", "first", plan.Pidfd, 1, 6)
		s.clone("a", "second", 0, 2, 7)
		s.do("a", plan.Op{Code: plan.JoinPID, Via: s.actor("a")})
		s.clone("a", "outside", 0, 8)
		s.clone("a", "t", plan.Thread, 9)
		s.hold("init", "a", "first", "second", "outside", "t")
		s.expect(opts, `
			1 init S parent - pgid 0 sid 0
			5 a S parent 1 pgid 0 sid 0
			6/1 first S parent 5 pgid 0 sid 0
			7/2 second S parent 5 pgid 0 sid 0
			8 outside S parent 5 pgid 0 sid 0
			9 t S parent 1 pgid 0 sid 0 thread of 5
		`)
	})
}

// An id cursor decides the number of an unnamed birth.
func TestCursor(t *testing.T) {
	eachMemory(t, func(t *testing.T, opts Options) {
		s := newScript(t)
		s.do("init", plan.Op{Code: plan.Cursor, Number: 4711})
		s.clone("init", "a", 0)
		s.clone("init", "b", plan.NewPID, 1) // the outer number is the kernel's
		s.hold("init", "a", "b")
		s.expect(opts, `
			1 init S parent - pgid 0 sid 0
			4712 a S parent 1 pgid 0 sid 0
			4713/1 b S parent 1 pgid 0 sid 0
		`)
	})
}

// The exit signal of a zombie and signals of the outside do not disturb a
// plan; an init dies by its parent's signal.
func TestSignals(t *testing.T) {
	eachMemory(t, func(t *testing.T, opts Options) {
		s := newScript(t)
		s.clone("init", "a", 0, 5)
		s.do("a", plan.Op{Code: plan.Clone, Child: s.actor("z"), Numbers: []int32{6}, Signal: int32(unix.SIGUSR2)})
		s.exit("z", 1)
		s.await("a", "z", 6)
		s.clone("a", "i", plan.NewPID, 1, 9)
		perish := s.do("i", plan.Op{Code: plan.Perish})
		s.do("a", plan.Op{Code: plan.Kill, Child: s.actor("i"), Pid: 9, Signal: int32(unix.SIGKILL)}, perish)
		s.await("a", "i", 9)
		s.clone("a", "j", plan.NewPID, 1, 10)
		perish = s.do("j", plan.Op{Code: plan.Perish})
		s.do("restorer", plan.Op{Code: plan.Kill, Child: s.actor("j"), Signal: int32(unix.SIGKILL)}, perish)
		s.await("a", "j", 10)
		s.comm("a")
		s.do("a", plan.Op{Code: plan.Ignore, Signal: int32(unix.SIGUSR1), Number: 1})
		s.do("a", plan.Op{Code: plan.Kill, Child: s.actor("a"), Pid: 5, Signal: int32(unix.SIGUSR1)})
		s.do("a", plan.Op{Code: plan.Ignore, Signal: int32(unix.SIGUSR1), Number: 0})
		s.do("a", plan.Op{Code: plan.Hold})
		s.hold("init")
		s.look(opts, func(_ int, tasks map[string]procTask) {
			if p := tasks["5"]; p.state != "S" {
				t.Errorf("a is %q", p.state)
			}
			for _, pid := range []string{"9/1", "10/1"} {
				if p := tasks[pid]; p.state != "Z" || exitCode(t, p.host) != 9 {
					t.Errorf("%s is %q with %#x", pid, p.state, exitCode(t, p.host))
				}
			}
		})
	})
}

// Stopped processes: by any stop signal, with the stop reported to wait or
// not, with threads.
func TestStopped(t *testing.T) {
	eachMemory(t, func(t *testing.T, opts Options) {
		s := newScript(t)
		s.do("init", plan.Op{Code: plan.Setsid})
		s.clone("init", "p", 0, 5)
		signals := []unix.Signal{unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU}
		for i := range signals {
			n := int32(10 + 10*i)
			name := signals[i].String()
			s.clone("p", name, 0, n)
			s.clone(name, name+"t", plan.Thread, n+1)
			s.hold(name, name+"t")
		}
		founded := s.do("p", plan.Op{Code: plan.Setpgid}) // TSTP needs a group that is not orphaned
		for i, sig := range signals {
			leader, thread := s.actor(sig.String()), s.actor(sig.String()+"t")
			s.do("p", plan.Op{Code: plan.Setpgid, Child: leader, Pid: int32(10 + 10*i), Number: 5}, founded)
			s.do("p", plan.Op{Code: plan.Stop, Child: leader, Pid: int32(10 + 10*i), Signal: int32(sig), Number: int32(i % 2)},
				plan.Ref{Actor: leader, Op: 2}, plan.Ref{Actor: thread, Op: 1})
		}
		s.hold("p", "init")
		s.look(opts, func(_ int, tasks map[string]procTask) {
			if len(tasks) != 2+2*len(signals) {
				t.Errorf("%d tasks", len(tasks))
			}
			for i, sig := range signals {
				for n := 10 + 10*i; n <= 11+10*i; n++ {
					p := tasks[strconv.Itoa(n)]
					if p.state != "T" {
						t.Errorf("%d, stopped by %v, is %q", n, sig, p.state)
					}
				}
				code := exitCode(t, tasks[strconv.Itoa(10+10*i)].host) // rule 19: the stop signal
				if want := int(sig)<<8 | 0x7f; code != want && code != int(sig) && code != 0 {
					t.Errorf("%v: exit code in stat is %#x", sig, code)
				}
			}
			if tasks["5"].state != "S" {
				t.Errorf("the parent is %q", tasks["5"].state)
			}
		})
	})
}
