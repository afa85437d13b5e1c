// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore/plan"
)

// playRole is the test binary as a restorer of its own.
func playRole(role string) int {
	if role == "needs" || role == "bare" {
		return playNeeds(role)
	}
	s := mixed()
	opts := Options{Detach: true, Stdout: os.Stdout, Stderr: os.Stderr, Success: report, Pidfile: os.Getenv(pidfileVariable)}
	switch role {
	case "place":
		s = mixedInPlace()
	case "place own":
		s = mixedInPlace()
		opts.Memory = OwnMemory
	case "own":
		opts.Memory = OwnMemory
	case "besides":
		s = besides(nil, func(s *script, made plan.Ref) []plan.Ref {
			s.clone("init", "a", 0, 7)
			s.hold("a") // so that this is never done
			return []plan.Ref{s.await("init", "a", 7, made)}
		})
	case "pdeath":
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return 1
		}
		s = newScript(nil)
		s.do("init", plan.Op{Code: plan.Pdeath, Signal: int32(unix.SIGKILL)})
		s.hold("init")
		opts.Stdout, opts.Success = nil, nil
	}
	r, err := Run(context.Background(), s.forest, s.finished(), opts)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if role == "pdeath" {
		fmt.Println(r.PID)
		_, _ = io.ReadAll(os.Stdin) // until told to leave
	}
	return 0
}

const mixedTasks = 1 + 40*5 + 20 // and one whose parent is outside

// mixed is a forest with something of everything that takes time to make.
func mixed() *script {
	s := newScript(nil)
	s.forest.UserNamespaces = append(s.forest.UserNamespaces, forest.UserNamespace{Parent: 0, Setgroups: true,
		UIDMap: []forest.Extent{{Count: 1}}, GIDMap: []forest.Extent{{Count: 1}}})
	for i := int32(0); i < 40; i++ {
		n := func(s string) string { return s + strconv.Itoa(int(i)) }
		base := 100 + 10*i
		s.clone("init", n("p"), 0, base)
		s.do(n("p"), plan.Op{Code: plan.Setsid})
		s.clone(n("p"), n("t"), plan.Thread, base+1)
		s.clone(n("p"), n("z"), 0, base+2)
		s.exit(n("z"), 3)
		s.await(n("p"), n("z"), base+2)
		flags := plan.NewPID
		if i < 4 {
			flags |= plan.NewUser
		}
		born := s.clone(n("p"), n("i"), flags, 1, base+3)
		if i < 4 {
			s.do("restorer", plan.Op{Code: plan.WriteMaps, Number: 1, Child: s.actor(n("i"))}, born)
			s.clone(n("i"), n("c"), 0, 2)
		} else {
			s.clone(n("i"), n("c"), 0, 2, base+4)
		}
		s.hold(n("p"), n("t"), n("i"), n("c"))
	}
	s.enter()
	s.hold("init")
	return s
}

// enter has an outsider put two processes into the namespace: one whose
// children init adopts, and one that stays its child.
func (s *script) enter() {
	s.plan.Births = append(s.plan.Births, plan.Op{Code: plan.Clone, Child: s.actor("o"), Signal: forest.SIGCHLD})
	s.do("o", plan.Op{Code: plan.JoinPID, Via: plan.Init})
	s.clone("o", "e", 0, 20)
	for i := int32(0); i < 20; i++ {
		n := "e" + strconv.Itoa(int(i))
		s.clone("e", n, 0, 30+i)
		s.hold(n)
	}
	s.exit("e", 0)
	s.reap("o", "e", 0)
	s.clone("o", "v", 0, 21)
	s.hold("v")
	s.exit("o", 0)
}

func restorer(t *testing.T, role string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), roleVariable+"="+role,
		"GORACE=atexit_sleep_ms=0") // under -race: leave at once
	cmd.Stderr = os.Stderr
	return cmd
}

// killMoments is how many restores are killed.
func killMoments() int {
	if testing.Short() {
		return 12
	}
	return 200
}

// TestKilled kills the restorer, its coordinator, or both, at one moment after
// another of a restore: either success was reported and the whole forest is there, or
// nothing is.
func TestKilled(t *testing.T) {
	requireRoot(t)
	moments := killMoments()
	whole := timeWhole(t, "shared", killRoot)
	count := map[string]int{}
	// The last are beyond what was measured, if that was too short.
	for i := 0; i < moments || count["everything"] == 0 && i < 2*moments; i++ {
		delay := (time.Duration(i)*whole + time.Duration(rand.Int64N(int64(whole)))) * 11 / 10 / time.Duration(moments)
		role := "shared"
		if i%4 == 3 {
			role = "own"
		}
		outcome := killAt(t, role, i%3, delay)
		count[outcome]++
		if t.Failed() {
			t.Fatalf("at moment %d, after %v of %v (%s, victim %d)", i, delay, whole, role, i%3)
		}
	}
	t.Logf("killed within %v: %v", whole, count)
	if count["nothing"] == 0 || count["everything"] == 0 {
		t.Errorf("the moments do not cover the restore: %v", count)
	}
}

// timeWhole is how long a restore takes from start to report: the median, so
// that a busy moment does not put all kills after the end.
func timeWhole(t *testing.T, role string, end func(testing.TB, int)) time.Duration {
	t.Helper()
	times := make([]time.Duration, 5)
	for i := range times {
		start := time.Now()
		out, err := restorer(t, role).Output()
		if err != nil {
			t.Fatal(err)
		}
		times[i] = time.Since(start)
		end(t, atoi(strings.TrimSpace(string(out))))
	}
	slices.Sort(times)
	return times[len(times)/2]
}

// killAt starts a restorer, kills the victim (0 it, 1 its coordinator, 2 both)
// after delay, and looks what there is.
func killAt(t *testing.T, role string, victim int, delay time.Duration) string {
	t.Helper()
	text, _ := killed(t, role, victim, delay)
	if len(text) == 0 {
		// What was orphaned is this process's now. Dying takes a moment.
		for range 2000 {
			if len(children()) == 0 {
				break
			}
			reapAll()
			time.Sleep(time.Millisecond)
		}
		nothingLeft(t)
		return "nothing"
	}
	root := atoi(strings.TrimSpace(text))
	if n := len(below(t, root)); n != mixedTasks {
		t.Errorf("reported, but %d tasks of %d are there", n, mixedTasks)
	}
	// The coordinator may not have gone yet.
	for range 2000 {
		if reapAll(); len(children()) == 2 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if n := len(children()); n != 2 {
		t.Errorf("reported, but %d of the root and the one that entered are there", n)
	}
	killRoot(t, root)
	nothingLeft(t)
	return "everything"
}

// killed starts a restorer, kills the victim after delay, and returns what was
// reported and the number that the restorer had.
func killed(t *testing.T, role string, victim int, delay time.Duration) (string, int) {
	t.Helper()
	dir := t.TempDir()
	pidfile := filepath.Join(dir, "root.pid")
	cmd := restorer(t, role)
	cmd.Env = append(cmd.Env, pidfileVariable+"="+pidfile)
	cmd.Stderr = nil // what it says when its coordinator is killed
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(delay)
	if victim >= 1 {
		killChildren(cmd.Process.Pid)
	}
	if victim != 1 {
		_ = cmd.Process.Kill()
	}
	// Until the restorer, and everything it made that is not committed, has
	// closed it. What entered the namespace from outside is this subreaper's
	// to collect, or the namespace could not end (kernel-rules 5).
	read := make(chan struct{})
	var text []byte
	go func() {
		defer close(read)
		text, err = io.ReadAll(out)
	}()
	for waiting := true; waiting; {
		select {
		case <-read:
			waiting = false
		case <-time.After(time.Millisecond):
			for _, c := range children() {
				pid, _, _ := strings.Cut(c, " ")
				if n := atoi(pid); n != cmd.Process.Pid {
					_, _ = unix.Wait4(n, nil, unix.WNOHANG|unix.WALL, nil)
				}
			}
		}
	}
	if err != nil {
		t.Error(err)
	}
	_ = cmd.Wait()
	expectPidfile(t, pidfile, string(text))
	return string(text), cmd.Process.Pid
}

// expectPidfile expects a pidfile with what was reported, or nothing in its
// directory.
func expectPidfile(t *testing.T, path, reported string) {
	t.Helper()
	list, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	if reported == "" && len(list) > 0 {
		t.Errorf("nothing was reported, but there is %s", list[0].Name())
	}
	if text, err := os.ReadFile(path); reported != "" && (err != nil || string(text) != reported || len(list) > 1) {
		t.Errorf("%q was reported, the pidfile is %q (%v), one of %d files", reported, text, err, len(list))
	}
}

// reapAll collects what has ended, and waits for nothing.
func reapAll() {
	for {
		if pid, err := unix.Wait4(-1, nil, unix.WNOHANG|unix.WALL, nil); pid <= 0 && err != unix.EINTR {
			return
		}
	}
}

// killChildren kills the coordinator of a restorer, if it has one yet.
func killChildren(pid int) {
	threads, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, thread := range threads {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, thread.Name()))
		for _, child := range strings.Fields(string(text)) {
			_ = unix.Kill(atoi(child), unix.SIGKILL)
		}
	}
}

// The root's own parent-death signal is that of its new parent, set only when
// the coordinator is gone.
func TestRootPdeath(t *testing.T) {
	requireRoot(t)
	cmd := restorer(t, "pdeath")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	root := atoi(strings.TrimSpace(line))
	fd, err := openPidfd(root)
	if err != nil {
		t.Fatal(err)
	}
	defer fd.Close()
	p, ok := readTask(fmt.Sprintf("/proc/%d", root))
	if !ok || p.ppid != cmd.Process.Pid || pidfdEnded(int(fd.Fd())) {
		t.Errorf("the root is a child of %d, want %d, a subreaper", p.ppid, cmd.Process.Pid)
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	eventually(t, "the root dies with its parent", func() bool { return pidfdEnded(int(fd.Fd())) })
	nothingLeft(t)
}
