// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"math/rand/v2"

	"github.com/pidgraft/pidgraft/forest"
)

// lift is the reverse of Collect: a machine on which a forest's root namespace
// is at a given level, and what a pass over it shows, in random order and with
// random identities.
type lift struct {
	*world
	f      *forest.Forest
	level  int
	spaces []*Namespace     // of Forest.Namespaces
	users  []*UserNamespace // of Forest.UserNamespaces
	pids   []*Pid           // of Forest.Pids
	of     map[forest.Tag]*Task
	// What the root inherited, and what cannot be seen from its namespace.
	session, group, outside *Pid
	taken                   map[int32]bool // numbers of the initial namespace
}

func liftForest(f *forest.Forest, level int, seed uint64) *Snapshot {
	l := &lift{world: newWorld(seed), f: f, level: level, of: map[forest.Tag]*Task{}, taken: map[int32]bool{}}
	l.addUsers()
	l.addSpaces()
	l.addPids()
	l.addTasks()
	l.orderTasks()
	return l.show()
}

func (l *lift) addUsers() {
	for i := range l.f.UserNamespaces {
		u := &l.f.UserNamespaces[i]
		k := l.user
		if i > 0 {
			parent := l.users[u.Parent]
			k = l.userns(parent)
			k.UIDMap = absolute(u.UIDMap, parent.UIDMap)
			k.GIDMap = absolute(u.GIDMap, parent.GIDMap)
		}
		k.OwnerUID, k.OwnerGID, k.Inode, k.Flags = u.OwnerUID, u.OwnerGID, u.Inode, 0
		if u.Setgroups {
			k.Flags = usernsSetgroupsAllowed
		}
		l.users = append(l.users, k)
	}
}

// absolute is what map_write makes of a map: ids of the parent become kernel
// ids, line by line.
func absolute(m []forest.Extent, parent []Extent) []Extent {
	var out []Extent
	for _, e := range m {
		for _, p := range parent {
			if e.Parent >= p.First && e.Parent-p.First < p.Count {
				out = append(out, Extent{e.First, p.Lower + (e.Parent - p.First), e.Count})
			}
		}
	}
	return out
}

func (l *lift) addSpaces() {
	above := l.init
	for range l.level - 1 {
		above = l.pidns(above)
		above.Reaper = l.id()
	}
	for i := range l.f.Namespaces {
		n := &l.f.Namespaces[i]
		parent := above
		if i > 0 {
			parent = l.spaces[n.Parent]
		}
		k := l.init
		if i > 0 || l.level > 0 {
			k = l.pidns(parent)
		}
		k.Owner, k.Cursor, k.PidMax, k.Inode = l.users[n.Owner].ID, n.Cursor, n.PidMax, n.Inode
		if shared(l.f, i) {
			k.Cursor, k.PidMax = l.rng.Uint32N(1000), 4194304
		}
		k.Allocated, k.Reaper = PidnsAdding, 0
		switch n.State {
		case forest.Spoilt:
			k.Allocated = 0
		case forest.Dead, forest.InitExiting:
			k.Allocated, k.Reaper = 1, l.id()
		case forest.Alive:
			k.Reaper = l.id()
		}
		l.spaces = append(l.spaces, k)
	}
}

// shared reports whether tasks outside the forest use namespace ns too: that of
// a subtree whose init is not in it.
func shared(f *forest.Forest, ns int) bool {
	if s := f.Namespaces[ns].State; f.Mode != forest.Subtree || s != forest.Alive && s != forest.InitExiting {
		return false
	}
	for i := range f.Tasks {
		if p := f.Pid(f.Tasks[i].Pid); p.Namespace == ns && p.Number() == 1 {
			return false
		}
	}
	return true
}

// above are numbers for the levels above the forest.
func (l *lift) above() []int32 {
	n := make([]int32, l.level)
	for i := range n {
		n[i] = 2 + l.rng.Int32N(1<<22-2)
		for i == 0 && l.taken[n[0]] {
			n[0] = 2 + l.rng.Int32N(1<<22-2)
		}
	}
	if l.level > 0 {
		l.taken[n[0]] = true
	}
	return n
}

func (l *lift) addPids() {
	for i := range l.f.Pids {
		p := &l.f.Pids[i]
		l.pids = append(l.pids, l.pid(l.spaces[p.Namespace], append(l.above(), p.Numbers...)...))
	}
	// Objects of the namespace above, or beside, or of the root namespace
	// itself in a subtree of the initial namespace.
	beside := l.init
	number := func() []int32 { return []int32{2 + l.rng.Int32N(1<<22-2)} }
	if l.level == 0 {
		beside = l.spaces[0]
		number = func() []int32 { return []int32{1 << 23} } // nobody's
	}
	l.session, l.group = l.pid(beside, number()...), l.pid(beside, number()...)
	l.outside = l.group
	if l.level > 0 {
		sibling := l.pidns(l.init)
		sibling.Reaper = l.id()
		l.outside = l.pid(sibling, 5, 1)
	}
}

// object is what a tag stands for.
func (l *lift) object(tag forest.Tag, inherited *Pid) ID {
	switch tag {
	case forest.Null:
		return 0
	case forest.Outside:
		return l.outside.ID
	case forest.Inherited:
		return inherited.ID
	}
	return l.pids[tag-1].ID
}

func (l *lift) addTasks() {
	f := l.f
	if f.Tasks[0].PGID == forest.Inherited && f.Tasks[0].SID == forest.Inherited && l.rng.IntN(2) == 0 {
		l.group = l.session
	}
	if f.Tasks[0].PGID != forest.Inherited {
		l.group = l.session // that of the session's leader
	}
	for i := range f.Tasks {
		t := &f.Tasks[i]
		k := &Task{
			ID: l.id(), Pid: l.object(t.Pid, nil), TGID: l.object(t.TGID, nil),
			PGID: l.object(t.PGID, l.group), SID: l.object(t.SID, l.session),
			ExitSignal: t.ExitSignal, PdeathSignal: t.PdeathSignal, Subreaper: t.Subreaper,
			UserNamespace: l.users[t.UserNamespace].ID,
			UID:           t.UID, EUID: t.EUID, GID: t.GID, EGID: t.EGID, StartTime: t.StartTime,
		}
		other := f.OtherIDs(i)
		k.SUID, k.FSUID, k.SGID, k.FSGID = other.SUID, other.FSUID, other.SGID, other.FSGID
		copy(k.Comm[:15], t.Comm)
		l.setState(k, t)
		if !t.State.Exited() {
			k.ChildNamespace = l.spaces[f.Pid(t.Pid).Namespace].ID
			if t.ChildNamespace != forest.SameNamespace {
				k.ChildNamespace = l.spaces[t.ChildNamespace].ID
			}
		}
		l.of[t.Pid] = k
		l.tasks = append(l.tasks, k)
	}
}

// setState is the kernel's way to say what forest.Task says.
func (l *lift) setState(k *Task, t *forest.Task) {
	k.ExitCode = t.ExitCode
	if t.GroupExit {
		k.SignalFlags, k.GroupExitCode = signalGroupExit, t.GroupExitCode
	}
	ns := l.spaces[l.f.Pid(t.Pid).Namespace]
	if l.f.Pid(t.Pid).Number() == 1 && l.f.Namespaces[l.f.Pid(t.Pid).Namespace].State != forest.Empty {
		ns.Reaper = k.ID
	}
	switch t.State {
	case forest.Stopped:
		k.SignalFlags |= signalStopStopped
		k.Jobctl = 1<<26 | uint64(t.StopSignal)
		if !t.StopReported {
			k.GroupExitCode = t.StopSignal
		}
	case forest.Traced:
		k.Ptrace = 1
		if l.rng.IntN(2) == 0 && t.Pid != t.TGID {
			k.ExitState = exitZombie
		}
	case forest.Zombie, forest.DeadLeader:
		k.ExitState, k.TaskFlags = exitZombie, pfExiting
	case forest.ExitingInit:
		k.TaskFlags = pfExiting
		ns.Reaper = k.ID
	}
}

// orderTasks makes the kernel's lists.
func (l *lift) orderTasks() {
	lastChild, lastThread, count := map[ID]*Task{}, map[ID]*Task{}, map[ID]int32{}
	for i := range l.f.Tasks {
		t, k := &l.f.Tasks[i], l.tasks[i]
		k.GroupLeader = l.of[t.TGID].ID
		if last := lastThread[k.GroupLeader]; last != nil {
			k.PrevThread = last.ID
		}
		lastThread[k.GroupLeader] = k
		count[k.GroupLeader]++
		k.RealParent = l.id() // outside
		if t.Parent != forest.Outside {
			k.RealParent, k.ParentTGID = l.of[t.ParentThread].ID, l.object(t.Parent, nil)
		}
		if t.Pid != t.TGID {
			continue
		}
		if last := lastChild[k.RealParent]; last != nil {
			k.PrevSibling = last.ID
		}
		lastChild[k.RealParent] = k
	}
	for _, k := range l.tasks {
		k.NrThreads = count[k.GroupLeader]
	}
}

// show is the Snapshot of it all.
func (l *lift) show() *Snapshot {
	s := &Snapshot{Root: l.tasks[0].ID, Namespace: l.spaces[0].ID, Walked: l.f.Cut.Walked, Self: l.id()}
	pid, tgid, pgid, sid := map[ID]bool{}, map[ID]bool{}, map[ID]bool{}, map[ID]bool{}
	for _, k := range l.tasks {
		s.Tasks = append(s.Tasks, *k)
		pid[k.Pid], tgid[k.TGID], pgid[k.PGID], sid[k.SID] = true, true, true, true
	}
	for _, p := range l.world.pids {
		q := *p
		q.HasPID, q.HasTGID, q.HasPGID, q.HasSID = pid[p.ID], tgid[p.ID], pgid[p.ID], sid[p.ID]
		// What nobody in the forest uses is a group of somebody outside.
		q.HasPGID = q.HasPGID || !q.HasPID && !q.HasSID
		s.Pids = append(s.Pids, q)
		for l.rng.IntN(2) == 0 {
			s.Pids = append(s.Pids, q)
		}
	}
	if s.Walked {
		for _, p := range l.pids {
			s.IDR = append(s.IDR, p.ID)
		}
	}
	for _, n := range l.world.spaces {
		s.Namespaces = append(s.Namespaces, *n)
	}
	for _, u := range l.world.users {
		s.UserNamespaces = append(s.UserNamespaces, *u)
	}
	l.refer(s)
	shuffle(l.rng, s.Tasks)
	shuffle(l.rng, s.Pids)
	shuffle(l.rng, s.Namespaces)
	shuffle(l.rng, s.UserNamespaces)
	shuffle(l.rng, s.IDR)
	return s
}

// refer adds the forest's references, and one that it has nothing to do with.
func (l *lift) refer(s *Snapshot) {
	if len(l.f.References) == 0 {
		return
	}
	for _, r := range append(l.f.References, forest.Reference{Kind: forest.PIDFD, FD: 7}) {
		k := Reference{Kind: r.Kind, Object: l.object(r.Object, nil), FD: r.FD, Terminal: r.Terminal}
		switch {
		case r.Holder != forest.Outside:
			k.Task = l.of[r.Holder].ID
		case r.FD != forest.NoFD:
			k.Task = l.id()
		}
		s.References = append(s.References, k, k)
	}
	shuffle(l.rng, s.References)
}

func shuffle[T any](rng *rand.Rand, v []T) {
	rng.Shuffle(len(v), func(i, j int) { v[i], v[j] = v[j], v[i] })
}
