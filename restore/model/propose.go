// SPDX-License-Identifier: Apache-2.0

package model

import "github.com/pidgraft/pidgraft/forest"

// propose makes one step of kind k with a random actor, if there is a fitting
// one.
func (g *generator) propose(k Kind) {
	switch k {
	case Fork, ForkSignal, ForkParent, ForkNamed, ForkPID, ForkUser, ForkFail, ForkThread:
		if a := g.anyActor(); a != nil && !g.full() {
			g.fork(k, a)
		}
	case Enter:
		g.enter()
	case ExitOne, ExitAll, Execve, DieInit:
		g.end(k)
	case KillOne, Stop, Continue:
		g.signal(k)
	case Reap, TellStop:
		g.wait(k)
	case NewSession, JoinGroup, MoveChild:
		g.group(k)
	case UnsharePID, UnshareUser, JoinPID, JoinUser, MapUsers:
		g.namespace(k)
	default:
		g.attribute(k)
	}
}

// exitSignals are unusual exit signals: none, some that do nothing by default,
// some that kill or stop the parent.
var exitSignals = []int32{0, 23, 28, 18, 10, 64, 15, 20, 19, 9}

func (g *generator) fork(k Kind, a *task) {
	s := Step{Kind: k, Actor: a.id, Number: forest.SIGCHLD}
	switch k {
	case ForkSignal:
		s.Number = exitSignals[g.value(len(exitSignals))]
	case ForkParent:
		s.Flags, s.Number = Parent, 0
	case ForkThread:
		s.Flags, s.Number = Thread, 0
	case ForkNamed:
		// Numbers of the machine are left to it.
		if a.childNS.level == 0 {
			return
		}
		for range 1 + g.value(a.childNS.level) {
			s.SetTID = append(s.SetTID, int32(2+g.value(30)+g.value(2)*290))
		}
		if a.childNS.childReaper == nil {
			s.SetTID[0] = 1
		}
	case ForkPID, ForkUser:
		s.Flags = NewPID
		if k == ForkUser {
			s.Flags |= NewUser
		}
	}
	if s.Flags&NewPID != 0 && !g.deepen(a) {
		return
	}
	if g.do(s) == 0 && k == ForkUser && g.value(4) != 3 {
		if maps := g.maps(g.k.tasks[len(g.k.tasks)-1]); maps.Actor != 0 {
			g.do(maps)
		}
	}
}

// deepen reports whether a may make another namespace.
func (g *generator) deepen(a *task) bool {
	return a.childNS.level < g.root.leader.pid.ns.level+g.c.MaxLevel
}

// maps writes the same ids for the user namespace of t as in its parent, by a
// task in that parent if there is one.
func (g *generator) maps(t *task) Step {
	same := []forest.Extent{{Count: 65536}}
	s := Step{Kind: MapUsers, Target: t.id, Maps: UserMaps{UID: same, GID: same, Setgroups: true}}
	parent := t.cred.user.parent
	if parent == nil || parent == g.k.hostUser {
		s.Actor = Outsider
	} else if a := g.some(func(a *task) bool { return a.runs() && a.cred.user == parent && a.cred.caps }); a != nil {
		s.Actor = a.id
	}
	return s
}

// enter has the outsider fork into a namespace of the forest. The entrant
// founds a session of its own if the outsider's is not the root's: such a
// forest could not be exported.
func (g *generator) enter() {
	t := g.some(func(t *task) bool { return !t.exiting && t.proc.leader == t })
	if g.h.Mode == forest.Subtree || t == nil || g.full() {
		return
	}
	outsider := g.k.tasks[Outsider]
	if g.do(Step{Kind: JoinPID, Actor: Outsider, Target: t.id}) != 0 ||
		g.do(Step{Kind: Enter, Actor: Outsider, Number: forest.SIGCHLD}) != 0 {
		return
	}
	entrant := g.k.tasks[len(g.k.tasks)-1]
	if g.root.session != outsider.proc.session || g.root.pgrp != outsider.proc.pgrp {
		g.do(Step{Kind: NewSession, Actor: entrant.id})
	}
}

// end ends a thread or a process, or all threads of it but one. The root must
// keep a thread.
func (g *generator) end(k Kind) {
	a := g.anyActor()
	if a == nil {
		return
	}
	s := Step{Kind: k, Actor: a.id}
	last := a.proc == g.root && (a.proc.alive == 1 || k == ExitAll)
	switch {
	case k == DieInit:
		if !a.proc.unkillable || a.proc == g.root {
			return
		}
		s.Number = []int32{11, 1, 2, 4, 31}[g.value(5)]
	case k != Execve && last:
		return
	case k != Execve:
		s.Number = int32(g.value(256))
	}
	g.do(s)
}

// signal sends a signal to a process. Only the outsider's reach an init, and
// the root is not killed.
func (g *generator) signal(k Kind) {
	t := g.some(func(t *task) bool {
		return t.proc.alive > 0 && t.proc.leader == t && (k != KillOne || t.proc != g.root) &&
			(k != Continue || t.proc.stopped)
	})
	if t == nil {
		return
	}
	signals := []int32{9, 15, 1, 10, 11}
	switch k {
	case Stop:
		signals = []int32{sigStop, sigTstp, sigTtin, sigTtou}
	case Continue:
		signals = []int32{sigCont}
	}
	g.do(Step{Kind: k, Actor: g.sender(t), Target: t.id, Number: signals[g.value(len(signals))]})
}

// wait collects a zombie, or has a stop reported, by a thread of the parent.
func (g *generator) wait(k Kind) {
	t := g.some(func(t *task) bool {
		p := t.proc
		fit := p.leader == t && p.parent != nil && p.parent.id != HostInit && p.parent.runs() && p != g.root
		return fit && (k == Reap && p.reapable() || k == TellStop && p.stopped && !p.stopReported)
	})
	if t != nil {
		g.do(Step{Kind: k, Actor: t.proc.parent.id, Target: t.id})
	}
}

// group founds or joins a session or group.
func (g *generator) group(k Kind) {
	a := g.anyActor()
	if a == nil {
		return
	}
	s, target := Step{Kind: k, Actor: a.id}, a.proc
	if k == MoveChild {
		c := g.some(func(t *task) bool {
			return t.proc.leader == t && t.proc.parent != nil && t.proc.parent.proc == a.proc
		})
		if c == nil {
			return
		}
		target, s.Target = c.proc, c.id
	}
	o := target.leader.pid
	if k != NewSession && g.pick(3) > 0 { // a group that exists
		m := g.some(func(t *task) bool { return t.proc.session == a.proc.session && t.proc.pgrp.numberIn(a.pid.ns) != 0 })
		if m == nil {
			return
		}
		o = m.proc.pgrp
		s.Group = o.born
	}
	if target.pins(o) || g.strands(target, o, k == NewSession) {
		return
	}
	g.do(s)
}

// strands reports whether the root of a container would leave others behind in
// the session or group that it inherited: no dump would take them.
func (g *generator) strands(p *process, o *pid, session bool) bool {
	if p != g.root || g.h.Mode == forest.Subtree || p.pgrp == o && !session {
		return false
	}
	outside := g.k.tasks[Outsider].proc
	return g.some(func(t *task) bool {
		return t.proc != p && t.pid.ns != g.k.hostNS && (t.proc.pgrp == outside.pgrp || session && t.proc.session == outside.session)
	}) != nil
}

// namespace makes or enters a namespace, or writes its maps.
func (g *generator) namespace(k Kind) {
	a := g.anyActor()
	if a == nil || k == UnsharePID && !g.deepen(a) {
		return
	}
	s := Step{Kind: k, Actor: a.id}
	if k == JoinPID || k == JoinUser || k == MapUsers {
		t := g.some(func(t *task) bool {
			switch {
			case t.exiting || t.proc.leader != t:
				return false
			case k != MapUsers && !a.pid.ns.encloses(t.pid.ns):
				return false // no pidfd of whom it does not see
			case k == JoinPID || g.c.Failing:
				return true
			case k == JoinUser:
				return a.cred.user != t.cred.user && a.cred.user.encloses(t.cred.user)
			}
			return !t.cred.user.mapped
		})
		if t == nil {
			return
		}
		s.Target = t.id
		if k == MapUsers {
			s = g.maps(t)
		}
	}
	if s.Actor == 0 {
		return
	}
	g.do(s)
}

// attribute sets something of a task or of its namespace.
func (g *generator) attribute(k Kind) {
	a := g.anyActor()
	if a == nil {
		return
	}
	s := Step{Kind: k, Actor: a.id}
	switch k {
	case Reaper:
		s.Number = 1
		if a.proc.subreaper {
			s.Number = 0
		}
	case IgnoreChildren:
		s.Number = []int32{IgnoreOn, IgnoreNoWait}[g.value(2)]
		if a.proc.ignored&bit(sigChld) != 0 || a.proc.noChildWait {
			s.Number = IgnoreOff
		}
	case ParentDeath:
		s.Number = []int32{15, 23, 9, 19, 0}[g.value(5)]
	case ChangeIDs:
		uid, gid := uint32(g.value(3)*1000), uint32(g.value(2)*100)
		s.IDs = IDs{UID: uid, EUID: uid, GID: gid, EGID: gid}
		switch g.value(8) {
		case 5: // each its own; what one asks for files with is one of the others
			// The uid for files is the effective one: with another go the
			// capabilities over files alone (LSM_SETID_FS), and the right to
			// write an id map, of which the model knows nothing.
			suid, sgid := uint32(g.value(4)*1000), uint32(g.value(4)*100)
			s.IDs.EUID = uint32(g.value(3) * 1000)
			s.IDs.Other = &forest.OtherIDs{
				SUID: suid, FSUID: s.IDs.EUID,
				SGID: sgid, FSGID: []uint32{gid, sgid}[g.value(2)],
			}
		case 6:
			s.IDs.EUID = 0
		case 7:
			s.IDs.EUID = 1000
		}
	case WriteCursor:
		s.Number = []int32{1, 5, 20, 299, 300, 32767}[g.value(6)]
	case WriteMax:
		s.Number = []int32{301, 310, 32768, 400000}[g.value(4)]
	}
	if g.h.Mode == forest.Subtree && a.pid.ns == g.k.hostNS && (k == WriteCursor || k == WriteMax) {
		return // the machine's own
	}
	g.do(s)
}
