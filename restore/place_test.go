// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/internal/testforest"
	"github.com/pidgraft/pidgraft/restore/plan"
)

// freeNumbers are numbers that nobody has here and, being below 300, nobody
// will get (kernel-rules 3): in the middle, since whoever wants the lowest or, in
// the scripts of cmd/pidgraft, the highest may do so at the same time.
func freeNumbers(n int) []int32 {
	used, err := NumbersInUse()
	if err != nil {
		panic(err)
	}
	var free []int32
	for i := int32(100); len(free) < n && i < 280; i++ {
		if !used.Taken(i) {
			free = append(free, i)
		}
	}
	if len(free) < n {
		panic(fmt.Sprintf("%d of %d numbers below 300 are free", len(free), n))
	}
	return free
}

// newPlaceScript is a plan in place with the numbers that the holder and the
// root have.
func newPlaceScript(t testing.TB, holder, root int32) *script {
	s := newScript(t)
	s.plan.Births[0].Flags, s.plan.Births[0].Numbers = plan.Pidfd, []int32{holder}
	s.plan.Actors[plan.Init].Role = plan.RoleHolder
	s.clone("init", "root", 0, root)
	s.plan.Root = int(s.actor("root"))
	return s
}

func (s *script) serve() { s.do("init", plan.Op{Code: plan.Serve}) }

const placeRows = 12

// placeTasks are the root and, in each row, what mixedInPlace makes.
const placeTasks = 1 + 5*placeRows

// mixedInPlace is a forest in place with something of most things.
func mixedInPlace() *script {
	free := freeNumbers(2 + 5*placeRows)
	s := newPlaceScript(nil, free[0], free[1])
	for i := range placeRows {
		n := func(s string) string { return fmt.Sprint(s, i) }
		at := free[2+5*i:]
		s.clone("root", n("p"), 0, at[0])
		s.do(n("p"), plan.Op{Code: plan.Setsid})
		s.clone(n("p"), n("t"), plan.Thread, at[1])
		s.clone(n("p"), n("z"), 0, at[2])
		s.exit(n("z"), 3)
		s.await(n("p"), n("z"), at[2])
		s.clone(n("p"), n("i"), plan.NewPID, 1, at[3])
		s.clone(n("i"), n("c"), 0, 2, at[4])
		s.hold(n("p"), n("t"), n("i"), n("c"))
	}
	s.hold("root")
	s.serve()
	return s
}

// cgroupsOf are the cgroups that a restorer with this number left.
func cgroupsOf(t testing.TB, pid int) []string {
	t.Helper()
	dir, err := ownCgroup()
	if err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(fmt.Sprintf("%s/pidgraft-%d-*", dir, pid))
	if err != nil {
		t.Fatal(err)
	}
	return left
}

// endFamily kills a forest in place, from its holder down, and collects it.
func endFamily(t testing.TB, root int) {
	t.Helper()
	p, ok := readTask(fmt.Sprintf("/proc/%d", root))
	if !ok {
		t.Fatalf("the root %d is gone", root)
	}
	for _, q := range family(t, p.ppid) {
		if q.host == q.tgid {
			_ = unix.Kill(q.host, unix.SIGKILL)
		}
	}
	eventually(t, "all of the forest ends", func() bool { reapAll(); return len(children()) == 0 })
}

// Where there is no cgroup.kill nothing is made, and it is what is named.
func TestInPlaceTooOld(t *testing.T) {
	requireRoot(t)
	dir := t.TempDir()
	for _, step := range []struct {
		file string
		want bool
	}{{"cgroup.procs", false}, {"cgroup.type", true}, {"cgroup.kill", false}} {
		if err := os.WriteFile(filepath.Join(dir, step.file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := lacksKill(dir); got != step.want {
			t.Errorf("with %s: %v", step.file, got)
		}
	}
	if require.CgroupKill.Probe() == nil {
		return // there is nothing to be refused here
	}
	free := freeNumbers(2)
	s := newPlaceScript(t, free[0], free[1])
	s.hold("root")
	s.serve()
	var cannot *CannotRunError
	if _, err := Run(context.Background(), s.forest, s.finished(), Options{}); !errors.As(err, &cannot) || !strings.Contains(err.Error(), "cgroup.kill") {
		t.Errorf("%v", err)
	}
	// The guard, which has nothing to undo, may be on its way out still.
	eventually(t, "all of it ends", func() bool { reapAll(); return len(children()) == 0 })
}

func TestInPlace(t *testing.T) {
	requireRoot(t)
	require.Feature(t, require.CgroupKill)
	eachMemory(t, func(t *testing.T, opts Options) {
		free := freeNumbers(6)
		s := newPlaceScript(t, free[0], free[1])
		s.clone("root", "a", 0, free[2])
		s.do("a", plan.Op{Code: plan.Setsid})
		s.clone("a", "b", 0, free[3])
		s.clone("a", "box", plan.NewPID, 1, free[4])
		s.clone("box", "in", 0, 2, free[5])
		s.hold("root", "a", "b", "box", "in")
		s.serve()
		sid, err := unix.Getsid(0)
		if err != nil {
			t.Fatal(err)
		}
		out, in := pipe(t, 10*time.Second)
		opts.Detach, opts.Stdout, opts.Success = true, in, report
		res, err := Run(context.Background(), s.forest, s.finished(), opts)
		if err != nil {
			t.Fatal(err)
		}
		in.Close()
		if text := readText(t, out); text != fmt.Sprintln(free[1]) || res.PID != int(free[1]) {
			t.Errorf("reported %q, returned %d; want %d", text, res.PID, free[1])
		}
		var got []string
		for _, p := range family(t, res.PID) {
			stat := statFields(t, p.host)
			got = append(got, fmt.Sprintf("%s %d %v parent %s pgrp %s session %s", p.comm, p.host, p.pid, stat[1], stat[2], stat[3]))
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.host))
			own, err2 := os.ReadFile("/proc/self/cgroup")
			if a, _ := unifiedOf(string(text)); errors.Join(err, err2) != nil || a != unified(string(own)) {
				t.Errorf("%s is in cgroup %s", p.comm, a)
			}
		}
		n := func(i int) int32 { return free[i] }
		want := []string{
			fmt.Sprintf("root %d [] parent %d pgrp %d session %d", n(1), n(0), unix.Getpgrp(), sid),
			fmt.Sprintf("a %d [] parent %d pgrp %d session %d", n(2), n(1), n(2), n(2)),
			fmt.Sprintf("b %d [] parent %d pgrp %d session %d", n(3), n(2), n(2), n(2)),
			fmt.Sprintf("box %d [1] parent %d pgrp %d session %d", n(4), n(2), n(2), n(2)),
			fmt.Sprintf("in %d [2] parent %d pgrp %d session %d", n(5), n(4), n(2), n(2)),
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
		if left := cgroupsOf(t, os.Getpid()); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
		endFamily(t, res.PID)
		nothingLeft(t)
	})
}

func readText(t *testing.T, r io.Reader) string {
	t.Helper()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func unified(text string) string { own, _ := unifiedOf(text); return own }

// In the foreground it ends as the root does; what is not the root's goes on.
func TestInPlaceForeground(t *testing.T) {
	requireRoot(t)
	require.Feature(t, require.CgroupKill)
	free := freeNumbers(3)
	s := newPlaceScript(t, free[0], free[1])
	s.clone("root", "a", 0, free[2])
	s.hold("root", "a")
	s.serve()
	s.withTasks(map[string]forest.Task{"root": {}, "a": {}}, map[string][]int32{"root": {free[1]}, "a": {free[2]}})
	res, err := Run(context.Background(), s.forest, s.finished(), Options{Exec: "test $PIDGRAFT_PID = " + fmt.Sprint(free[1]) + " && exit 7; exec sleep 1000"})
	if err != nil || res.Status.ExitStatus() != 7 {
		t.Errorf("%v, %v", res.Status, err)
	}
	eventually(t, "the other process lives on, adopted", func() bool {
		p, ok := readTask(fmt.Sprintf("/proc/%d", free[2]))
		return ok && p.comm == "sleep" && p.ppid == os.Getpid()
	})
	_ = unix.Kill(int(free[2]), unix.SIGKILL)
	eventually(t, "it ends", func() bool { reapAll(); return len(children()) == 0 })
}

// Undone after everything was in place, nothing remains.
func TestInPlaceUndone(t *testing.T) {
	requireRoot(t)
	require.Feature(t, require.CgroupKill)
	eachMemory(t, func(t *testing.T, opts Options) {
		s := mixedInPlace()
		var made []procTask
		opts.Verify = func(_ context.Context, root int) error {
			made = family(t, root)
			return errSeen
		}
		_, err := Run(context.Background(), s.forest, s.finished(), opts)
		if !errors.Is(err, errSeen) {
			t.Fatalf("run: %v", err)
		}
		if len(made) != placeTasks {
			t.Errorf("%d tasks of %d", len(made), placeTasks)
		}
		for _, p := range made {
			if _, err := os.Stat(fmt.Sprintf("/proc/%d", p.host)); err == nil {
				t.Errorf("%d (%s) is left", p.host, p.comm)
			}
		}
		if left := cgroupsOf(t, os.Getpid()); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
		nothingLeft(t)
	})
}

// Every number that is taken is listed, with who has it, before anything is
// made: of a process, of a thread, of a group and of a session.
func TestTakenNumbers(t *testing.T) {
	requireRoot(t)
	// A session and a group whose leaders have ended.
	others, err := testforest.New()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := others.Kill(); err != nil {
			t.Error(err)
		}
	}()
	if err := others.Run("outside fork a\na setsid\na fork b\nb setpgid b b\nb fork c\na fork d"); err != nil {
		t.Fatal(err)
	}
	session, leader := int32(others.PID("a")), int32(others.PID("b"))
	if err := others.Run("b exit 0\na reap b\na exit 0\noutside reap a"); err != nil {
		t.Fatal(err)
	}
	free := freeNumbers(2)
	self, thread := int32(os.Getpid()), otherThread(t)
	s := newPlaceScript(t, free[0], free[1])
	for i, n := range []int32{session, leader, self, thread, 1} {
		s.clone("root", fmt.Sprint(i), 0, n)
		s.hold(fmt.Sprint(i))
	}
	s.hold("root")
	s.serve()
	_, err = Run(context.Background(), s.forest, s.finished(), Options{})
	var taken *TakenError
	if !errors.As(err, &taken) || len(taken.Numbers) != 5 {
		t.Fatalf("%v", err)
	}
	for n, want := range map[int32]string{
		1:       "process 1 (",
		self:    "process " + fmt.Sprint(self) + ", this restore itself",
		thread:  "a thread of process " + fmt.Sprint(self),
		leader:  "the process group of process ",
		session: "the session of process ",
	} {
		if !strings.Contains(err.Error(), fmt.Sprintf("\n%d by %s", n, want)) {
			t.Errorf("%d: want %q in:\n%v", n, want, err)
		}
	}
	if left := cgroupsOf(t, os.Getpid()); len(left) > 0 {
		t.Errorf("something was made: %v", left)
	}
}

func otherThread(t *testing.T) int32 {
	t.Helper()
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, th := range threads {
		if n := atoi(th.Name()); n != os.Getpid() {
			return int32(n)
		}
	}
	t.Fatal("this process has one thread")
	return 0
}

// A number that is taken between the look and the clone ends the restore with
// who has it now, and nothing remains.
func TestTakenMeanwhile(t *testing.T) {
	requireRoot(t)
	require.Feature(t, require.CgroupKill)
	eachMemory(t, func(t *testing.T, opts Options) {
		free := freeNumbers(4)
		s := newPlaceScript(t, free[0], free[1])
		s.clone("root", "a", 0, free[2])
		// The plan itself takes it first, which no look at /proc can tell.
		s.clone("root", "thief", 0, free[3])
		s.clone("root", "b", 0, free[3])
		s.hold("root", "a", "b", "thief")
		s.serve()
		_, err := Run(context.Background(), s.forest, s.finished(), opts)
		var op *OpError
		if !errors.As(err, &op) || op.Err != unix.EEXIST ||
			!strings.Contains(op.Hint, fmt.Sprintf("number %d has been taken meanwhile by process %d (", free[3], free[3])) {
			t.Errorf("%v", err)
		}
		if left := cgroupsOf(t, os.Getpid()); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
		nothingLeft(t)
	})
}

// TestKilledInPlace is TestKilled without a namespace that would take all with
// it: whoever of the restorer and its children is killed when, all is there
// and reported, or nothing is, and no cgroup either way.
func TestKilledInPlace(t *testing.T) {
	requireRoot(t)
	require.Feature(t, require.CgroupKill)
	moments := killMoments()
	whole := timeWhole(t, "place", endFamily)
	count := map[string]int{}
	// The last are beyond what was measured, if that was too short.
	for i := 0; i < moments || count["everything"] == 0 && i < 2*moments; i++ {
		delay := (time.Duration(i)*whole + time.Duration(rand.Int64N(int64(whole)))) * 11 / 10 / time.Duration(moments)
		role := "place"
		if i%4 == 3 {
			role = "place own"
		}
		count[killedInPlace(t, role, i%3, delay)]++
		if t.Failed() {
			t.Fatalf("at moment %d, after %v of %v (%s, victim %d)", i, delay, whole, role, i%3)
		}
	}
	t.Logf("killed within %v: %v", whole, count)
	if count["nothing"] == 0 || count["everything"] == 0 {
		t.Errorf("the moments do not cover the restore: %v", count)
	}
}

func killedInPlace(t *testing.T, role string, victim int, delay time.Duration) string {
	t.Helper()
	text, restorer := killed(t, role, victim, delay)
	// Who stays is the holder, which comes here when the coordinator leaves.
	settled := func() bool {
		left := children()
		if text == "" {
			return len(left) == 0
		}
		root, ok := readTask("/proc/" + strings.TrimSpace(text))
		return !ok || len(left) == 1 && strings.HasPrefix(left[0], fmt.Sprintf("%d ", root.ppid))
	}
	// The guard may still be at it.
	for range 5000 {
		reapAll()
		if len(cgroupsOf(t, restorer)) == 0 && settled() {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if left := cgroupsOf(t, restorer); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if text == "" {
		nothingLeft(t)
		return "nothing"
	}
	root := atoi(strings.TrimSpace(text))
	if n := len(family(t, root)); n != placeTasks {
		t.Errorf("reported, but %d tasks of %d are there", n, placeTasks)
	}
	if n := len(children()); n != 1 {
		t.Errorf("reported, and there are: %v", children())
	}
	endFamily(t, root)
	nothingLeft(t)
	return "everything"
}

func TestCgroupPath(t *testing.T) {
	const mounts = `22 1 8:1 / / rw - ext4 /dev/sda1 rw
30 22 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro
31 30 0:27 / /sys/fs/cgroup/pids rw shared:5 - cgroup cgroup rw,pids
32 30 0:28 /../.. /odd rw - cgroup2 cgroup2 rw
33 30 0:28 /user.slice /mnt/with\040space rw shared:6 master:1 - cgroup2 cgroup2 rw
34 30 0:28 / /sys/fs/cgroup/unified rw shared:7 - cgroup2 cgroup2 rw
`
	for _, c := range []struct{ cgroup, want string }{
		{"/", "/sys/fs/cgroup/unified"},
		{"/system.slice/x", "/sys/fs/cgroup/unified/system.slice/x"},
		{"/user.slice", "/mnt/with space"},
		{"/user.slice/a", "/mnt/with space/a"},
		{"/user.slice2", "/sys/fs/cgroup/unified/user.slice2"},
		{"/../x", ""},
	} {
		got, ok := mountedAt(mounts, c.cgroup)
		if got != c.want || ok != (c.want != "") {
			t.Errorf("%s: %q, %t; want %q", c.cgroup, got, ok, c.want)
		}
	}
	if _, ok := unifiedOf("9:name=systemd:/\n1:cpu:/a\n"); ok {
		t.Error("a machine without cgroup v2 has one")
	}
}
