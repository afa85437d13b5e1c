// SPDX-License-Identifier: Apache-2.0

package criu

import (
	"errors"
	"fmt"
	"path"

	criucore "github.com/checkpoint-restore/go-criu/v8/crit/images/criu-core"

	"github.com/pidgraft/pidgraft/forest"
)

// States of a task (compel/include/uapi/task-state.h).
const (
	taskAlive   = 1
	taskDead    = 2
	taskStopped = 3
)

// Versions of the images (criu/include/magic.h).
const (
	imagesV1  = 1
	imagesV11 = 2
)

const sigSTOP = 19

// builder makes a forest of a set.
type builder struct {
	*set
	f        *forest.Forest
	rootIDs  ids
	ns       users // of the user namespace of all, if it is not CRIU's own
	ownNS    bool  // it is not
	children [][]int
	cores    []core // by process
	leaders  []int  // by process: its index in the forest's tasks
	carried  map[uint32]bool
	tags     map[uint32]forest.Tag
	// The session and group that the root of a subtree has from outside; 0: none.
	session, group uint32
	merged         bool // an Inexact reason was given for two that become one
}

// forest makes a forest of what the files say.
func (s *set) forest() (*forest.Forest, error) {
	b := &builder{set: s, f: &forest.Forest{Cut: forest.Cut{Method: forest.Frozen}}, tags: map[uint32]forest.Tag{}}
	for _, step := range []func() error{b.begin, b.link, b.states, b.namespaces, b.outside, b.tasks, b.cursor} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	if err := forest.Validate(b.f); err != nil {
		return nil, b.invalid(err)
	}
	return b.f, nil
}

// invalid names the file that made a forest impossible.
func (b *builder) invalid(err error) error {
	name := pstreeKind.file(0)
	var e *forest.Invalid
	if errors.As(err, &e) && e.Task != forest.None {
		if p := b.f.Pid(b.f.Tasks[e.Task].Pid); p != nil {
			name = coreKind.file(uint32(p.Number()))
		}
	}
	return b.wrap(name, err)
}

func (b *builder) begin() error {
	name := inventoryKind.file(0)
	if b.inventory == nil {
		return b.fail(name, "it is missing: the dump did not finish, or this is none of CRIU")
	}
	if v := b.inventory.GetImgVersion(); v != imagesV1 && v != imagesV11 {
		return b.fail(name, "the images have version %d, and %d and %d are known", v, imagesV1, imagesV11)
	}
	if b.inventory.GetRootIds() == nil {
		return b.fail(name, "it does not say which namespaces CRIU was in (root_ids)")
	}
	if len(b.tree) == 0 {
		return b.fail(pstreeKind.file(0), "it is missing or has no process")
	}
	return nil
}

// link finds each process's children.
func (b *builder) link() error {
	name := pstreeKind.file(0)
	at := make(map[uint32]int, len(b.tree))
	b.children = make([][]int, len(b.tree))
	for i := range b.tree {
		p := &b.tree[i]
		for _, id := range []struct {
			number uint32
			what   string
		}{{p.pgid, "group"}, {p.sid, "session"}} {
			if id.number > forest.MaxNumber {
				return b.fail(name, "process %d is in %s %d, which is no number that a task can have", p.pid, id.what, id.number)
			}
		}
		_, twice := at[p.pid]
		up, known := at[p.ppid]
		switch {
		case p.pid == 0 || p.pid > forest.MaxNumber:
			return b.fail(name, "entry %d is of process %d, which is no number that a process can have", i+1, p.pid)
		case twice:
			return b.fail(name, "process %d is there twice", p.pid)
		case i == 0 && p.ppid != 0:
			return b.fail(name, "its first process %d is the root, and has parent %d", p.pid, p.ppid)
		case i > 0 && p.ppid == 0:
			return b.fail(name, "process %d has no parent, and only the root %d may have none", p.pid, b.tree[0].pid)
		case i > 0 && !known:
			return b.fail(name, "process %d has parent %d, which does not come before it", p.pid, p.ppid)
		case i > 0:
			b.children[up] = append(b.children[up], i)
		}
		at[p.pid] = i
	}
	return nil
}

// states finds the core of each process, and what threads it has.
func (b *builder) states() error {
	b.cores = make([]core, len(b.tree))
	b.leaders = make([]int, len(b.tree))
	b.carried = make(map[uint32]bool, len(b.tree))
	for i := range b.tree {
		p := &b.tree[i]
		c, name := b.set.cores[p.pid], coreKind.file(p.pid)
		switch {
		case !b.seen[name]:
			return b.fail(name, "it is missing, and %s has process %d", pstreeKind.file(0), p.pid)
		case c.task == nil:
			return b.fail(name, "it says nothing of the process (tc)")
		}
		b.cores[i] = c
		switch c.task.state {
		case taskDead:
			if i == 0 {
				return b.fail(name, "the root is dead, of which nothing can grow")
			}
			if len(b.children[i]) > 0 {
				return b.fail(name, "the process is dead, and process %d is its child", b.tree[b.children[i][0]].pid)
			}
			if len(p.threads) > 1 {
				return b.fail(name, "the process is dead, and has %d threads", len(p.threads))
			}
			// CRIU does not set the number of a dead process's thread.
			p.threads = []uint32{p.pid}
		case taskAlive, taskStopped:
			if len(p.threads) == 0 || p.threads[0] != p.pid {
				return b.fail(pstreeKind.file(0), "process %d does not come first in the list of its threads", p.pid)
			}
		default:
			return b.fail(name, "its state is %d, and alive is %d, dead %d, stopped %d", c.task.state, taskAlive, taskDead, taskStopped)
		}
		for _, n := range p.threads {
			if n == 0 || n > forest.MaxNumber {
				return b.fail(pstreeKind.file(0), "process %d has thread %d, which is no number that a thread can have", p.pid, n)
			}
			if b.carried[n] {
				return b.fail(pstreeKind.file(0), "number %d is there twice, as thread and process or as two threads", n)
			}
			b.carried[n] = true
		}
	}
	return nil
}

// namespaces finds the pid and the user namespace that all are in. CRIU does not
// dump trees with others in them, and neither can be rebuilt from what it says.
func (b *builder) namespaces() error {
	for i := range b.tree {
		if b.cores[i].task.state == taskDead {
			continue // no longer in any, and without a file
		}
		pid := b.tree[i].pid
		at, name := b.ids[pid], idsKind.file(pid)
		switch old := b.cores[i].ids; {
		case b.seen[name]:
		case old != nil:
			at, name = *old, coreKind.file(pid)
		case i == 0:
			return b.fail(name, "it is missing, and says which namespaces the root is in")
		default:
			at = b.rootIDs // CRIU takes it so
		}
		switch {
		case i == 0:
			b.rootIDs = at
		case at.pid != b.rootIDs.pid:
			return b.fail(name, "process %d is in a pid namespace other than the root's, whose numbers there are not told", pid)
		case at.user != b.rootIDs.user:
			return b.fail(name, "process %d is in a user namespace other than the root's, which is not told of", pid)
		}
	}
	b.f.UserNamespaces = []forest.UserNamespace{{Parent: -1, Setgroups: true}}
	b.f.Namespaces = []forest.Namespace{{Parent: -1}}
	b.f.Mode = forest.Subtree
	if b.tree[0].pid == 1 {
		b.f.Mode = forest.Container
	}
	if own := b.rootIDs.user; own != b.inventory.GetRootIds().GetUserNsId() {
		name := usernsKind.file(own)
		if !b.seen[name] {
			return b.fail(name, "it is missing, and has the id maps of the user namespace that the root is in")
		}
		b.ns, b.ownNS = b.users[own], true
		b.f.UserNamespaces = append(b.f.UserNamespaces, forest.UserNamespace{
			UIDMap: b.ns.uid, GIDMap: b.ns.gid, Setgroups: true,
		})
		if b.f.Mode == forest.Container {
			b.f.Namespaces[0].Owner = 1
		}
	}
	switch b.cores[0].machine {
	case criucore.CoreEntry_X86_64:
		b.f.Producer.Machine = "x86_64"
	case criucore.CoreEntry_AARCH64:
		b.f.Producer.Machine = "aarch64"
	}
	b.f.Producer.Tool = "CRIU"
	return nil
}

// outside finds what the root of a subtree has from outside. Its session is
// always led from there if it does not lead it, its group if no task of the
// tree has that number: else, as for all others, CRIU restores a number without
// a task as one whose task is gone, and so does a forest.
func (b *builder) outside() error {
	root := &b.tree[0]
	if b.f.Mode != forest.Subtree {
		return nil
	}
	if root.sid != root.pid && !b.carried[root.sid] {
		b.session = root.sid
	}
	if root.pgid != root.pid && !b.carried[root.pgid] {
		b.group = root.pgid
	}
	return nil
}

func (b *builder) sessionTag(n uint32) forest.Tag {
	switch {
	case n == 0 && b.tree[0].sid == 0, n != 0 && n == b.session:
		return forest.Inherited
	case n == 0:
		return forest.Outside
	}
	return b.tag(n)
}

func (b *builder) groupTag(pid, n uint32) forest.Tag {
	root := &b.tree[0]
	switch {
	case n != 0 && n == b.session && b.group != 0 && b.group != n:
		if !b.merged {
			b.merged = true
			b.f.Inexact = append(b.f.Inexact, fmt.Sprintf("process %d is in the group of the session that the root inherited, "+
				"but the root inherited another group: both would come back as one", pid))
		}
		return forest.Inherited
	case n == 0 && (root.pgid == 0 || root.sid == 0), n != 0 && (n == b.group || n == b.session):
		return forest.Inherited
	case n == 0:
		return forest.Outside
	}
	return b.tag(n)
}

// tag is the tag of a number, which is given when it first appears.
func (b *builder) tag(n uint32) forest.Tag {
	if t, ok := b.tags[n]; ok {
		return t
	}
	b.f.Pids = append(b.f.Pids, forest.Pid{Numbers: []int32{int32(n)}})
	t := forest.Tag(len(b.f.Pids))
	b.tags[n] = t
	return t
}

// tasks adds all tasks in tree order. The children of a process are those of
// its leader, before its other threads.
func (b *builder) tasks() error {
	type visit struct{ process, next int }
	if err := b.leader(0); err != nil {
		return err
	}
	for stack := []visit{{}}; len(stack) > 0; {
		v := &stack[len(stack)-1]
		if v.next < len(b.children[v.process]) {
			child := b.children[v.process][v.next]
			v.next++
			if err := b.leader(child); err != nil {
				return err
			}
			stack = append(stack, visit{process: child})
			continue
		}
		if err := b.threads(v.process); err != nil {
			return err
		}
		stack = stack[:len(stack)-1]
	}
	return nil
}

// leader adds the leader of a process.
func (b *builder) leader(i int) error {
	p, c := &b.tree[i], b.cores[i]
	b.leaders[i] = len(b.f.Tasks)
	t := forest.Task{
		ExitSignal: forest.SIGCHLD, ChildNamespace: forest.SameNamespace,
		Subreaper: c.task.subreaper, Comm: c.task.comm,
	}
	t.Pid = b.tag(p.pid)
	t.TGID = t.Pid
	t.PGID = b.groupTag(p.pid, p.pgid)
	t.SID = b.sessionTag(p.sid)
	if i > 0 {
		t.Parent = b.tag(p.ppid)
		t.ParentThread = t.Parent
	}
	if b.ownNS {
		t.UserNamespace = 1
	}
	if c.task.state == taskDead {
		t.State = forest.Zombie
		t.ExitCode, t.GroupExitCode, t.GroupExit = int32(c.task.exitCode), int32(c.task.exitCode), true
		// Whose it was is not told; CRIU lets root of the user namespace be it.
		t.UID, t.GID = rootOf(b.ns.uid), rootOf(b.ns.gid)
		t.EUID, t.EGID = t.UID, t.GID
		b.f.Tasks = append(b.f.Tasks, t)
		return nil
	}
	b.stop(&t, c.task)
	return b.add(t, p.pid, c)
}

// threads adds the other threads of a process.
func (b *builder) threads(i int) error {
	p := &b.tree[i]
	if len(p.threads) < 2 {
		return nil
	}
	leader := &b.f.Tasks[b.leaders[i]]
	like := forest.Task{
		TGID: leader.TGID, PGID: leader.PGID, SID: leader.SID, Parent: leader.Parent, ParentThread: leader.ParentThread,
		ExitSignal: forest.ExitSignalThread, ChildNamespace: forest.SameNamespace,
		Subreaper: leader.Subreaper, UserNamespace: leader.UserNamespace, Comm: leader.Comm,
		State: leader.State, StopSignal: leader.StopSignal,
	}
	for _, n := range p.threads[1:] {
		name := coreKind.file(n)
		if !b.seen[name] {
			return b.fail(name, "it is missing, and %s has thread %d of process %d", pstreeKind.file(0), n, p.pid)
		}
		c := b.set.cores[n]
		t := like
		t.Pid = b.tag(n)
		if c.thread != nil && c.thread.comm != nil {
			t.Comm = *c.thread.comm
		}
		if err := b.add(t, n, c); err != nil {
			return err
		}
	}
	return nil
}

// stop fills in how a process was stopped. CRIU says by which signal since 3.18,
// and stops it anew, so that its parent has not been told.
func (b *builder) stop(t *forest.Task, c *taskCore) {
	if c.state != taskStopped {
		return
	}
	t.State, t.StopSignal = forest.Stopped, sigSTOP
	if c.stop != 0 {
		t.StopSignal = int32(c.stop)
	}
}

// add adds a task that lives, whose core is c.
func (b *builder) add(t forest.Task, n uint32, c core) error {
	name := coreKind.file(n)
	if c.thread == nil || !c.thread.creds {
		return b.fail(name, "it does not say whose the task is (thread_core.creds)")
	}
	t.PdeathSignal = int32(c.thread.pdeath)
	for _, id := range []struct {
		inside uint32
		to     *uint32
		of     []forest.Extent
		what   string
	}{
		{c.thread.uid, &t.UID, b.ns.uid, "uid"}, {c.thread.euid, &t.EUID, b.ns.uid, "effective uid"},
		{c.thread.gid, &t.GID, b.ns.gid, "gid"}, {c.thread.egid, &t.EGID, b.ns.gid, "effective gid"},
	} {
		*id.to = id.inside
		if !b.ownNS {
			continue
		}
		outside, ok := mapID(id.of, id.inside)
		if !ok {
			return b.fail(name, "its %s is %d, for which %s has no line", id.what, id.inside, path.Join(b.dir, usernsKind.file(b.rootIDs.user)))
		}
		*id.to = outside
	}
	b.f.Tasks = append(b.f.Tasks, t)
	return nil
}

// mapID is what an id of a user namespace is in the one above.
func mapID(m []forest.Extent, id uint32) (uint32, bool) {
	for _, e := range m {
		if id >= e.First && id-e.First < e.Count {
			return e.Parent + (id - e.First), true
		}
	}
	return 0, false
}

// rootOf is id 0 of a user namespace; without a map, of the initial one.
func rootOf(m []forest.Extent) uint32 {
	id, _ := mapID(m, 0)
	return id
}

// cursor sets the id cursor of a container, which CRIU does not tell, behind
// the highest number: where it is if none was given anew.
func (b *builder) cursor() error {
	if b.f.Mode != forest.Container {
		return nil
	}
	highest := int32(0)
	for i := range b.f.Pids {
		highest = max(highest, b.f.Pids[i].Numbers[0])
	}
	b.f.Namespaces[0].Cursor = uint32(highest) + 1
	return nil
}
