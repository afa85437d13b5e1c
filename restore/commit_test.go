// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore/plan"
)

// pipe gives a writer for Options.Stdout and a reader that ends after limit.
func pipe(t testing.TB, limit time.Duration) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	if err := r.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	return r, w
}

func report(pid int) ([]byte, error) { return fmt.Appendf(nil, "%d\n", pid), nil }

// A detached forest reports once, keeps nothing open, and lives.
func TestDetach(t *testing.T) {
	eachMemory(t, func(t *testing.T, opts Options) {
		s := newScript(t)
		s.clone("init", "a", 0, 7)
		s.clone("a", "b", 0, 8)
		s.hold("init", "a", "b")
		out, in := pipe(t, 10*time.Second)
		opts.Detach, opts.Stdout, opts.Success = true, in, report
		res, err := Run(context.Background(), s.forest, s.finished(), opts)
		if err != nil {
			t.Fatal(err)
		}
		defer killRoot(t, res.PID)
		in.Close()
		text, err := io.ReadAll(out)
		if want := fmt.Sprintf("%d\n", res.PID); err != nil || string(text) != want {
			t.Errorf("stdout is %q (%v), want %q and its end", text, err, want)
		}
		tasks := below(t, res.PID)
		if len(tasks) != 3 {
			t.Fatalf("%d tasks after the commit, want 3", len(tasks))
		}
		if n := countFiles(t, res.PID); n != 0 {
			t.Errorf("a held task has %d files open", n)
		}
		// a held task dies of what kills others
		if err := unix.Kill(tasks["8"].host, unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		eventually(t, "8 a zombie", func() bool {
			p, ok := readTask(fmt.Sprintf("/proc/%d", tasks["8"].host))
			return ok && p.state == "Z" && exitCode(t, p.host) == int(unix.SIGTERM)
		})
	})
}

func countFiles(t *testing.T, pid int) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not after 10 s: %s", what)
		}
	}
}

// subtree is a forest whose root is task 20 of a namespace with a holder.
func subtree(t testing.TB) *script {
	s := newScript(t)
	s.clone("init", "root", 0, 20)
	s.clone("root", "child", 0, 21)
	s.plan.Root = int(s.actor("root"))
	s.plan.Actors[plan.Init].Role = plan.RoleHolder
	s.hold("root", "child")
	s.comm("init")
	s.do("init", plan.Op{Code: plan.Serve})
	return s
}

// foreground runs s until its root ends of what act does, and returns how.
func foreground(t *testing.T, s *script, opts Options, act func(signals chan<- os.Signal, pid int)) syscall.WaitStatus {
	t.Helper()
	out, in := pipe(t, 10*time.Second)
	signals := make(chan os.Signal, 1)
	opts.Stdout, opts.Success, opts.Signals = in, report, signals
	done := make(chan error, 1)
	var res Result
	go func() {
		var err error
		res, err = Run(context.Background(), s.forest, s.finished(), opts)
		done <- err
	}()
	line := make([]byte, 100)
	n, err := out.Read(line) // the report: there is a commit
	if err != nil {
		t.Fatal(err, <-done)
	}
	pid := atoi(strings.TrimSpace(string(line[:n])))
	act(signals, pid)
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(10 * time.Second):
		signals <- unix.SIGKILL // a committed forest outlives its test
		t.Fatal("the root does not end", <-done)
	}
	if res.PID != pid {
		t.Errorf("root is %d, reported %d", res.PID, pid)
	}
	return res.Status
}

func TestForeground(t *testing.T) {
	eachMemory(t, func(t *testing.T, opts Options) {
		container := func() *script {
			s := newScript(t)
			s.clone("init", "a", 0, 7)
			s.hold("init", "a")
			return s
		}
		pass := func(sig unix.Signal) func(chan<- os.Signal, int) {
			return func(signals chan<- os.Signal, _ int) { signals <- sig }
		}
		if st := foreground(t, container(), opts, pass(unix.SIGTERM)); !st.Exited() || st.ExitStatus() != 128+15 {
			t.Errorf("a container's root passed SIGTERM: %s", statusText(st))
		}
		if st := foreground(t, container(), opts, pass(unix.SIGKILL)); st.Signal() != unix.SIGKILL {
			t.Errorf("a container's root passed SIGKILL: %s", statusText(st))
		}
		if st := foreground(t, subtree(t), opts, pass(unix.SIGUSR1)); st.Signal() != unix.SIGUSR1 {
			t.Errorf("a subtree's root passed SIGUSR1: %s", statusText(st))
		}
		// a holder passes signals on, too
		st := foreground(t, subtree(t), opts, func(_ chan<- os.Signal, root int) {
			p, _ := readTask(fmt.Sprintf("/proc/%d", root))
			if err := unix.Kill(p.ppid, unix.SIGHUP); err != nil {
				t.Error(err)
			}
		})
		if st.Signal() != unix.SIGHUP {
			t.Errorf("a subtree's root whose holder got SIGHUP: %s", statusText(st))
		}
	})
}

// After the commit a cancelled context ends a forest in the foreground.
func TestForegroundCancelled(t *testing.T) {
	eachMemory(t, func(t *testing.T, opts Options) {
		s := subtree(t)
		ctx, cancel := context.WithCancel(context.Background())
		out, in := pipe(t, 10*time.Second)
		opts.Stdout, opts.Success = in, report
		var made map[string]procTask
		go func() {
			line := make([]byte, 100)
			n, _ := out.Read(line)
			made = below(t, atoi(strings.TrimSpace(string(line[:n]))))
			cancel()
		}()
		if _, err := Run(ctx, s.forest, s.finished(), opts); !errors.Is(err, context.Canceled) {
			t.Errorf("run: %v", err)
		}
		s.gone(made)
	})
}

// The parent-death signal of a task acts in the restored forest.
func TestPdeath(t *testing.T) {
	eachMemory(t, func(t *testing.T, opts Options) {
		s := newScript(t)
		s.clone("init", "a", 0, 7)
		s.clone("a", "b", 0, 8)
		s.clone("a", "c", 0, 9)
		s.do("b", plan.Op{Code: plan.SetIDs, UID: 1000, GID: 1000, EUID: 1000, EGID: 1000})
		s.do("b", plan.Op{Code: plan.Pdeath, Signal: int32(unix.SIGINT)})
		s.hold("init", "a", "b", "c")
		opts.Detach = true
		res, err := Run(context.Background(), s.forest, s.finished(), opts)
		if err != nil {
			t.Fatal(err)
		}
		defer killRoot(t, res.PID)
		tasks := below(t, res.PID)
		if err := unix.Kill(tasks["7"].host, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "b killed with a", func() bool {
			p, ok := readTask(fmt.Sprintf("/proc/%d", tasks["8"].host))
			return ok && p.state == "Z" && exitCode(t, p.host) == int(unix.SIGINT)
		})
		if p, ok := readTask(fmt.Sprintf("/proc/%d", tasks["9"].host)); !ok || p.state != "S" {
			t.Errorf("c is %q", p.state)
		}
	})
}

// withTasks gives the script's forest pid objects and tasks, for what needs
// to know them: names, numbers and ids.
func (s *script) withTasks(tasks map[string]forest.Task, numbers map[string][]int32) {
	names := make([]string, 0, len(tasks))
	for n := range tasks {
		names = append(names, n)
	}
	sort.Strings(names)
	for i, n := range names {
		level := len(numbers[n]) - 1
		for len(s.forest.Namespaces) <= level {
			s.forest.Namespaces = append(s.forest.Namespaces, forest.Namespace{
				Parent: len(s.forest.Namespaces) - 1, Level: len(s.forest.Namespaces)})
		}
		s.forest.Pids = append(s.forest.Pids, forest.Pid{Namespace: level, Numbers: numbers[n]})
		task := tasks[n]
		task.Pid, task.TGID, task.Comm = forest.Tag(i+1), forest.Tag(i+1), n
		s.forest.Tasks = append(s.forest.Tasks, task)
		s.plan.Actors[s.actor(n)].Task = i
	}
}

func TestExec(t *testing.T) {
	eachMemory(t, func(t *testing.T, opts Options) {
		s := newScript(t)
		s.forest.UserNamespaces = append(s.forest.UserNamespaces, forest.UserNamespace{
			Parent: 0, Setgroups: true,
			UIDMap: []forest.Extent{{First: 0, Parent: 1000, Count: 10}},
			GIDMap: []forest.Extent{{First: 0, Parent: 1000, Count: 10}},
		})
		s.clone("init", "a", 0, 70)
		s.do("a", plan.Op{Code: plan.Setsid})
		s.clone("a", "at", plan.Thread, 71)
		born := s.do("a", plan.Op{Code: plan.Clone, Child: s.actor("n"), Flags: plan.NewPID | plan.NewUser,
			Numbers: []int32{1, 80}, Signal: forest.SIGCHLD})
		s.do("restorer", plan.Op{Code: plan.WriteMaps, Number: 1, Child: s.actor("n")}, born)
		s.hold("init", "a", "at", "n")
		s.withTasks(map[string]forest.Task{
			"a":    {UID: 1000, GID: 1001, EUID: 1000, EGID: 1001, Parent: 2, PGID: 1, SID: 1},
			"init": {SID: forest.Inherited, PGID: forest.Inherited},
			"n":    {UID: 1003, GID: 1004, EUID: 1003, EGID: 1004, Parent: 1, PGID: 1, SID: 1, UserNamespace: 1},
		}, map[string][]int32{"a": {70}, "init": {1}, "n": {80, 1}})
		t.Setenv("PIDGRAFT_STALE", "1")
		t.Setenv("KEPT", "yes")
		out, in := pipe(t, 10*time.Second)
		dir := sharedDir(t)
		opts.Stdout, opts.Stderr = in, os.Stderr
		opts.Exec = `echo "$PIDGRAFT_TASK $PIDGRAFT_PID $PIDGRAFT_NUMBERS $PIDGRAFT_TGID $PIDGRAFT_PGID` +
			` $PIDGRAFT_SID $PIDGRAFT_PPID $PIDGRAFT_COMM $$ $(id -u):$(id -g):$(id -G)` +
			` $KEPT$PIDGRAFT_STALE $(ls /proc/self/fd | wc -l) $(ulimit -c) $(ulimit -n)"` +
			`; : >` + dir + `/$PIDGRAFT_TASK; test $PIDGRAFT_NUMBERS = 1 &&` +
			` until [ $(ls ` + dir + ` | wc -l) = 3 ]; do sleep 0.01; done; exit 7`
		res, err := Run(context.Background(), s.forest, s.finished(), opts)
		if err != nil {
			t.Fatal(err)
		}
		in.Close()
		if !res.Status.Exited() || res.Status.ExitStatus() != 7 {
			t.Errorf("root: %s", statusText(res.Status))
		}
		text, err := io.ReadAll(out)
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Split(strings.TrimSpace(string(text)), "\n")
		sort.Strings(got)
		var core, files unix.Rlimit
		if unix.Getrlimit(unix.RLIMIT_CORE, &core) != nil || unix.Getrlimit(unix.RLIMIT_NOFILE, &files) != nil {
			t.Fatal("getrlimit")
		}
		limits := fmt.Sprintf(" 4 %s ", limit(core.Cur)) // 0, 1, 2 and that of ls
		var want []string
		for _, w := range []string{
			"1 70 70 70 70 70 1 a 70 1000:1001:1001 yes",
			"2 1 1 1 0 0 0 init 1 0:0:0 yes",
			"3 1 80/1 1 0 0 0 n 1 3:4:4 yes",
		} {
			want = append(want, w+limits)
		}
		for i := range got { // the soft limit of files is what a child of Go gets
			got[i] = got[i][:strings.LastIndex(got[i], " ")+1]
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	})
}

// sharedDir is a directory that everybody may write to.
func sharedDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pidgraft")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

func limit(n uint64) string {
	if n == unix.RLIM_INFINITY {
		return "unlimited"
	}
	return fmt.Sprint(n / 512)
}

// A program that cannot run as its task's ids is refused before anything.
func TestExecUnmapped(t *testing.T) {
	requireRoot(t)
	s := newScript(t)
	s.forest.UserNamespaces = append(s.forest.UserNamespaces, forest.UserNamespace{Parent: 0,
		UIDMap: []forest.Extent{{First: 0, Parent: 1000, Count: 10}}})
	s.hold("init")
	s.withTasks(map[string]forest.Task{"init": {UID: 2000, UserNamespace: 1}}, map[string][]int32{"init": {1}})
	_, err := Run(context.Background(), s.forest, s.finished(), Options{Exec: "true"})
	if err == nil || !strings.Contains(err.Error(), "task 1 (init): id 2000") {
		t.Errorf("run: %v", err)
	}
}

// Init that gives up when all is decided waits for the end of one who entered from
// the coordinator's side, which the coordinator has to collect.
func TestUnreportedWithEntrants(t *testing.T) {
	eachMemory(t, func(t *testing.T, opts Options) {
		s := newScript(t)
		s.enter()
		s.hold("init")
		out, in := pipe(t, 10*time.Second)
		out.Close() // nobody reads the report
		opts.Detach, opts.Stdout, opts.Success = true, in, report
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		ended := make(chan error, 1)
		go func() {
			_, err := Run(ctx, s.forest, s.finished(), opts)
			ended <- err
		}()
		select {
		case err := <-ended:
			if err == nil {
				t.Error("success without a report")
			}
		case <-ctx.Done():
			t.Fatal("the restorer waits for ever")
		}
		nothingLeft(t)
	})
}
