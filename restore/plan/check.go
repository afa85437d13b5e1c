// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	"github.com/pidgraft/pidgraft/forest"
)

// check refuses what this version cannot build whatever else is true. It
// notes all of it, so that a person sees the whole list at once.
func (p *planner) check() {
	p.checkPlace()
	for i := int32(0); i < p.tasks; i++ {
		p.checkTask(i)
	}
	for i := range p.f.Namespaces {
		p.checkNamespace(int32(i))
	}
	for tag := range p.ghosts {
		if len(p.x.Session(tag)) == 0 && len(p.x.Group(tag)) == 0 {
			p.refuse(&Refusal{Task: none, Tag: tag, Kind: Unsupported, Reason: "number " + p.f.TagName(tag) +
				" is a group or session of processes outside the forest only, and is held by none of its own"})
		}
	}
}

func (p *planner) checkTask(i int32) {
	t := &p.f.Tasks[i]
	nd := &p.nodes[i]
	switch t.State {
	case forest.Traced:
		p.unsupported(i, "it is being traced: detach the tracer first")
	case forest.ExitingInit:
		p.checkExiting(i)
	}
	p.checkInside(i)
	if nd.leader != i {
		return
	}
	if t.State.Exited() {
		p.checkExited(i)
	}
	p.checkStopped(i)
	p.checkParent(i)
	if p.isInit(i) {
		p.checkInit(i)
	}
}

// checkInside refuses groups and sessions that the forest cannot name.
func (p *planner) checkInside(i int32) {
	if p.outsideTold {
		return
	}
	t := &p.f.Tasks[i]
	for _, id := range []struct {
		tag  forest.Tag
		what string
	}{{t.SID, "session"}, {t.PGID, "process group"}} {
		if id.tag == forest.Outside || id.tag == forest.Null {
			p.unsupported(i, "its %s is outside the forest", id.what)
		}
	}
}

// Check lists what stands against rebuilding f task by task and namespace by
// namespace, whatever else is true: what Make looks for before it plans. Unlike
// Make it takes a forest with groups and sessions that are Outside for what a
// collector could make of a target that it refuses, and says nothing of them:
// they pass for inherited.
func Check(f *forest.Forest, opts Options) Refusals {
	p := newPlanner(f, opts)
	p.outsideTold = true
	p.index()
	for i := range p.nodes {
		for _, tag := range []*forest.Tag{&p.nodes[i].session, &p.nodes[i].group} {
			if *tag == forest.Outside {
				*tag = forest.Inherited
			}
		}
	}
	p.settleLeader()
	p.check()
	return p.refusals
}

// checkExited refuses ends that cannot be made here.
func (p *planner) checkExited(i int32) {
	t := &p.f.Tasks[i]
	status := t.WaitStatus()
	if t.State == forest.DeadLeader {
		status = t.ExitCode
	}
	sig := status & 0x7f
	switch {
	case status&0x80 != 0:
		p.unsupported(i, "it ended with a core dump (wait status %#x), and only a real dump leaves that mark (kernel-rules 21)", status)
	case sig != 0 && t.State == forest.DeadLeader && !p.exiting(i):
		p.unsupported(i, "its leader was killed by signal %d while other threads live", sig)
	case sig != 0 && !fatal(sig):
		p.refuseNode(Unreachable, i, "it cannot have been killed by signal %d, which does not kill", sig)
	}
}

// exiting reports whether the process that i leads is an init that waits for its
// namespace to become empty.
func (p *planner) exiting(i int32) bool {
	return slices.ContainsFunc(p.threadsOf(i), func(t int32) bool { return p.f.Tasks[t].State == forest.ExitingInit })
}

func (p *planner) isStopped(i int32) bool {
	return slices.ContainsFunc(p.threadsOf(i), func(t int32) bool { return p.f.Tasks[t].State == forest.Stopped })
}

// checkStopped refuses stops that could not be made once everything else is in
// place.
func (p *planner) checkStopped(i int32) {
	sig, stopped, runs := int32(0), int32(none), int32(none)
	for _, t := range p.threadsOf(i) {
		switch p.f.Tasks[t].State {
		case forest.Stopped:
			stopped, sig = t, p.f.Tasks[t].StopSignal
		case forest.Running:
			runs = t
		}
	}
	switch {
	case stopped == none:
	case runs != none:
		p.unsupported(i, "its thread %s is stopped and its thread %s is not", p.name(stopped), p.name(runs))
	case i == 0 && p.holder == none && sig != sigStop:
		p.refuseNode(Unreachable, i, "it is an init stopped by signal %d, and only SIGSTOP from outside stops one (kernel-rules 20)", sig)
	}
}

// orphaned reports whether no member of group g has a parent in another group
// of its session (will_become_orphaned_pgrp, kernel/exit.c). A parent outside
// the forest does not count: after a restore it is another.
func (p *planner) orphaned(g forest.Tag) bool {
	for _, m := range p.x.Group(g) {
		t := &p.f.Tasks[m]
		parent := p.x.TaskOf(t.Parent)
		if t.State == forest.Zombie || parent == forest.None {
			continue
		}
		if o := &p.f.Tasks[parent]; o.PGID != t.PGID && o.SID == t.SID {
			return false
		}
	}
	return true
}

// fatal reports whether the default action of sig ends a process (signal(7)).
func fatal(sig int32) bool {
	switch sig {
	case 17, 18, 19, 20, 21, 22, 23, 28: // CHLD CONT STOP TSTP TTIN TTOU URG WINCH
		return false
	}
	return sig > 0 && sig <= 64
}

// checkParent refuses what could not have been handed down from outside.
func (p *planner) checkParent(i int32) {
	nd := &p.nodes[i]
	switch {
	case i == 0:
		if p.holder == none && nd.signal != forest.SIGCHLD {
			p.unsupported(i, "the root's exit signal is %d, not SIGCHLD", nd.signal)
		}
	case nd.parent == p.beside && (nd.signal == sigKill || nd.signal == sigStop):
		p.unsupported(i, "it entered the namespace from outside, and its exit signal %d would end or stop its parent there", nd.signal)
	}
}

// checkInit refuses inits that could never be ended again, and ones led by
// what they hold up.
func (p *planner) checkInit(i int32) {
	nd := &p.nodes[i]
	if nd.group > 0 && nd.group != nd.tag && p.f.Encloses(int(nd.ns), p.f.Pid(nd.group).Namespace) {
		p.unsupported(i, "it is an init in group %s, led from its own namespace: such a namespace can never be torn down again, not even by SIGKILL (kernel-rules 23)",
			p.f.TagName(nd.group))
	}
}

// checkExiting refuses inits that wait for their namespace to become empty and
// cannot be brought there.
func (p *planner) checkExiting(i int32) {
	leader := p.nodes[i].leader
	ns := int(p.nodes[i].ns)
	for tag := range p.f.Pids {
		if !p.f.Encloses(ns, p.f.Pids[tag].Namespace) {
			continue
		}
		if n := p.nodeOf(forest.Tag(tag + 1)); n == none || p.nodes[n].leader != leader {
			return
		}
	}
	if p.f.Mode == forest.Subtree {
		p.waited = append(p.waited, p.nodes[i].ns)
		return
	}
	p.unsupported(i, "what its namespace waits for is not in the forest, such as a group led from there whose number only the root has")
}

func (p *planner) checkNamespace(ns int32) {
	n := &p.f.Namespaces[ns]
	switch {
	case n.State == forest.Empty || n.State == forest.Spoilt || p.hidden(ns):
	case n.State == forest.Dead && (p.x.Init(int(ns)) != 0 || p.onlyTaken(ns)):
	case n.State == forest.InitExiting && p.x.TaskOf(p.x.Init(int(ns))) != forest.None:
	case n.State != forest.Alive:
		p.refuse(&Refusal{Task: none, Kind: Unsupported, Reason: "namespace " + p.nsName(ns) + " is " + n.State.String()})
	case ns != 0 && p.x.TaskOf(p.x.Init(int(ns))) == forest.None && p.x.Init(int(ns)) != 0:
		p.refuse(&Refusal{Task: none, Kind: Unsupported, Reason: "namespace " + p.nsName(ns) +
			" lives outside the forest; only a group led from it belongs to the forest"})
	case ns != 0 && p.x.Init(int(ns)) == 0:
		p.refuse(&Refusal{Task: none, Kind: Unsupported, Reason: "namespace " + p.nsName(ns) +
			" lies between the forest's tasks and has none of them itself"})
	}
	if n.PidMax != 0 && n.PidMax != defaultOwnPidMax && !p.opts.OwnPidMax {
		p.refuse(&Refusal{Task: none, Kind: NotHere, Reason: "namespace " + p.nsName(ns) +
			" has a pid_max of its own, and this kernel has one for the whole machine"})
	}
}

// onlyTaken reports whether nothing lives or ever comes back in namespace ns:
// tasks only have it for their next children.
func (p *planner) onlyTaken(ns int32) bool {
	for i := range p.f.Pids {
		if p.f.Encloses(int(ns), p.f.Pids[i].Namespace) {
			return false
		}
	}
	return true
}
