// SPDX-License-Identifier: Apache-2.0

package foresttest_test

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/forest/foresttest"
)

// TestRandomVariety keeps the generator honest: every kind of thing that it is
// meant to make must turn up among a few thousand forests.
func TestRandomVariety(t *testing.T) {
	gen := rapid.Custom(foresttest.Random)
	n := map[string]int{}
	for seed := range 3000 {
		f := gen.Example(seed)
		for kind, there := range kinds(f) {
			if there {
				n[kind]++
			} else {
				n[kind] += 0
			}
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(n)) {
		t.Logf("%5d %s", n[kind], kind)
		if n[kind] == 0 {
			t.Errorf("no forest with %s", kind)
		}
	}
}

func kinds(f *forest.Forest) map[string]bool {
	k := map[string]bool{
		"container": false, "subtree": false, "ghost group": false, "ghost session": false,
		"group deeper than its user": false, "group cycle": false, "inherited group, own session of none": false,
		"outside group": false, "outside session": false, "entrant": false, "threads": false,
		"subreaper": false, "child of a later thread": false, "init zombie": false, "stopped init": false,
		"thread that exits as init": false, "level 32": false, "user namespace below one": false,
		"orphan group": false, "exit signal": false, "namespace of children": false, "thread exit status": false,
		"core bit": false, "root zombie": false, "root leads": false, "ghost init": false, "hole": false,
		"leader moved to another group": false,
	}
	for i := range 6 {
		k["state "+forest.State(i).String()] = false
	}
	delete(k, "state traced") // only a tracer makes it
	delete(k, "orphan group")
	for i := range 5 {
		k["namespace "+forest.NamespaceState(i).String()] = false
	}
	k[f.Mode.String()] = true
	x := forest.NewIndex(f)
	for _, n := range f.Namespaces {
		k["namespace "+n.State.String()] = true
		k["level 32"] = k["level 32"] || n.Level == 32
	}
	for i, u := range f.UserNamespaces {
		k["user namespace below one"] = k["user namespace below one"] || i > 0 && u.Parent > 0
	}
	for _, g := range x.Ghosts() {
		k["ghost group"] = k["ghost group"] || len(x.Group(g)) > 0
		k["ghost session"] = k["ghost session"] || len(x.Session(g)) > 0
		k["ghost init"] = k["ghost init"] || f.Pid(g).Number() == 1
	}
	lives := make([]bool, len(f.Namespaces))
	for i := range f.Tasks {
		t := &f.Tasks[i]
		p := f.Pid(t.Pid)
		lives[p.Namespace] = true
		init := p.Number() == 1
		set := func(kind string, there bool) { k[kind] = k[kind] || there }
		set("state "+t.State.String(), t.State != forest.Traced)
		set("threads", !t.IsLeader())
		set("subreaper", t.Subreaper)
		set("init zombie", init && t.State == forest.Zombie)
		set("root zombie", i == 0 && t.State == forest.Zombie)
		set("root leads", i == 0 && t.SID == t.Pid)
		set("stopped init", init && t.State == forest.Stopped)
		set("thread that exits as init", !t.IsLeader() && t.State == forest.ExitingInit)
		set("entrant", i > 0 && t.IsLeader() && t.Parent == forest.Outside)
		set("child of a later thread", t.IsLeader() && t.Parent != t.ParentThread)
		set("outside group", t.PGID == forest.Outside)
		set("outside session", t.SID == forest.Outside)
		set("inherited group, own session of none", t.PGID == forest.Inherited && t.SID == forest.Inherited && i > 0)
		set("exit signal", t.IsLeader() && t.ExitSignal != forest.SIGCHLD)
		set("namespace of children", t.ChildNamespace != forest.SameNamespace)
		set("thread exit status", t.State == forest.Zombie && !t.GroupExit)
		set("core bit", t.State == forest.Zombie && t.WaitStatus()&0x80 != 0)
		if t.IsLeader() && t.PGID.IsPid() {
			set("group deeper than its user", f.Pid(t.PGID).Depth() > p.Depth())
			if g := x.TaskOf(t.PGID); g != forest.None && g != i {
				set("leader moved to another group", f.Tasks[g].PGID != t.PGID)
				set("group cycle", f.Tasks[g].PGID == t.Pid)
			}
		}
	}
	for ns, n := range f.Namespaces {
		k["hole"] = k["hole"] || !lives[ns] && n.State == forest.Alive
	}
	return k
}

func TestSamplesAreValid(t *testing.T) {
	for name, f := range map[string]*forest.Forest{
		"sample": foresttest.Sample(), "small": foresttest.Small(),
		"below root": foresttest.BelowRoot(), "wide": foresttest.Wide(10_000),
	} {
		if err := forest.Validate(f); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
