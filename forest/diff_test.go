// SPDX-License-Identifier: Apache-2.0

package forest_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/forest/foresttest"
)

// relabel is the same forest with other tags, other indices of namespaces, and
// all that Diff must overlook changed.
func relabel(f *forest.Forest, seed uint64) *forest.Forest {
	r := rand.New(rand.NewPCG(seed, 1))
	g := *f
	tags := order(r, len(f.Pids), func(int) int { return -1 }, 1)
	spaces := order(r, len(f.Namespaces), func(i int) int { return f.Namespaces[i].Parent }, 1)
	users := order(r, len(f.UserNamespaces), func(i int) int { return f.UserNamespaces[i].Parent }, 1)
	tag := func(t forest.Tag) forest.Tag {
		if t.IsPid() {
			return forest.Tag(tags[t-1] + 1)
		}
		return t
	}
	g.Pids = make([]forest.Pid, len(f.Pids))
	for i, p := range f.Pids {
		p.Namespace = spaces[p.Namespace]
		g.Pids[tags[i]] = p
	}
	g.Namespaces = make([]forest.Namespace, len(f.Namespaces))
	for i, n := range f.Namespaces {
		if n.Parent >= 0 {
			n.Parent = spaces[n.Parent]
		}
		n.Owner = users[n.Owner]
		n.Inode += 100
		g.Namespaces[spaces[i]] = n
	}
	g.UserNamespaces = make([]forest.UserNamespace, len(f.UserNamespaces))
	for i, u := range f.UserNamespaces {
		if u.Parent >= 0 {
			u.Parent = users[u.Parent]
		}
		u.Inode += 100
		g.UserNamespaces[users[i]] = u
	}
	g.Tasks = slices.Clone(f.Tasks)
	for i := range g.Tasks {
		t := &g.Tasks[i]
		t.Pid, t.TGID, t.PGID, t.SID = tag(t.Pid), tag(t.TGID), tag(t.PGID), tag(t.SID)
		t.Parent, t.ParentThread = tag(t.Parent), tag(t.ParentThread)
		t.UserNamespace = users[t.UserNamespace]
		if t.ChildNamespace >= 0 {
			t.ChildNamespace = spaces[t.ChildNamespace]
		}
		t.StartTime += 5
		switch {
		case !t.State.Exited():
			t.UID, t.EGID = t.UID/2+1, t.EGID/2+1
		case t.GroupExit: // wait does not show the task's own
			t.ExitCode = 9
		}
	}
	g.ExitIDs = slices.Clone(f.ExitIDs)
	for i := range g.ExitIDs {
		g.ExitIDs[i].Task = tag(g.ExitIDs[i].Task)
	}
	forest.SortExitIDs(g.ExitIDs)
	g.References = nil               // who looks on is not compared
	g.Origins, g.Departed = nil, nil // nor who bore whom
	g.Producer = forest.Producer{Release: "other"}
	g.Cut = forest.Cut{Method: 1 - f.Cut.Method, Walked: !f.Cut.Walked}
	g.Inexact = append(slices.Clone(f.Inexact), "more")
	return &g
}

// order gives 0..n-1 new places: the first fixed ones stay, parents first.
func order(r *rand.Rand, n int, parent func(int) int, fixed int) []int {
	to := make([]int, n)
	placed := make([]bool, n)
	for i := range fixed {
		placed[i] = true
	}
	for next := fixed; next < n; next++ {
		var ready []int
		for i := range n {
			if p := parent(i); !placed[i] && (p < 0 || placed[p]) {
				ready = append(ready, i)
			}
		}
		i := ready[r.IntN(len(ready))]
		placed[i], to[i] = true, next
	}
	return to
}

// TestDiffOverlooks: a forest is the same as itself under other tags and
// indices, at another time, on another machine.
func TestDiffOverlooks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := foresttest.Random(t)
		if d := forest.Diff(f, f, forest.DiffOptions{LiveIDs: true}); len(d) > 0 {
			t.Fatalf("to itself: %v", d)
		}
		g := relabel(f, rapid.Uint64().Draw(t, "seed"))
		if err := forest.Validate(g); err != nil {
			t.Fatalf("relabelled: %v", err)
		}
		if d := forest.Diff(f, g, forest.DiffOptions{}); len(d) > 0 {
			t.Fatalf("relabelled: %v", d)
		}
	})
}

// TestDiffSees: two forests that differ are told apart, and each the other way
// round as well.
func TestDiffSees(t *testing.T) {
	gen := rapid.Custom(foresttest.Random)
	same := 0
	for seed := range 300 {
		f, g := gen.Example(seed), gen.Example(seed+1)
		d, e := forest.Diff(f, g, forest.DiffOptions{}), forest.Diff(g, f, forest.DiffOptions{})
		if len(d) == 0 || len(e) == 0 {
			same++
		}
		if (len(d) == 0) != (len(e) == 0) {
			t.Errorf("seed %d: %v one way, %v the other", seed, d, e)
		}
	}
	if same > 30 {
		t.Errorf("%d of 300 pairs are called the same", same)
	}
}

// TestDiffWords changes one thing and expects one line.
func TestDiffWords(t *testing.T) {
	type F = *forest.Forest
	for name, c := range map[string]struct {
		change func(F)
		want   []string
	}{
		"group":                 {func(f F) { f.Tasks[2].PGID = 2 }, []string{"task 9 (cat): group is 7, was 6"}},
		"session":               {func(f F) { f.Tasks[9].SID, f.Tasks[9].PGID = 12, 12 }, []string{"task 10 (daemon): group is 10, was 5", "task 10 (daemon): session is 10, was 5"}},
		"inherited":             {func(f F) { f.Tasks[13].SID, f.Tasks[13].PGID = 17, forest.Inherited }, []string{"task 17/2 (nsenter): session is 17/2, was inherited"}},
		"parent":                {func(f F) { f.Tasks[9].Parent, f.Tasks[9].ParentThread = 2, 2 }, []string{"task 10 (daemon): parent is 7, was 1"}},
		"thread":                {func(f F) { f.Tasks[8].ParentThread = 2 }, []string{"task 20 (crash): parent thread is 7, was 8"}},
		"siblings":              {func(f F) { f.Tasks[2], f.Tasks[3] = f.Tasks[3], f.Tasks[2] }, []string{"task 7 (sh): children are in order 19 9 11/1, was 9 19 11/1"}},
		"number":                {func(f F) { f.Pids[6].Numbers[0] = 12345 }, []string{"task 11/1 (bwrap): is missing", "task 12345/1 (bwrap): was not there", "task 12/2/1 (sandbox): parent is 12345/1, was 11/1", "task 13/3 (true): parent is 12345/1, was 11/1"}},
		"nested":                {func(f F) { f.Pids[8].Numbers[1] = 77 }, []string{"task 13/3 (true): numbers are 13/77, was 13/3"}},
		"namespace":             {func(f F) { f.Pids[16].Namespace, f.Pids[16].Numbers[1] = 1, 2 }, []string{"task 17/2 (nsenter): lives in the namespace of init 11/1, was in the namespace of init 16/1"}},
		"state":                 {func(f F) { f.Tasks[3].State, f.Tasks[3].StopSignal, f.Tasks[3].StopReported = forest.Running, 0, false }, []string{`task 19 (vi \xff\"\n): is running, was stopped`}},
		"stop":                  {func(f F) { f.Tasks[3].StopSignal, f.Tasks[3].StopReported = 19, false }, []string{`task 19 (vi \xff\"\n): stop signal is 19, was 20`, `task 19 (vi \xff\"\n): stop was reported to its parent: false, was true`}},
		"status":                {func(f F) { f.Tasks[6].GroupExitCode = 4 << 8 }, []string{"task 13/3 (true): ended by exit code 4, was exit code 3"}},
		"core":                  {func(f F) { f.Tasks[8].ExitCode = 11 }, []string{"task 20 (crash): ended by signal 11, was signal 11 (core dumped)"}},
		"zombie's id":           {func(f F) { f.Tasks[6].UID = 0 }, []string{"task 13/3 (true): uid is 0, was 1000"}},
		"zombie's saved id":     {func(f F) { f.ExitIDs = foresttest.Saved().ExitIDs[:1] }, []string{"task 13/3 (true): saved uid is 0, was 1000"}},
		"live id":               {func(f F) { f.Tasks[1].EGID = 0 }, []string{"task 7 (sh): effective gid is 0, was 1003"}},
		"signals":               {func(f F) { f.Tasks[2].ExitSignal, f.Tasks[2].PdeathSignal = 17, 9 }, []string{"task 9 (cat): exit signal is 17, was 10", "task 9 (cat): parent-death signal is 9, was 0"}},
		"subreaper":             {func(f F) { f.Tasks[0].Subreaper = false }, []string{"task 1 (init): subreaper is false, was true"}},
		"name":                  {func(f F) { f.Tasks[2].Comm = "\x1b[2J" }, []string{`task 9 (cat): name is \x1b[2J, was cat`}},
		"children in":           {func(f F) { f.Tasks[9].ChildNamespace = forest.SameNamespace }, []string{"task 10 (daemon): children are born in its own namespace, was in a namespace (empty) at level 1 without an init", "a namespace (empty) at level 1 without an init: is missing", "a namespace (empty) at level 1 without an init: was not there"}},
		"cursor":                {func(f F) { f.Namespaces[1].Cursor = 9 }, []string{"the namespace of init 11/1: id cursor is 9, was 4"}},
		"pid_max":               {func(f F) { f.Namespaces[0].PidMax = 400 }, []string{"the root namespace: pid_max is 400, was 4194304"}},
		"no pid_max of its own": {func(f F) { f.Namespaces[0].PidMax = 0 }, nil},
		"owner":                 {func(f F) { f.Namespaces[3].Owner = 1 }, []string{"the namespace of init 16/1: owner is user namespace 1, was the initial user namespace"}},
		"user":                  {func(f F) { f.Tasks[5].UserNamespace = 1 }, []string{"task 12/2/1 (sandbox): is in user namespace 1, was in user namespace 2"}},
		"map":                   {func(f F) { f.UserNamespaces[1].UIDMap = f.UserNamespaces[1].UIDMap[:1] }, []string{"user namespace 1: uid map is 0 1000 1, was 0 1000 1, 1 100000 65536"}},
		"no map":                {func(f F) { f.UserNamespaces[1].GIDMap = nil }, []string{"user namespace 1: gid map is not written, was 0 1001 1"}},
		"setgroups":             {func(f F) { f.UserNamespaces[1].Setgroups = true }, []string{"user namespace 1: setgroups is allowed: true, was false"}},
		"user owner":            {func(f F) { f.UserNamespaces[2].OwnerUID = 0 }, []string{"user namespace 2: owner is 0:1001, was 1000:1001"}},
		"ghost gone":            {func(f F) { f.Tasks[2].PGID, f.Pids[3].Numbers[0] = 2, 555 }, []string{"task 9 (cat): group is 7, was 6", "ghost 6: is missing", "ghost 555: was not there"}},
		"last task":             {func(f F) { f.Tasks = f.Tasks[:13]; f.Pids = f.Pids[:16]; f.Namespaces[3].Cursor = 3 }, []string{"task 17/2 (nsenter): is missing"}},
		"mode":                  {func(f F) { f.Mode = forest.Subtree }, []string{"the forest: taken as a subtree, was a container"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := foresttest.Sample()
			c.change(f)
			var got []string
			for _, d := range forest.Diff(foresttest.Sample(), f, forest.DiffOptions{LiveIDs: true}) {
				got = append(got, d.String())
			}
			slices.Sort(got)
			slices.Sort(c.want)
			if !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestDiffLeavesLiveIDs(t *testing.T) {
	f := foresttest.Sample()
	f.Tasks[1].UID, f.Tasks[1].EUID, f.Tasks[1].GID, f.Tasks[1].EGID = 9, 9, 9, 9
	if d := forest.Diff(foresttest.Sample(), f, forest.DiffOptions{}); len(d) > 0 {
		t.Errorf("got %v", d)
	}
}

func TestDiffTaskAndGhost(t *testing.T) {
	a, b := foresttest.Sample(), foresttest.Sample()
	// The daemon's session is led by a ghost in a, and by a task in b.
	b.Tasks = append(b.Tasks[:9:9], append([]forest.Task{{
		Pid: 13, TGID: 13, PGID: 13, SID: 13, Parent: 1, ParentThread: 1, ExitSignal: 17, ChildNamespace: -1, Comm: "back",
	}}, b.Tasks[9:]...)...)
	if err := forest.Validate(b); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		was, is *forest.Forest
		want    string
	}{
		{a, b, "ghost 5: is task 5 (back), was a ghost"},
		{b, a, "task 5 (back): is a ghost, was a task"},
	} {
		d := forest.Diff(c.was, c.is, forest.DiffOptions{})
		if len(d) != 1 || d[0].String() != c.want {
			t.Errorf("got %v, want %q", d, c.want)
		}
	}
}

func BenchmarkDiff(b *testing.B) {
	f, g := foresttest.Wide(100_000), foresttest.Wide(100_000)
	for b.Loop() {
		if d := forest.Diff(f, g, forest.DiffOptions{}); len(d) > 0 {
			b.Fatal(d)
		}
	}
}

func BenchmarkIndex(b *testing.B) {
	f := foresttest.Wide(100_000)
	b.ReportAllocs()
	for b.Loop() {
		forest.NewIndex(f)
	}
}
