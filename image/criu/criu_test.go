// SPDX-License-Identifier: Apache-2.0

package criu

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/checkpoint-restore/go-criu/v8/magic"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/forest/foresttest"
)

// TestMagics: they are those that go-criu knows.
func TestMagics(t *testing.T) {
	known := magic.LoadMagic().ByName
	for name, is := range map[string]uint32{
		"INVENTORY": inventoryKind.magic, "PSTREE": pstreeKind.magic, "CORE": coreKind.magic,
		"IDS": idsKind.magic, "USERNS": usernsKind.magic, "IMG_COMMON": commonMagic,
	} {
		if want := known[name]; want != uint64(is) {
			t.Errorf("%s is %#x here and %#x there", name, is, want)
		}
	}
}

// said is f as CRIU can say it, told by its definition alone: what a tree of
// CRIU has no words for is as Read makes it. nil: f has what CRIU does not dump.
func said(f *forest.Forest) *forest.Forest {
	g := *f
	g.Tasks = slices.Clone(f.Tasks)
	g.Namespaces = slices.Clone(f.Namespaces)
	g.UserNamespaces = slices.Clone(f.UserNamespaces)
	g.References, g.Origins, g.Departed, g.Inexact = nil, nil, nil, nil
	g.Cut, g.Producer = forest.Cut{Method: forest.Frozen}, forest.Producer{Tool: "CRIU"}
	switch f.Producer.Machine {
	case "x86_64", "aarch64":
		g.Producer.Machine = f.Producer.Machine
	}
	if len(f.Namespaces) > 1 || f.Root().State == forest.Zombie {
		return nil
	}
	users := f.Root().UserNamespace
	used := map[forest.Tag]bool{}
	leaders := map[forest.Tag]int{}
	highest := int32(0)
	for i := range g.Tasks {
		t := &g.Tasks[i]
		if i > 0 && t.Parent == forest.Outside && t.IsLeader() || t.UserNamespace != users || t.State > forest.Stopped && t.State != forest.Zombie {
			return nil
		}
		if t.IsLeader() {
			leaders[t.TGID] = i
		} else { // threads stop together, by one signal
			l := &g.Tasks[leaders[t.TGID]]
			t.State, t.StopSignal = l.State, l.StopSignal
		}
		used[t.Pid], used[t.PGID], used[t.SID] = true, true, true
		t.StartTime, t.StopReported, t.ParentThread = 0, false, t.Parent
		if t.IsLeader() {
			t.ExitSignal = forest.SIGCHLD
		}
		if t.State == forest.Zombie {
			t.ExitCode, t.GroupExitCode, t.GroupExit = t.WaitStatus(), t.WaitStatus(), true
			t.UID, t.EUID, t.GID, t.EGID, t.PdeathSignal, t.Subreaper = 0, 0, 0, 0, 0, false
		} else {
			t.ExitCode, t.GroupExitCode, t.GroupExit = 0, 0, false
		}
	}
	if users != 0 {
		return nil // by examples
	}
	for i := range f.Pids {
		if !used[forest.Tag(i+1)] {
			return nil
		}
		highest = max(highest, f.Pids[i].Numbers[0])
	}
	g.ExitIDs = nil // of a zombie CRIU tells no ids
	g.Namespaces[0] = forest.Namespace{Parent: -1}
	if f.Mode == forest.Container {
		g.Namespaces[0].Cursor = uint32(highest) + 1
	}
	g.UserNamespaces = []forest.UserNamespace{{Parent: -1, Setgroups: true}}
	return &g
}

func read(t interface{ Fatalf(string, ...any) }, files []File) *forest.Forest {
	m := fstest.MapFS{}
	for _, f := range files {
		m[f.Name] = &fstest.MapFile{Data: f.Data}
	}
	f, err := Read(m)
	if err != nil {
		t.Fatalf("what was written is refused: %v", err)
	}
	return f
}

// ordered puts the children of later threads where CRIU has them: with those of
// the leader, who come before all threads. Everything else is in the order of f.
func ordered(f *forest.Forest) *forest.Forest {
	g := *f
	g.Tasks = nil
	var add func(i int)
	add = func(i int) {
		g.Tasks = append(g.Tasks, f.Tasks[i])
		for j := range f.Tasks {
			if t := &f.Tasks[j]; j != i && t.IsLeader() && t.Parent == f.Tasks[i].TGID {
				add(j)
			}
		}
		for j := range f.Tasks {
			if t := &f.Tasks[j]; !t.IsLeader() && t.TGID == f.Tasks[i].TGID {
				g.Tasks = append(g.Tasks, *t)
			}
		}
	}
	add(0)
	// Tags by first appearance in that order.
	tags := map[forest.Tag]forest.Tag{}
	g.Pids = nil
	tag := func(t *forest.Tag) {
		if !t.IsPid() {
			return
		}
		if tags[*t] == 0 {
			g.Pids = append(g.Pids, f.Pids[*t-1])
			tags[*t] = forest.Tag(len(g.Pids))
		}
		*t = tags[*t]
	}
	for i := range g.Tasks {
		t := &g.Tasks[i]
		tag(&t.Pid)
		tag(&t.TGID)
		tag(&t.PGID)
		tag(&t.SID)
	}
	for i := range g.Tasks {
		tag(&g.Tasks[i].Parent)
		tag(&g.Tasks[i].ParentThread)
	}
	return &g
}

// TestRoundTrip: of any forest that CRIU has words for, whether a word is lost is
// known, what is read is what it says, and once said it goes round without loss,
// to the same bytes.
func TestRoundTrip(t *testing.T) {
	exact, inexact, refused := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		f := foresttest.Random(t)
		files, lost, err := Write(f)
		if f.Root().State == forest.Zombie {
			if !errors.Is(err, ErrRoot) {
				t.Fatalf("the root is a zombie: %v", err)
			}
			return
		}
		if err != nil {
			t.Fatalf("%v", err)
		}
		if len(f.ExitIDs) > 0 && len(lost) == 0 {
			t.Fatalf("nothing is lost of ids that CRIU does not tell")
		}
		g := read(t, files)
		want := said(f)
		if want == nil {
			refused++
			if len(lost) == 0 {
				t.Fatalf("nothing is lost of what CRIU cannot dump")
			}
		} else {
			want = ordered(want)
			if d := cmp.Diff(want, g); d != "" {
				t.Fatalf("read otherwise than CRIU says it (-said +read):\n%s", d)
			}
			_, again, err := Write(want)
			if err != nil || len(again) > 0 {
				t.Fatalf("lost of what CRIU says: %q, %v", again, err)
			}
			exact++
		}
		if len(lost) > 0 {
			inexact++
		}
		// Whatever was read goes round.
		twice, lost, err := Write(g)
		if err != nil || len(lost) > 0 {
			t.Fatalf("lost of what was read: %q, %v", lost, err)
		}
		if d := cmp.Diff(g, read(t, twice)); d != "" {
			t.Fatalf("not the same after another round:\n%s", d)
		}
		if g.Mode != f.Mode {
			t.Fatalf("mode %v became %v", f.Mode, g.Mode)
		}
	})
	t.Logf("%d that CRIU can say, %d with something lost, %d that CRIU does not dump", exact, inexact, refused)
	if exact == 0 || inexact == 0 || refused == 0 {
		t.Error("the forests are not varied enough")
	}
}

// TestLosses: each thing that CRIU has no word for is in the list, and alone.
func TestLosses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*forest.Forest)
		want   []string
	}{
		"nothing":    {func(f *forest.Forest) {}, nil},
		"start time": {func(f *forest.Forest) { f.Tasks[1].StartTime = 7 }, nil},
		"inode":      {func(f *forest.Forest) { f.Namespaces[0].Inode = 7 }, nil},
		"pid_max of a new one": {func(f *forest.Forest) {
			f.Namespaces[0].PidMax = 4194304
		}, nil},
		"pid_max":      {func(f *forest.Forest) { f.Namespaces[0].PidMax = 1000 }, []string{"pid_max of 1000 is not told"}},
		"cursor":       {func(f *forest.Forest) { f.Namespaces[0].Cursor = 9 }, []string{"id cursor is 3, was 9"}},
		"exit signal":  {func(f *forest.Forest) { f.Tasks[1].ExitSignal = 10 }, []string{"task 2 (sh): exit signal is 17, was 10"}},
		"death signal": {func(f *forest.Forest) { f.Tasks[1].PdeathSignal = 10 }, nil},
		"subreaper":    {func(f *forest.Forest) { f.Tasks[1].Subreaper = true }, nil},
		"ids":          {func(f *forest.Forest) { f.Tasks[1].UID, f.Tasks[1].EGID = 1000, 1<<32-2 }, nil},
		"name":         {func(f *forest.Forest) { f.Tasks[1].Comm = "\xff\n\"" }, nil},
		"inherited": {func(f *forest.Forest) {
			f.Tasks[0].SID, f.Tasks[0].PGID = forest.Inherited, forest.Inherited
			f.Tasks[1].SID, f.Tasks[1].PGID = forest.Inherited, forest.Inherited
		}, nil},
		"traced":  {func(f *forest.Forest) { f.Tasks[1].State = forest.Traced }, []string{"is running, was traced"}},
		"stopped": {func(f *forest.Forest) { f.Tasks[1].State, f.Tasks[1].StopSignal = forest.Stopped, 20 }, nil},
		"reported": {func(f *forest.Forest) {
			t := &f.Tasks[1]
			t.State, t.StopSignal, t.StopReported = forest.Stopped, 20, true
		}, []string{"stop was reported to its parent: false, was true"}},
		"zombie":        {func(f *forest.Forest) { f.Tasks[1].State, f.Tasks[1].ExitCode = forest.Zombie, 0x8b }, nil},
		"zombie's ids":  {func(f *forest.Forest) { f.Tasks[1].State, f.Tasks[1].UID = forest.Zombie, 5 }, []string{"uid is 0, was 5"}},
		"inexact":       {func(f *forest.Forest) { f.Inexact = []string{"traced"} }, []string{"traced"}},
		"unused number": {func(f *forest.Forest) { f.Pids = append(f.Pids, forest.Pid{Numbers: []int32{9}}) }, []string{"ghost 9: is missing"}},
		"reference": {func(f *forest.Forest) {
			f.References = []forest.Reference{{Object: 1, Kind: forest.PIDFD, Holder: 2, FD: 3}}
		}, []string{"1 references"}},
		"namespace below": {func(f *forest.Forest) {
			f.Namespaces = append(f.Namespaces, forest.Namespace{Parent: 0, Level: 1, State: forest.Empty})
			f.Tasks[1].ChildNamespace = 1
		}, []string{"is missing", "children are born in its own"}},
		"history": {func(f *forest.Forest) {
			f.Origins = []forest.Origin{forest.Unknown(), {By: 1, Departed: forest.None, Session: 1, Group: 1}}
		}, []string{"where its processes were born"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := foresttest.Small()
			c.change(f)
			files, lost, err := Write(f)
			if err != nil {
				t.Fatal(err)
			}
			read(t, files)
			ok := len(lost) == len(c.want)
			for i := 0; ok && i < len(lost); i++ {
				ok = strings.Contains(lost[i], c.want[i])
			}
			if !ok {
				t.Errorf("lost: %q\nwant: %q", lost, c.want)
			}
		})
	}
}

// TestUserNamespace: the ids in the images are those inside.
func TestUserNamespace(t *testing.T) {
	f := foresttest.Small()
	f.UserNamespaces = append(f.UserNamespaces, forest.UserNamespace{
		Setgroups: true,
		UIDMap:    []forest.Extent{{First: 0, Parent: 1000, Count: 1}, {First: 1, Parent: 100000, Count: 65536}},
		GIDMap:    []forest.Extent{{First: 0, Parent: 1001, Count: 1}},
	})
	f.Namespaces[0].Owner = 1
	for i := range f.Tasks {
		t := &f.Tasks[i]
		t.UserNamespace, t.UID, t.EUID, t.GID, t.EGID = 1, 1000, 100004, 1001, 1001
	}
	files, lost, err := Write(f)
	if err != nil || len(lost) > 0 {
		t.Fatal(lost, err)
	}
	g := read(t, files)
	if d := forest.Diff(f, g, forest.DiffOptions{LiveIDs: true}); len(d) > 0 {
		t.Error(d)
	}
	s := newSet(".")
	for _, file := range files {
		if err := s.take(file.Name, strings.NewReader(string(file.Data))); err != nil {
			t.Fatal(err)
		}
	}
	if c := s.cores[2].thread; c.uid != 0 || c.euid != 5 || c.gid != 0 || c.egid != 0 {
		t.Errorf("inside they are %+v", *c)
	}
	for name, change := range map[string]func(){
		"an id without a line": func() { f.Tasks[1].UID = 7 },
		"two of them":          func() { f.Tasks[1].UserNamespace = 0 },
		"setgroups":            func() { f.UserNamespaces[1].Setgroups = false },
		"owner":                func() { f.UserNamespaces[1].OwnerUID = 1000 },
	} {
		keep, users := f.Tasks[1], f.UserNamespaces[1]
		change()
		if _, lost, err := Write(f); err != nil || len(lost) == 0 {
			t.Errorf("%s: lost %q, %v", name, lost, err)
		}
		f.Tasks[1], f.UserNamespaces[1] = keep, users
	}
}
