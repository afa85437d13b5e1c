// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"slices"

	"github.com/pidgraft/pidgraft/forest"
)

// Kinds of states that a forest may have: what a planner must be able to bring
// about. Each looks at one task, one namespace or one pid object.

var taskKinds = []struct {
	name string
	is   func(*census, *forest.Task) bool
}{
	{"threads", func(_ *census, t *forest.Task) bool { return !t.IsLeader() }},
	{"children of threads that do not lead", func(_ *census, t *forest.Task) bool { return t.Parent > 0 && t.ParentThread != t.Parent }},
	{"dead leaders", func(_ *census, t *forest.Task) bool { return t.State == forest.DeadLeader }},
	{"zombies that exited", func(_ *census, t *forest.Task) bool { return t.State == forest.Zombie && t.WaitStatus()&0x7f == 0 }},
	{"zombies of signals", func(_ *census, t *forest.Task) bool { return t.State == forest.Zombie && t.WaitStatus()&0x7f != 0 }},
	{"zombies that lead a session", func(_ *census, t *forest.Task) bool { return t.State == forest.Zombie && t.SID == t.Pid }},
	{"zombie inits", func(c *census, t *forest.Task) bool { return t.State == forest.Zombie && c.isInit(t) }},
	{"zombies with ids other than root's", func(_ *census, t *forest.Task) bool { return t.State.Exited() && t.UID+t.EUID > 0 }},
	{"zombies whose saved or file-system ids are others", func(c *census, t *forest.Task) bool {
		return slices.ContainsFunc(c.f.ExitIDs, func(x forest.ExitIDs) bool { return x.Task == t.Pid })
	}},
	{"inits that wait for their namespace", func(_ *census, t *forest.Task) bool { return t.State == forest.ExitingInit }},
	{"stops that were reported", func(_ *census, t *forest.Task) bool { return t.State == forest.Stopped && t.StopReported }},
	{"stops that were not reported", func(_ *census, t *forest.Task) bool { return t.State == forest.Stopped && !t.StopReported }},
	{"stops by SIGTSTP, TTIN or TTOU", func(_ *census, t *forest.Task) bool { return t.State == forest.Stopped && t.StopSignal > 19 }},
	{"subreapers", func(_ *census, t *forest.Task) bool { return t.Subreaper }},
	{"subreapers below subreapers", func(c *census, t *forest.Task) bool {
		return t.Subreaper && c.below(t, func(p *forest.Task) bool { return p.Subreaper })
	}},
	{"exit signal 0", func(_ *census, t *forest.Task) bool { return t.IsLeader() && t.ExitSignal == 0 }},
	{"exit signals other than SIGCHLD", func(_ *census, t *forest.Task) bool { return t.ExitSignal > 0 && t.ExitSignal != forest.SIGCHLD }},
	{"parent-death signals", func(_ *census, t *forest.Task) bool { return t.PdeathSignal != 0 }},
	{"sessions founded", func(_ *census, t *forest.Task) bool { return t.IsLeader() && t.SID == t.Pid }},
	{"sessions that the root inherited", func(_ *census, t *forest.Task) bool { return t.SID == forest.Inherited }},
	{"groups that the root inherited", func(_ *census, t *forest.Task) bool { return t.PGID == forest.Inherited }},
	{"children in a session of their grandparents", func(c *census, t *forest.Task) bool {
		p := c.parent(t)
		return p != nil && t.SID != p.SID && t.SID != t.TGID
	}},
	{"ghost sessions", func(c *census, t *forest.Task) bool { return c.ghost(t.SID) }},
	{"ghost groups", func(c *census, t *forest.Task) bool { return c.ghost(t.PGID) && t.PGID != t.SID }},
	{"group leaders that moved to another group", func(c *census, t *forest.Task) bool { return t.IsLeader() && t.PGID != t.Pid && c.members[t.Pid] > 0 }},
	{"groups led from deeper", func(c *census, t *forest.Task) bool {
		return c.led(t.PGID) && c.f.Pid(t.PGID).Depth() > c.f.Pid(t.Pid).Depth()
	}},
	{"groups led from further out", func(c *census, t *forest.Task) bool {
		return c.led(t.PGID) && c.f.Pid(t.PGID).Depth() < c.f.Pid(t.Pid).Depth()
	}},
	{"sessions led from further out", func(c *census, t *forest.Task) bool {
		return c.led(t.SID) && c.f.Pid(t.SID).Depth() < c.f.Pid(t.Pid).Depth()
	}},
	{"entrants from outside", func(c *census, t *forest.Task) bool {
		return c.f.Mode == forest.Container && t.Parent <= 0 && t.TGID != c.f.Root().TGID
	}},
	{"entrants of a namespace further in", func(c *census, t *forest.Task) bool {
		p := c.parent(t)
		return p != nil && c.ns(p) != c.ns(t) && !c.isInit(t)
	}},
	{"another namespace for children", func(_ *census, t *forest.Task) bool { return t.ChildNamespace != forest.SameNamespace }},
	{"user namespaces", func(_ *census, t *forest.Task) bool { return t.UserNamespace > 0 }},
	{"user namespaces in user namespaces", func(c *census, t *forest.Task) bool { return c.f.UserNamespaces[t.UserNamespace].Parent > 0 }},
	{"user namespaces without maps", func(c *census, t *forest.Task) bool {
		return t.UserNamespace > 0 && len(c.f.UserNamespaces[t.UserNamespace].UIDMap) == 0
	}},
	{"ids other than root's", func(_ *census, t *forest.Task) bool { return !t.State.Exited() && t.UID+t.GID > 0 }},
	{"real and effective ids that differ", func(_ *census, t *forest.Task) bool { return t.UID != t.EUID }},
	{"tasks in another user namespace than the owner of their pid namespace", func(c *census, t *forest.Task) bool {
		return t.UserNamespace != c.f.Namespaces[c.ns(t)].Owner
	}},
}

var namespaceKinds = []struct {
	name string
	is   func(*census, int, *forest.Namespace) bool
}{
	{"namespaces one level down", func(_ *census, _ int, n *forest.Namespace) bool { return n.Level == 1 }},
	{"namespaces two levels down", func(_ *census, _ int, n *forest.Namespace) bool { return n.Level == 2 }},
	{"namespaces three levels down", func(_ *census, _ int, n *forest.Namespace) bool { return n.Level == 3 }},
	{"empty namespaces", func(_ *census, _ int, n *forest.Namespace) bool { return n.State == forest.Empty }},
	{"dead namespaces", func(_ *census, _ int, n *forest.Namespace) bool { return n.State == forest.Dead }},
	{"spoilt namespaces", func(_ *census, _ int, n *forest.Namespace) bool { return n.State == forest.Spoilt }},
	{"namespaces that a nested user namespace owns", func(_ *census, _ int, n *forest.Namespace) bool { return n.Owner > 0 }},
	{"namespaces without a task of their own (holes)", func(c *census, i int, n *forest.Namespace) bool {
		return n.State == forest.Alive && c.tasksIn[i] == 0 && c.f.Mode == forest.Subtree
	}},
	{"a pid_max of their own", func(_ *census, _ int, n *forest.Namespace) bool { return n.PidMax != 0 && n.PidMax != 4194304 }},
	{"a cursor that was set or wrapped", func(c *census, i int, n *forest.Namespace) bool { return n.Cursor > 0 && n.Cursor <= c.highest[i] }},
	{"numbers of 300 and more", func(c *census, i int, _ *forest.Namespace) bool { return c.highest[i] >= 300 }},
	{"numbers beyond pid_max", func(c *census, i int, n *forest.Namespace) bool { return n.PidMax > 0 && c.highest[i] >= n.PidMax }},
}

// census is what is counted once for a forest.
type census struct {
	f       *forest.Forest
	tasks   map[forest.Tag]*forest.Task
	members map[forest.Tag]int // processes by group
	tasksIn []int              // by namespace
	highest []uint32           // number, by namespace
}

func newCensus(f *forest.Forest) *census {
	c := &census{f: f, tasks: map[forest.Tag]*forest.Task{}, members: map[forest.Tag]int{}}
	c.tasksIn, c.highest = make([]int, len(f.Namespaces)), make([]uint32, len(f.Namespaces))
	for i := range f.Tasks {
		t := &f.Tasks[i]
		c.tasks[t.Pid] = t
		c.tasksIn[c.ns(t)]++
		if t.IsLeader() {
			c.members[t.PGID]++
		}
	}
	for i := range f.Pids {
		for ns := f.Pids[i].Namespace; ns >= 0; ns = f.Namespaces[ns].Parent {
			c.highest[ns] = max(c.highest[ns], uint32(f.Pids[i].Numbers[f.Namespaces[ns].Level]))
		}
	}
	return c
}

func (c *census) ns(t *forest.Task) int { return c.f.Pid(t.Pid).Namespace }

func (c *census) parent(t *forest.Task) *forest.Task { return c.tasks[t.Parent] }

func (c *census) led(tag forest.Tag) bool { return tag > 0 }

func (c *census) ghost(tag forest.Tag) bool { return tag > 0 && c.tasks[tag] == nil }

func (c *census) isInit(t *forest.Task) bool {
	p := c.f.Pid(t.Pid)
	return p.Numbers[len(p.Numbers)-1] == 1
}

func (c *census) below(t *forest.Task, is func(*forest.Task) bool) bool {
	for p := c.parent(t); p != nil; p = c.parent(p) {
		if is(p) {
			return true
		}
	}
	return false
}

// groupCycle reports whether group leaders are in each other's groups.
func (c *census) groupCycle() bool {
	for tag := range c.members {
		at := tag
		for range c.f.Tasks {
			t := c.tasks[at]
			if t == nil || t.PGID == at {
				break
			}
			if at = t.PGID; at == tag {
				return true
			}
		}
	}
	return false
}

const groupCycles = "cycles of groups"

func allStateKinds() []string {
	var names []string
	for _, k := range taskKinds {
		names = append(names, k.name)
	}
	for _, k := range namespaceKinds {
		names = append(names, k.name)
	}
	return append(names, groupCycles)
}

// stateKinds are the kinds of states that f has.
func stateKinds(f *forest.Forest) []string {
	c := newCensus(f)
	var names []string
	for _, k := range taskKinds {
		if slices.ContainsFunc(f.Tasks, func(t forest.Task) bool { return k.is(c, &t) }) {
			names = append(names, k.name)
		}
	}
	for _, k := range namespaceKinds {
		for i := range f.Namespaces {
			if k.is(c, i, &f.Namespaces[i]) {
				names = append(names, k.name)
				break
			}
		}
	}
	if c.groupCycle() {
		names = append(names, groupCycles)
	}
	return names
}
