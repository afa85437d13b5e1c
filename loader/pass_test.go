// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/collector"
	"github.com/pidgraft/pidgraft/internal/testforest"
)

// start opens a target for a test.
func start(t testing.TB, target Target) *Loader {
	t.Helper()
	privileged(t)
	l, err := Open(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// loaders are those that a test of many targets has open, one for each scope. To
// load the programs takes far longer than to look at a small target, most of all
// in a guest without KVM, and is what every other test does.
type loaders map[Scope]*Loader

// start is start, and after the first time only looks for the target. The
// Loader ends with t, which is of all targets.
func (all loaders) start(t testing.TB, target Target) *Loader {
	t.Helper()
	l := all[target.Scope]
	if l == nil {
		l = start(t, target)
		all[target.Scope] = l
		return l
	}
	if err := unix.Close(l.pidfd); err != nil {
		t.Fatal(err)
	}
	l.pidfd, l.last = -1, nil
	if err := l.pin(target); err != nil {
		t.Fatal(err)
	}
	if err := l.begin(target); err != nil {
		t.Fatal(err)
	}
	return l
}

func snapshot(t testing.TB, l *Loader) *collector.Snapshot {
	t.Helper()
	s, err := l.Snapshot(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Every task of every kind of forest, and every field, is what /proc says.
func TestForestsEqualProc(t *testing.T) {
	privileged(t)
	all := loaders{}
	for _, sample := range testforest.Samples() {
		each := t
		t.Run(sample.Name, func(t *testing.T) {
			f := testforest.Start(t, sample.Script)
			scope := Container
			if sample.Subtree {
				scope = Subtree
			}
			l := all.start(each, Target{PID: f.Root(), Scope: scope, Unwatched: true})
			s := snapshot(t, l)
			v := newView(t, s, int(l.target.ReaderLevel))
			tasks, threads := readAllProc(t)
			want := members(t, f.Root(), f.PID("outside"), sample.Subtree, tasks, threads)
			if diff := cmp.Diff(want, v.numbers()); diff != "" {
				t.Fatalf("tasks (- /proc, + snapshot):\n%s", diff)
			}
			if v.number(s.Root) != f.Root() {
				t.Errorf("the root is task %d, want %d", v.number(s.Root), f.Root())
			}
			for i := range s.Tasks {
				v.compareTask(t, &s.Tasks[i], tasks[v.number(s.Tasks[i].ID)])
			}
			v.compareOrder(t, tasks, threads)
			v.compareParents(t)
		})
	}
}

// numbers of all tasks, sorted.
func (v *view) numbers() []int {
	var numbers []int
	for id := range v.tasks {
		numbers = append(numbers, v.number(id))
	}
	slices.Sort(numbers)
	return numbers
}

// members are the tasks that belong to the target, by /proc: of those below
// top, those below the root, or whose pid namespace is the root's or below it.
func members(t *testing.T, root, top int, subtree bool, tasks map[int]*procTask, threads map[int][]int) []int {
	t.Helper()
	var found []int
	for pid, tids := range threads {
		if subtree && below(root, pid, tasks) || !subtree && below(top, pid, tasks) && belowNamespace(t, root, pid, tasks) {
			found = append(found, tids...)
		}
	}
	slices.Sort(found)
	return found
}

func below(root, pid int, tasks map[int]*procTask) bool {
	for pid != root {
		p := tasks[pid]
		if p == nil || p.field(4) == 0 {
			return false
		}
		pid = p.field(4)
	}
	return true
}

// belowNamespace: a zombie has no namespace to look at; it is where its parent
// is, or it entered.
func belowNamespace(t *testing.T, root, pid int, tasks map[int]*procTask) bool {
	t.Helper()
	p, depth := tasks[pid], len(tasks[root].status["NSpid"])
	for p != nil && len(p.status["NSpid"]) >= depth {
		if _, ok := p.links["pid"]; ok {
			return slices.Contains(nsChain(t, fmt.Sprintf("/proc/%d/ns/pid", p.tid)), tasks[root].links["pid"])
		}
		parent := tasks[p.field(4)]
		if parent == nil || len(parent.status["NSpid"]) < depth {
			return true
		}
		p = parent
	}
	return false
}

// compareOrder: children and threads, in the kernel's order.
func (v *view) compareOrder(t *testing.T, tasks map[int]*procTask, threads map[int][]int) {
	t.Helper()
	children, members := map[collector.ID][]collector.ID{}, map[collector.ID][]collector.ID{}
	for id, task := range v.tasks {
		members[task.GroupLeader] = append(members[task.GroupLeader], id)
		if task.GroupLeader == id && v.tasks[task.RealParent] != nil && id != v.Root {
			children[task.RealParent] = append(children[task.RealParent], id)
		} else if task.GroupLeader != id && task.PrevSibling != 0 {
			t.Errorf("task %d is a thread and has a sibling", v.number(id))
		}
	}
	for parent, kids := range children {
		of := fmt.Sprintf("children of %d", v.number(parent))
		got := v.order(t, of, kids, func(t *collector.Task) collector.ID { return t.PrevSibling })
		if want := tasks[v.number(parent)].kids; !slices.Equal(got, want) {
			t.Errorf("%s: got %v, /proc has %v", of, got, want)
		}
	}
	for leader, tids := range members {
		of := fmt.Sprintf("threads of %d", v.number(leader))
		got := v.order(t, of, tids, func(t *collector.Task) collector.ID { return t.PrevThread })
		if want := threads[v.number(leader)]; !slices.Equal(got, want) {
			t.Errorf("%s: got %v, /proc has %v", of, got, want)
		}
	}
}

// compareParents: who the snapshot says is a parent has that task as a child,
// and namespaces and user namespaces lead up to the initial ones.
func (v *view) compareParents(t *testing.T) {
	t.Helper()
	for _, p := range v.pids {
		if v.namespaces[p.Namespace] == nil || v.namespaces[p.Namespace].Level != p.Level {
			t.Errorf("pid object %v: its namespace is not there, or at another level", p.Numbers)
		}
	}
	for _, ns := range v.namespaces {
		if ns.Level > 0 && (v.namespaces[ns.Parent] == nil || v.namespaces[ns.Parent].Level != ns.Level-1) {
			t.Errorf("pid namespace %d has no parent", ns.Inode)
		}
		if v.users[ns.Owner] == nil {
			t.Errorf("pid namespace %d: its owner is not there", ns.Inode)
		}
	}
	for _, u := range v.users {
		if u.Level > 0 && (v.users[u.Parent] == nil || v.users[u.Parent].Level != u.Level-1) {
			t.Errorf("user namespace %d has no parent", u.Inode)
		}
	}
}

// All that /proc shows of this machine and does not change meanwhile. The task
// iterator may hide tasks that /proc shows, as the sandbox of a build machine
// does with its own.
func TestMachineEqualsProc(t *testing.T) {
	l := start(t, Target{Scope: Machine, Unwatched: true})
	for try := range 5 {
		before, _ := readAllProc(t)
		s := snapshot(t, l)
		after, _ := readAllProc(t)
		v := newView(t, s, int(l.target.ReaderLevel))
		shown := map[int]bool{}
		compared := 0
		for i := range s.Tasks {
			n := v.number(s.Tasks[i].ID)
			shown[n] = true
			if b, a := before[n], after[n]; b != nil && a != nil && b.raw == a.raw && b.stat[0] == a.stat[0] {
				v.compareTask(t, &s.Tasks[i], a)
				compared++
			}
		}
		hidden := 0
		for n, b := range before {
			if a := after[n]; a != nil && a.raw == b.raw && !shown[n] {
				hidden++
			}
		}
		t.Logf("try %d: %d tasks compared, %d shown by /proc alone", try, compared, hidden)
		if compared*10 >= len(after)*8 {
			return
		}
	}
	t.Error("less than 8 of 10 tasks could be compared")
}

// A ring of one page, and more tasks than it can hold a hundredth of: all are
// there, once.
func TestNothingIsLostInASmallRing(t *testing.T) {
	privileged(t)
	f := testforest.Start(t, `
		outside fork init newpid
		init fork a
		a setsid
		a sleepers 2000`)
	for _, scope := range []Scope{Container, Subtree} {
		l, err := open(Target{PID: f.Root(), Scope: scope, Unwatched: true}, uint32(os.Getpagesize()))
		if err != nil {
			t.Fatal(err)
		}
		s := snapshot(t, l)
		v := newView(t, s, int(l.target.ReaderLevel))
		if len(s.Tasks) != 2002 || len(v.tasks) != 2002 {
			t.Errorf("scope %d: %d tasks, %d of them different, want 2002", scope, len(s.Tasks), len(v.tasks))
		}
		if scope == Container && (!s.Walked || len(s.IDR) != 2002) {
			t.Errorf("walked %t (%v): %d objects, want 2002", s.Walked, l.WalkError(), len(s.IDR))
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

// The largest id maps do not fit a ring of one page, nor five extents their
// place in the struct.
func TestIDMaps(t *testing.T) {
	privileged(t)
	for _, n := range []int{1, 5, 6, 35, 340} {
		cmd := exec.Command("sleep", "1000")
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWUSER, Pdeathsig: syscall.SIGKILL,
		}
		for i := range n {
			m := syscall.SysProcIDMap{ContainerID: 3 * i, HostID: 5 * i, Size: 2}
			cmd.SysProcAttr.UidMappings = append(cmd.SysProcAttr.UidMappings, m)
			m.HostID++
			cmd.SysProcAttr.GidMappings = append(cmd.SysProcAttr.GidMappings, m)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			cmd.Process.Kill()
			cmd.Wait()
		}()
		l, err := open(Target{PID: cmd.Process.Pid, Scope: Subtree, Unwatched: true}, uint32(os.Getpagesize()))
		if err != nil {
			t.Fatal(err)
		}
		s := snapshot(t, l)
		v := newView(t, s, 0)
		u := v.users[v.tasks[s.Root].UserNamespace]
		if u == nil {
			t.Fatalf("%d extents: the user namespace is not there", n)
		}
		for file, got := range map[string][]collector.Extent{"uid_map": u.UIDMap, "gid_map": u.GIDMap} {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", cmd.Process.Pid, file))
			if err != nil {
				t.Fatal(err)
			}
			var lines []string
			for _, e := range got {
				lines = append(lines, fmt.Sprint(e.First, " ", e.Lower, " ", e.Count))
			}
			var want []string
			for line := range strings.Lines(string(b)) {
				want = append(want, strings.Join(strings.Fields(line), " "))
			}
			// The kernel sorts maps of more than five by what is inside.
			if diff := cmp.Diff(want, lines); diff != "" {
				t.Errorf("%d extents: %s (- /proc, + snapshot):\n%s", n, file, diff)
			}
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

// What /proc does not show: flags that the test has set.
func TestFlags(t *testing.T) {
	privileged(t)
	f := testforest.Start(t, `
		outside fork init newpid
		init fork a
		a subreaper 1
		a pdeath USR1
		a thread a2
		init fork b sig=12`)
	l := start(t, Target{PID: f.Root(), Unwatched: true})
	s := snapshot(t, l)
	v := newView(t, s, int(l.target.ReaderLevel))
	for _, task := range v.tasks {
		switch v.number(task.ID) {
		case f.PID("a"):
			if !task.Subreaper || task.PdeathSignal != int32(syscall.SIGUSR1) {
				t.Errorf("a: subreaper %t, pdeath_signal %d", task.Subreaper, task.PdeathSignal)
			}
		case f.PID("a2"):
			if !task.Subreaper || task.PdeathSignal != 0 {
				t.Errorf("a2: subreaper %t, pdeath_signal %d", task.Subreaper, task.PdeathSignal)
			}
		case f.PID("b"):
			if task.Subreaper || task.ExitSignal != 12 {
				t.Errorf("b: subreaper %t, exit_signal %d", task.Subreaper, task.ExitSignal)
			}
		}
	}
}

// The idr has what the tasks have, and besides what only a task outside uses.
func TestWalk(t *testing.T) {
	privileged(t)
	all := loaders{}
	for _, sample := range testforest.Samples() {
		if sample.Subtree {
			continue
		}
		each := t
		t.Run(sample.Name, func(t *testing.T) {
			f := testforest.Start(t, sample.Script)
			l := all.start(each, Target{PID: f.Root(), Scope: Container, Unwatched: true})
			s := snapshot(t, l)
			if !s.Walked {
				t.Fatalf("not walked: %v", l.WalkError())
			}
			v := newView(t, s, int(l.target.ReaderLevel))
			level := v.namespaces[s.Namespace].Level
			used := map[collector.ID]bool{}
			for _, task := range s.Tasks {
				for _, id := range []collector.ID{task.Pid, task.TGID, task.PGID, task.SID} {
					if p := v.pids[id]; p != nil && p.Level >= level && v.ancestor(p.Namespace, level) == s.Namespace {
						used[id] = true
					}
				}
			}
			walked := map[collector.ID]bool{}
			for _, id := range s.IDR {
				if walked[id] {
					t.Errorf("object %v was walked twice", v.pids[id].Numbers)
				}
				walked[id] = true
				if !used[id] && v.pids[id].HasPID {
					t.Errorf("object %v has a task that was not seen", v.pids[id].Numbers)
				}
			}
			for id := range used {
				if !walked[id] {
					t.Errorf("object %v was not walked", v.pids[id].Numbers)
				}
			}
			// The kernel's own count.
			if got, want := len(walked), int(v.namespaces[s.Namespace].Allocated&^collector.PidnsAdding); got != want {
				t.Errorf("%d objects were walked, the namespace counts %d", got, want)
			}
		})
	}
}

// Two passes over a forest at rest are the same, byte for byte.
func TestPassesAgree(t *testing.T) {
	privileged(t)
	f := testforest.Start(t, `
		outside fork init newpid
		init fork a
		a thread a2
		a setsid
		a fork b newpid newuser
		init fork z
		z exit 3`)
	l := start(t, Target{PID: f.Root()})
	mine := func(s *collector.Snapshot) *collector.Snapshot {
		// The namespaces above are the machine's, and go on.
		level := newView(t, s, 0).namespaces[s.Namespace].Level
		s.Namespaces = slices.DeleteFunc(s.Namespaces, func(ns collector.Namespace) bool { return ns.Level < level })
		return s
	}
	if diff := cmp.Diff(mine(snapshot(t, l)), mine(snapshot(t, l))); diff != "" {
		t.Error(diff)
	}
	if c, err := l.Changes(); err != nil || c != (collector.Changes{}) {
		t.Errorf("changes: %+v, %v", c, err)
	}
}

func TestCancelled(t *testing.T) {
	privileged(t)
	f := testforest.Start(t, "outside fork init newpid")
	l := start(t, Target{PID: f.Root(), Unwatched: true})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := l.Snapshot(ctx); err != context.Canceled {
		t.Errorf("got %v", err)
	}
}
