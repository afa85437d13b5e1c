// SPDX-License-Identifier: Apache-2.0

package forest

import "math"

// order walks the tasks once and checks that each follows what it must: its
// parent thread, or the threads before it and what is below them. So nothing
// is its own ancestor, and the order of siblings and threads is told.
func (v *validator) order() *Invalid {
	f := v.f
	type process struct {
		leader int32
		thread Tag // whose children may come now
	}
	var open []process                   // from a top process down
	place := make([]int32, len(f.Tasks)) // by leader: its place in open, plus 1
	closeTo := func(n int32) {
		for _, p := range open[n:] {
			place[p.leader] = 0
		}
		open = open[:n]
	}
	entrant := int32(0)
	for i := range f.Tasks {
		t := &f.Tasks[i]
		switch {
		case !t.IsLeader():
			at := place[v.leader(i)]
			if at == 0 {
				return v.task(RuleOrder, i, "it does not follow the other threads of its process %s", f.TagName(t.TGID))
			}
			closeTo(at)
			open[at-1].thread = t.Pid
			continue
		case t.Parent == Outside:
			number := f.Pids[t.Pid-1].Numbers[0]
			if i > 0 && number <= entrant {
				return v.task(RuleOrder, i, "it follows entrant %d", entrant)
			}
			if i > 0 {
				entrant = number
			}
			closeTo(0)
		default:
			at := place[v.taskOf[t.Parent-1]]
			if at == 0 || open[at-1].thread != t.ParentThread {
				return v.task(RuleOrder, i, "it does not follow its parent thread %s and that thread's other children", f.TagName(t.ParentThread))
			}
			closeTo(at)
		}
		open = append(open, process{int32(i), t.Pid})
		place[i] = int32(len(open))
	}
	return nil
}

// groups checks what the members of groups and sessions have in common.
func (v *validator) groups() *Invalid {
	const unset = Tag(math.MinInt32)
	f := v.f
	sessionOf := make([]Tag, len(f.Pids)) // by group: the session of its members
	for i := range sessionOf {
		sessionOf[i] = unset
	}
	inherited := unset
	// What the number of a group belongs to decides first.
	for i := range f.Tasks {
		t := &f.Tasks[i]
		if t.IsLeader() {
			sessionOf[t.Pid-1] = t.SID
		}
	}
	for i := range f.Tasks {
		if e := v.session(i, sessionOf); e != nil {
			return e
		}
	}
	for i := range f.Tasks {
		t := &f.Tasks[i]
		group := &inherited
		switch {
		case t.PGID.IsPid():
			group = &sessionOf[t.PGID-1]
			if g := int(v.taskOf[t.PGID-1]); g != None && !f.Tasks[g].IsLeader() {
				return v.task(RuleGroup, i, "its group %s has the number of a thread", f.TagName(t.PGID))
			}
		case t.PGID != Inherited:
			continue
		}
		if *group == unset {
			*group = t.SID
		}
		if t.SID != *group {
			return v.task(RuleGroup, i, "its group %s is in session %s, and its own is %s", f.TagName(t.PGID), f.TagName(*group), f.TagName(t.SID))
		}
	}
	return nil
}

// session checks the session of task i and notes that the group with its
// number, if there is one, is in it.
func (v *validator) session(i int, sessionOf []Tag) *Invalid {
	f := v.f
	sid := f.Tasks[i].SID
	if !sid.IsPid() {
		return nil
	}
	if l := int(v.taskOf[sid-1]); l == None {
		sessionOf[sid-1] = sid
	} else if s := &f.Tasks[l]; !s.IsLeader() || s.SID != sid || s.PGID != sid {
		return v.task(RuleSession, i, "its session is %s, and that task is in session %s and group %s", f.TagName(sid), f.TagName(s.SID), f.TagName(s.PGID))
	}
	return nil
}

// states checks what each namespace's state says against what lives in it.
func (v *validator) states() *Invalid {
	f := v.f
	v.exiting = make([]int32, len(f.Namespaces))
	for i := range v.exiting {
		v.exiting[i] = None
	}
	for i := range f.Tasks {
		t := &f.Tasks[i]
		p := &f.Pids[t.Pid-1]
		if p.Number() == 1 && !t.IsLeader() {
			return v.task(RuleInit, i, "it is number 1 of its namespace and a thread of %s", f.TagName(t.TGID))
		}
		if t.State != ExitingInit {
			continue
		}
		if f.Pids[t.TGID-1].Number() != 1 || v.exiting[p.Namespace] != None {
			return v.task(RuleAlive, i, "it is an exiting init, and its namespace's init is another")
		}
		v.exiting[p.Namespace] = int32(i)
	}
	for ns := range f.Namespaces {
		if e := v.life(ns); e != nil {
			return e
		}
	}
	return nil
}

// life checks one namespace. In a subtree the init may be outside the forest;
// then little can be told.
func (v *validator) life(ns int) *Invalid {
	f := v.f
	state, exiting := f.Namespaces[ns].State, v.exiting[ns]
	if exiting != None && state != InitExiting {
		return v.task(RuleAlive, int(exiting), "it waits for the end of its namespace, whose state is %v", state)
	}
	if state == Empty || state == Spoilt {
		if v.seen[ns] != 0 {
			return v.namespace(RuleEmpty, ns, "it is %v, and %d objects have a number in it", state, v.seen[ns])
		}
		return nil
	}
	init := None
	if tag := Tag(v.inits[ns]); tag != 0 {
		init = int(v.taskOf[tag-1])
	}
	if init == None && f.Mode == Subtree {
		return nil
	}
	if state == InitExiting && exiting == None {
		return v.namespace(RuleAlive, ns, "its init is exiting, and none of its tasks waits for the end")
	}
	ended := init == None || f.Tasks[init].State == Zombie
	switch {
	case ended && state != Dead:
		return v.namespace(RuleAlive, ns, "its state is %v, and its init has ended", state)
	case !ended && state == Dead:
		return v.namespace(RuleAlive, ns, "its state is dead, and its init has not ended")
	case state == Dead && v.seen[ns] > 1, state == Dead && v.seen[ns] == 1 && v.inits[ns] == 0:
		return v.namespace(RuleEmpty, ns, "it is dead, and objects other than its init's have a number in it")
	}
	return nil
}
