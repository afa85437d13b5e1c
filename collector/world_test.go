// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/pidgraft/pidgraft/forest"
)

// world is a machine as a loader would see it. Its pointers are handed out in
// no order, so that nothing can depend on them.
type world struct {
	rng    *rand.Rand
	ids    map[ID]bool
	init   *Namespace // the initial pid namespace
	user   *UserNamespace
	tasks  []*Task
	pids   []*Pid
	spaces []*Namespace
	users  []*UserNamespace
}

func newWorld(seed uint64) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 1)), ids: map[ID]bool{}}
	w.user = w.userns(nil)
	w.user.Flags = usernsSetgroupsAllowed
	w.user.UIDMap = []Extent{{0, 0, 1<<32 - 1}}
	w.user.GIDMap = w.user.UIDMap
	w.init = w.pidns(nil)
	return w
}

func (w *world) id() ID {
	for {
		id := ID(0xffff888000000000 + w.rng.Uint64N(1<<30)*64)
		if !w.ids[id] {
			w.ids[id] = true
			return id
		}
	}
}

func (w *world) userns(parent *UserNamespace) *UserNamespace {
	u := &UserNamespace{ID: w.id(), Inode: uint32(4026531837 + len(w.users))}
	if parent != nil {
		u.Parent, u.Level = parent.ID, parent.Level+1
	}
	w.users = append(w.users, u)
	return u
}

// pidns is a namespace that is empty until it gets a number 1.
func (w *world) pidns(parent *Namespace) *Namespace {
	n := &Namespace{ID: w.id(), Owner: w.user.ID, Inode: uint32(4026532000 + len(w.spaces)), Allocated: PidnsAdding, Cursor: 100}
	if parent != nil {
		n.Parent, n.Level, n.Owner = parent.ID, parent.Level+1, parent.Owner
	}
	w.spaces = append(w.spaces, n)
	return n
}

func (w *world) pid(ns *Namespace, numbers ...int32) *Pid {
	if len(numbers) != ns.Level+1 {
		panic("numbers do not fit the level")
	}
	p := &Pid{ID: w.id(), Namespace: ns.ID, Level: ns.Level, Numbers: numbers}
	w.pids = append(w.pids, p)
	return p
}

// task is a process with a new number, born of parent (nil: of nobody that is
// seen) in its group and session, and last among its siblings.
func (w *world) task(parent *Task, ns *Namespace, name string, numbers ...int32) *Task {
	p := w.pid(ns, numbers...)
	t := &Task{ID: w.id(), Pid: p.ID, TGID: p.ID, PGID: p.ID, SID: p.ID, ExitSignal: forest.SIGCHLD,
		NrThreads: 1, UserNamespace: w.user.ID, ChildNamespace: ns.ID, StartTime: uint64(len(w.tasks))}
	t.GroupLeader = t.ID
	copy(t.Comm[:15], name)
	if parent != nil {
		t.PGID, t.SID = parent.PGID, parent.SID
		t.UserNamespace = parent.UserNamespace
		w.adopt(parent, t)
	} else {
		t.RealParent = w.id()
	}
	w.tasks = append(w.tasks, t)
	if p.Numbers[ns.Level] == 1 {
		ns.Reaper = t.ID
	}
	return t
}

// adopt makes t the last child of parent.
func (w *world) adopt(parent, t *Task) {
	old := t.RealParent
	for _, s := range w.tasks {
		if s.PrevSibling == t.ID && s.RealParent == old {
			s.PrevSibling = t.PrevSibling
		}
	}
	t.RealParent, t.ParentTGID, t.PrevSibling = parent.ID, parent.TGID, 0
	var last *Task
	for _, s := range w.tasks {
		if s != t && s.RealParent == parent.ID && s.GroupLeader == s.ID && !slices.ContainsFunc(w.tasks, func(n *Task) bool {
			return n != t && n.PrevSibling == s.ID
		}) {
			last = s
		}
	}
	if last != nil {
		t.PrevSibling = last.ID
	}
}

// thread is a thread of leader's process, last in its list.
func (w *world) thread(leader *Task, ns *Namespace, name string, numbers ...int32) *Task {
	p := w.pid(ns, numbers...)
	t := *leader
	t.ID, t.Pid = w.id(), p.ID
	t.ExitSignal, t.PrevSibling = forest.ExitSignalThread, 0
	t.Comm = [16]byte{}
	copy(t.Comm[:15], name)
	t.PrevThread = leader.ID
	for _, s := range w.tasks {
		if s.GroupLeader == leader.ID {
			s.NrThreads++
			t.NrThreads = s.NrThreads
			if s != leader {
				t.PrevThread = s.ID
			}
		}
	}
	w.tasks = append(w.tasks, &t)
	return &t
}

func (w *world) setsid(t *Task)        { t.SID, t.PGID = t.TGID, t.TGID }
func (w *world) isIn(id, root ID) bool { return w.inside(w.lookup(id), root) }
func (w *world) exit(t *Task, code int32) {
	t.ExitState, t.ExitCode, t.ChildNamespace = exitZombie, code, 0
}

// leave takes the task away; its objects stay, as ghosts if they are used.
func (w *world) leave(t *Task) {
	w.tasks = slices.DeleteFunc(w.tasks, func(s *Task) bool { return s == t })
	for _, s := range w.tasks {
		if s.PrevSibling == t.ID {
			s.PrevSibling = t.PrevSibling
		}
	}
}

func (w *world) lookup(id ID) *Pid {
	for _, p := range w.pids {
		if p.ID == id {
			return p
		}
	}
	return nil
}

func (w *world) inside(p *Pid, root ID) bool {
	for id := p.Namespace; id != 0; {
		if id == root {
			return true
		}
		i := slices.IndexFunc(w.spaces, func(n *Namespace) bool { return n.ID == id })
		id = w.spaces[i].Parent
	}
	return false
}

// snapshot is one pass over what can be seen in the namespace of root, in
// random order, with records repeated.
func (w *world) snapshot(root *Task) *Snapshot {
	ns := w.lookup(root.Pid).Namespace
	s := &Snapshot{Root: root.ID, Namespace: ns}
	for _, t := range w.tasks {
		if w.isIn(t.Pid, ns) {
			s.Tasks = append(s.Tasks, *t)
		}
	}
	used := map[ID]bool{}
	for i := range s.Tasks {
		t := &s.Tasks[i]
		for _, id := range []ID{t.Pid, t.TGID, t.PGID, t.SID} {
			used[id] = id != 0
		}
	}
	s.Walked = w.lookup(root.Pid).Numbers[w.lookup(root.Pid).Level] == 1
	for _, p := range w.pids {
		q := *p
		for _, t := range w.tasks {
			q.HasPID = q.HasPID || t.Pid == p.ID
			q.HasTGID = q.HasTGID || t.TGID == p.ID
			q.HasPGID = q.HasPGID || t.PGID == p.ID
			q.HasSID = q.HasSID || t.SID == p.ID
		}
		taken := q.HasPID || q.HasTGID || q.HasPGID || q.HasSID
		if inside := w.inside(p, ns); used[p.ID] || inside && taken {
			s.Pids = append(s.Pids, q)
			if inside && s.Walked {
				s.IDR = append(s.IDR, p.ID)
			}
		}
	}
	for range len(s.Pids) / 3 {
		s.Pids = append(s.Pids, s.Pids[w.rng.IntN(len(s.Pids))])
	}
	for _, n := range w.spaces {
		s.Namespaces = append(s.Namespaces, *n)
	}
	for _, u := range w.users {
		s.UserNamespaces = append(s.UserNamespaces, *u)
	}
	w.rng.Shuffle(len(s.Tasks), func(i, j int) { s.Tasks[i], s.Tasks[j] = s.Tasks[j], s.Tasks[i] })
	w.rng.Shuffle(len(s.Pids), func(i, j int) { s.Pids[i], s.Pids[j] = s.Pids[j], s.Pids[i] })
	w.rng.Shuffle(len(s.Namespaces), func(i, j int) {
		s.Namespaces[i], s.Namespaces[j] = s.Namespaces[j], s.Namespaces[i]
	})
	return s
}

func collect(t *testing.T, s *Snapshot, mode forest.Mode) *forest.Forest {
	t.Helper()
	f, err := Collect(s, mode, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// container is a world with a container: a shell on the host (7, its own
// session) that made an init (20, number 1 inside), which inherited both.
type container struct {
	*world
	shell, root *Task
	ns          *Namespace
}

func newContainer() *container {
	w := newWorld(7)
	c := &container{world: w}
	host := w.task(nil, w.init, "systemd", 1)
	c.shell = w.task(host, w.init, "shell", 7)
	w.setsid(c.shell)
	c.ns = w.pidns(w.init)
	c.root = w.task(c.shell, c.ns, "init", 20, 1)
	return c
}
