// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pidgraft/pidgraft/forest"
)

// lines prints what the tests look at: one line a task with its numbers, and
// its tags as pid tgid pgid sid parent parent-thread.
func lines(f *forest.Forest) []string {
	var out []string
	for i := range f.Tasks {
		t := &f.Tasks[i]
		tags := make([]string, 0, 6)
		for _, tag := range []forest.Tag{t.Pid, t.TGID, t.PGID, t.SID, t.Parent, t.ParentThread} {
			tags = append(tags, tag.String())
		}
		out = append(out, strings.TrimPrefix(f.TaskName(i), "task ")+" "+strings.Join(tags, " "))
	}
	return out
}

func wantLines(t *testing.T, f *forest.Forest, want ...string) {
	t.Helper()
	if d := cmp.Diff(want, lines(f)); d != "" {
		t.Errorf("tasks (-want +got):\n%s", d)
	}
}

func pidsOf(f *forest.Forest) [][]int32 {
	var out [][]int32
	for i := range f.Pids {
		out = append(out, f.Pids[i].Numbers)
	}
	return out
}

func wantPids(t *testing.T, f *forest.Forest, want ...[]int32) {
	t.Helper()
	if d := cmp.Diff(want, pidsOf(f)); d != "" {
		t.Errorf("pids (-want +got):\n%s", d)
	}
}

// The inits of unshare -pf and bubblewrap do not call setsid: the session and
// the group that the root inherited are recorded as such, for all who have
// them, and nothing of their leader is.
func TestInheritedSession(t *testing.T) {
	c := newContainer()
	c.task(c.root, c.ns, "sleep", 21, 2)
	f := collect(t, c.snapshot(c.root), forest.Container)
	wantLines(t, f,
		"1 (init) #1 #1 inherited inherited outside outside",
		"2 (sleep) #2 #2 inherited inherited #1 #1")
	wantPids(t, f, []int32{1}, []int32{2})
}

// A pipeline's init: the session is the shell's, the group that of another
// process of the job. Both are inherited; a task that went back to the
// session's own group cannot be told from the others, which is said.
func TestInheritedGroupAndSession(t *testing.T) {
	c := newContainer()
	job := c.task(c.shell, c.init, "job", 19)
	job.PGID = job.Pid
	c.root.PGID = job.Pid
	a := c.task(c.root, c.ns, "a", 21, 2)
	f := collect(t, c.snapshot(c.root), forest.Container)
	wantLines(t, f,
		"1 (init) #1 #1 inherited inherited outside outside",
		"2 (a) #2 #2 inherited inherited #1 #1")
	if len(f.Inexact) != 0 {
		t.Error("inexact:", f.Inexact)
	}
	a.PGID = c.shell.Pid
	f = collect(t, c.snapshot(c.root), forest.Container)
	if len(f.Inexact) != 1 || !strings.Contains(f.Inexact[0], "2 (a)") {
		t.Errorf("inexact: %q", f.Inexact)
	}
}

// Tags are given in tree order: a task's children before its next thread; for
// each task its pid, tgid, group and session.
func TestOrderOfFirstAppearance(t *testing.T) {
	c := newContainer()
	c.setsid(c.root)
	a := c.task(c.root, c.ns, "a", 30, 9)
	c.setsid(a)
	b := c.task(a, c.ns, "b", 31, 4)
	b.PGID = b.Pid
	x := c.task(b, c.ns, "x", 32, 300)
	x.PGID = b.Pid
	c.thread(c.root, c.ns, "t", 33, 3)
	c.task(c.root, c.ns, "last", 34, 2)
	f := collect(t, c.snapshot(c.root), forest.Container)
	wantLines(t, f,
		"1 (init) #1 #1 #1 #1 outside outside",
		"9 (a) #2 #2 #2 #2 #1 #1",
		"4 (b) #3 #3 #3 #2 #2 #2",
		"300 (x) #4 #4 #3 #2 #3 #3",
		"2 (last) #5 #5 #1 #1 #1 #1",
		"3 (t) #6 #1 #1 #1 outside outside")
}

// The numbers start at the root's level, not at the host's, and a record is
// as long as the depth below it, not as the level.
func TestNumbersFromRootLevel(t *testing.T) {
	c := newContainer()
	in := c.pidns(c.ns)
	root := c.task(c.root, in, "deep", 50, 5, 1)
	c.setsid(root)
	in2 := c.pidns(in)
	k := c.task(root, in2, "deeper", 51, 6, 2, 1)
	f := collect(t, c.snapshot(root), forest.Container)
	wantPids(t, f, []int32{1}, []int32{2, 1})
	if f.Namespaces[0].Level != 0 || f.Namespaces[1].Level != 1 || f.Namespaces[1].Parent != 0 {
		t.Errorf("namespaces: %+v", f.Namespaces)
	}
	if f.NrVpids() != 1 {
		t.Errorf("NrVpids = %d, want 1: depths are counted from the root", f.NrVpids())
	}
	_ = k
}

// A group object may be deeper than its user or in a sibling namespace, a
// session object shallower; each keeps its own depth.
func TestGroupDeeperAndSessionShallower(t *testing.T) {
	c := newContainer()
	c.setsid(c.root)
	n1, n2 := c.pidns(c.ns), c.pidns(c.ns)
	deep := c.task(c.root, n1, "deep", 30, 2, 1)
	deep.PGID = deep.Pid
	shallow := c.task(c.root, c.ns, "shallow", 31, 3)
	shallow.PGID = deep.Pid
	side := c.task(c.root, n2, "side", 32, 4, 1)
	side.PGID = deep.Pid
	f := collect(t, c.snapshot(c.root), forest.Container)
	wantLines(t, f,
		"1 (init) #1 #1 #1 #1 outside outside",
		"2/1 (deep) #2 #2 #2 #1 #1 #1",
		"3 (shallow) #3 #3 #2 #1 #1 #1",
		"4/1 (side) #4 #4 #2 #1 #1 #1")
}

// A ghost is numbered like anything else: when its first user is met.
func TestGhosts(t *testing.T) {
	c := newContainer()
	c.setsid(c.root)
	leader := c.task(c.root, c.ns, "leader", 30, 5)
	c.setsid(leader)
	c.task(leader, c.ns, "orphan", 31, 6)
	orphan := c.tasks[len(c.tasks)-1]
	c.adopt(c.root, orphan)
	c.leave(leader)
	s := c.snapshot(c.root)
	f := collect(t, s, forest.Container)
	wantLines(t, f,
		"1 (init) #1 #1 #1 #1 outside outside",
		"6 (orphan) #2 #2 #3 #3 #1 #1")
	wantPids(t, f, []int32{1}, []int32{6}, []int32{5})
	if !f.Cut.Walked {
		t.Error("the idr was walked")
	}
	// Without the walk the ghost is still found, through its user.
	s.Walked, s.IDR = false, nil
	g := collect(t, s, forest.Container)
	if d := cmp.Diff(pidsOf(f), pidsOf(g)); d != "" || g.Cut.Walked {
		t.Error("not walked:", d, g.Cut)
	}
}

// A ghost that only tasks outside the container use is in the idr alone.
func TestGhostUsedFromOutside(t *testing.T) {
	c := newContainer()
	c.setsid(c.root)
	a := c.task(c.root, c.ns, "a", 30, 5)
	a.PGID = a.Pid
	b := c.task(c.root, c.ns, "b", 31, 4)
	b.PGID = b.Pid
	c.task(c.shell, c.init, "member", 32).PGID = a.Pid
	c.task(c.shell, c.init, "member", 33).PGID = b.Pid
	c.leave(a)
	c.leave(b)
	f := collect(t, c.snapshot(c.root), forest.Container)
	wantPids(t, f, []int32{1}, []int32{4}, []int32{5})
}

func TestEntrants(t *testing.T) {
	c := newContainer()
	c.setsid(c.root)
	late := c.task(c.shell, c.ns, "late", 40, 9)
	c.setsid(late)
	early := c.task(c.shell, c.ns, "early", 41, 8)
	c.setsid(early)
	c.task(early, c.ns, "child", 42, 2)
	c.task(c.root, c.ns, "own", 43, 3)
	f := collect(t, c.snapshot(c.root), forest.Container)
	wantLines(t, f,
		"1 (init) #1 #1 #1 #1 outside outside",
		"3 (own) #2 #2 #1 #1 #1 #1",
		"8 (early) #3 #3 #3 #3 outside outside",
		"2 (child) #4 #4 #3 #3 #3 #3",
		"9 (late) #5 #5 #5 #5 outside outside")
}

// Led from outside, and not the root's own: EBUSY in a container, naming all
// three; 0 in a subtree.
func TestLedFromOutside(t *testing.T) {
	c := newContainer()
	c.setsid(c.root)
	e := c.task(c.shell, c.ns, "ent\x1b[m", 40, 9)
	other := c.task(c.shell, c.init, "other", 66)
	c.setsid(other)
	e.SID, e.PGID = other.Pid, e.Pid
	_, err := Collect(c.snapshot(c.root), forest.Container, Options{})
	var o *OutsideError
	if !errors.As(err, &o) || !errors.Is(err, ErrRefused) {
		t.Fatalf("error: %v", err)
	}
	if o.Kind != "session" || !slices.Equal(o.Leader, []int32{66}) || !o.Alive || o.Task != `9 (ent\x1b[m)` {
		t.Errorf("%+v", o)
	}
	c.adopt(c.root, e)
	f := collect(t, c.snapshot(c.root), forest.Subtree)
	wantLines(t, f,
		"1 (init) #1 #1 #1 #1 outside outside",
		`9 (ent\x1b[m) #2 #2 #2 outside #1 #1`)
}

// With All every one is told, and there is a forest to look at.
func TestAllRefusals(t *testing.T) {
	c := newContainer()
	c.setsid(c.root)
	for n, name := range []string{"a", "b"} {
		c.task(c.shell, c.ns, name, int32(40+n), int32(8+n)) // the shell's session and group
	}
	f, err := Collect(c.snapshot(c.root), forest.Container, Options{All: true})
	var all Refusals
	if !errors.As(err, &all) || !errors.Is(err, ErrRefused) || len(all) != 4 {
		t.Fatalf("error: %v", err)
	}
	wantLines(t, f,
		"1 (init) #1 #1 #1 #1 outside outside",
		"8 (a) #2 #2 outside outside outside outside",
		"9 (b) #3 #3 outside outside outside outside")
	if f, err := Collect(c.snapshot(c.root), forest.Container, Options{}); f != nil || errors.As(err, &all) {
		t.Errorf("without All: %v, %v", f, err)
	}
}

// In a subtree a group or session led beside it, in its own namespace, is
// recorded like a ghost; what is not below the root is not.
func TestSubtree(t *testing.T) {
	c := newContainer()
	c.setsid(c.root)
	sh := c.task(c.root, c.ns, "sh", 30, 10)
	c.setsid(sh)
	root := c.task(sh, c.ns, "root", 31, 11)
	early := c.task(root, c.ns, "early", 32, 12)
	c.task(sh, c.ns, "beside", 33, 13)
	f := collect(t, c.snapshot(root), forest.Subtree)
	wantLines(t, f,
		"11 (root) #1 #1 inherited inherited outside outside",
		"12 (early) #2 #2 inherited inherited #1 #1")
	// The root leaves the session, the child that was born before does not.
	c.setsid(root)
	f = collect(t, c.snapshot(root), forest.Subtree)
	wantLines(t, f,
		"11 (root) #1 #1 #1 #1 outside outside",
		"12 (early) #2 #2 #3 #3 #1 #1")
	wantPids(t, f, []int32{11}, []int32{12}, []int32{10})
	if n := f.Namespaces[0]; n.Cursor != 0 || n.PidMax != 0 {
		t.Errorf("the cursor of a namespace shared with others was recorded: %+v", n)
	}
	// A group that a child of the root leads is of the forest.
	root.SID, root.PGID = sh.Pid, early.Pid
	early.SID, early.PGID = sh.Pid, early.Pid
	f = collect(t, c.snapshot(root), forest.Subtree)
	wantLines(t, f,
		"11 (root) #1 #1 #2 inherited outside outside",
		"12 (early) #2 #2 #2 inherited #1 #1")
}

// A namespace between two of the subtree whose tasks are all outside it.
func TestHole(t *testing.T) {
	c := newContainer()
	sub := c.task(c.root, c.ns, "sub", 30, 10)
	c.setsid(sub)
	mid := c.pidns(c.ns)
	beside := c.task(c.root, mid, "beside", 31, 11, 1)
	in := c.pidns(mid)
	inner := c.task(beside, in, "inner", 32, 12, 2, 1)
	c.adopt(sub, inner)
	f := collect(t, c.snapshot(sub), forest.Subtree)
	wantPids(t, f, []int32{10}, []int32{12, 2, 1})
	if len(f.Namespaces) != 3 || f.Namespaces[1].Level != 1 || f.Namespaces[1].Inode != mid.Inode || f.Namespaces[1].State != forest.Alive {
		t.Errorf("namespaces: %+v", f.Namespaces)
	}
}

func TestTargets(t *testing.T) {
	c := newContainer()
	c.setsid(c.root)
	a := c.task(c.root, c.ns, "a", 30, 5)
	th := c.thread(a, c.ns, "th", 31, 6)
	k := c.task(a, c.ns, "kid", 32, 7)
	for _, tt := range []struct {
		name string
		root *Task
		mode forest.Mode
		edit func(*Snapshot)
		is   error
		text string
	}{
		{"not an init", a, forest.Container, nil, ErrTarget, "number 5"},
		{"a thread", th, forest.Subtree, nil, ErrTarget, "thread"},
		{"itself", c.root, forest.Container, func(s *Snapshot) { s.Self = k.ID }, ErrTarget, "7 (kid)"},
		{"gone", c.root, forest.Container, func(s *Snapshot) { s.Root = 1 }, ErrChanged, "gone"},
		{"kernel thread", c.root, forest.Container, func(s *Snapshot) {
			for i := range s.Tasks {
				if s.Tasks[i].ID == k.ID {
					s.Tasks[i].TaskFlags |= pfKthread
				}
			}
		}, ErrRefused, "7 (kid)"},
	} {
		s := c.snapshot(tt.root)
		if tt.edit != nil {
			tt.edit(s)
		}
		_, err := Collect(s, tt.mode, Options{})
		if !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
