// SPDX-License-Identifier: Apache-2.0

package model

import "github.com/pidgraft/pidgraft/forest"

// life is how far a task is.
type life uint8

const (
	live     life = iota
	zombie        // EXIT_ZOMBIE
	released      // gone
)

// task is a struct task_struct: one thread.
type task struct {
	id  TaskID
	pid *pid
	// bornPid is the object made for it; exec may change pid (rule 12).
	bornPid *pid
	proc    *process
	state   life
	// exiting is PF_EXITING: it adopts nobody any more and makes no calls.
	exiting bool
	// zapping: it waits in zap_pid_ns_processes.
	zapping bool

	prevThread, nextThread *task    // signal->thread_head: rule 13, order is state
	firstChild, lastChild  *process // children, in order of arrival: rule 17

	exitCode int32
	pdeath   int32  // pdeath_signal: rule 18
	noExec   bool   // PF_FORKNOEXEC: rule 11
	execID   uint32 // self_exec_id: programs run
	childNS  *pidNS // nsproxy->pid_ns_for_children; nil once exited: rule 7
	cred     cred
	comm     string
	start    uint64

	adopted     uint64 // Kernel.epoch of the last adoption
	adoptedFrom *process
}

// process is a struct signal_struct: the threads of one process.
type process struct {
	leader      *task
	first, last *task // threads, in order
	threads     int   // nr_threads: linked, dead leader included
	alive       int   // signal->live: not yet exiting

	parent                   *task // real_parent, of all its threads
	prevSibling, nextSibling *process

	pgrp, session        *pid
	groupPrev, groupNext *process

	exitSignal    int32 // of the leader: rule 15
	parentExecID  uint32
	sessionLeader bool // signal->leader
	subreaper     bool // is_child_subreaper
	unkillable    bool // SIGNAL_UNKILLABLE: a namespace's init

	groupExit     bool // SIGNAL_GROUP_EXIT
	groupExitCode int32

	stopped      bool // SIGNAL_STOP_STOPPED
	stopSignal   int32
	stopReported bool

	ignored     uint64 // signals that are SIG_IGN: rule 15
	noChildWait bool   // SA_NOCLDWAIT
	blocked     bool   // every signal that can be is blocked
	pending     uint64 // sent and not acted upon, by number
}

// slab is how many tasks, processes or pid objects are made at a time: as many
// again, within limits.
func (k *Kernel) slab() int { return min(max(16, len(k.tasks)), 256) }

func (k *Kernel) newTask() *task {
	if len(k.taskSlab) == 0 {
		k.taskSlab = make([]task, k.slab())
	}
	t := &k.taskSlab[0]
	k.taskSlab = k.taskSlab[1:]
	k.clock++
	t.id, t.start = TaskID(len(k.tasks)), k.clock
	t.noExec = true
	k.tasks = append(k.tasks, t)
	return t
}

func (k *Kernel) newProcess(leader *task) *process {
	if len(k.procSlab) == 0 {
		k.procSlab = make([]process, k.slab())
	}
	p := &k.procSlab[0]
	k.procSlab = k.procSlab[1:]
	p.leader, leader.proc = leader, p
	return p
}

func (k *Kernel) newPid(ns *pidNS) *pid {
	n := ns.level + 1
	if len(k.pidSlab) == 0 {
		k.pidSlab = make([]pid, k.slab())
	}
	if len(k.numbers) < n {
		k.numbers = make([]int32, max(n, k.slab()*4))
	}
	o := &k.pidSlab[0]
	k.pidSlab = k.pidSlab[1:]
	o.ns, o.numbers = ns, k.numbers[:n:n]
	k.numbers = k.numbers[n:]
	return o
}

// attachLeader makes a new process known under its numbers: as pid, tgid,
// group and session, as its parent's last child, with its first thread.
func (k *Kernel) attachLeader(p *process) {
	o := p.leader.pid
	o.process = p
	p.enterGroup()
	p.session.session++
	if p.parent != nil {
		p.parent.addChild(p)
	}
	p.addThread(p.leader)
}

// addThread appends t to the threads of p (signal->thread_head).
func (p *process) addThread(t *task) {
	t.proc, t.pid.task = p, t
	t.prevThread = p.last
	if p.last != nil {
		p.last.nextThread = t
	} else {
		p.first = t
	}
	p.last = t
	p.threads++
	p.alive++
}

func (p *process) removeThread(t *task) {
	if t.prevThread != nil {
		t.prevThread.nextThread = t.nextThread
	} else {
		p.first = t.nextThread
	}
	if t.nextThread != nil {
		t.nextThread.prevThread = t.prevThread
	} else {
		p.last = t.prevThread
	}
	t.prevThread, t.nextThread = nil, nil
	p.threads--
}

// addChild appends p to t's children: rule 17.
func (t *task) addChild(p *process) {
	p.prevSibling, p.nextSibling = t.lastChild, nil
	if t.lastChild != nil {
		t.lastChild.nextSibling = p
	} else {
		t.firstChild = p
	}
	t.lastChild = p
}

func (t *task) removeChild(p *process) {
	if p.prevSibling != nil {
		p.prevSibling.nextSibling = p.nextSibling
	} else {
		t.firstChild = p.nextSibling
	}
	if p.nextSibling != nil {
		p.nextSibling.prevSibling = p.prevSibling
	} else {
		t.lastChild = p.prevSibling
	}
	p.prevSibling, p.nextSibling = nil, nil
}

// reapable reports whether wait can collect p: its leader is a zombie and no
// other thread is left (delay_group_leader).
func (p *process) reapable() bool { return p.leader.state == zombie && p.threads == 1 }

// aliveThread is the first thread that adopts, or nil (find_alive_thread).
func (p *process) aliveThread() *task {
	if p.alive == 0 {
		return nil
	}
	for t := p.first; t != nil; t = t.nextThread {
		if !t.exiting {
			return t
		}
	}
	return nil
}

// forestState is the state of t as a forest records it.
func (t *task) forestState() forest.State {
	switch {
	case t.zapping:
		return forest.ExitingInit
	case t.state == zombie && t.proc.threads > 1:
		return forest.DeadLeader
	case t.state == zombie:
		return forest.Zombie
	case t.proc.stopped:
		return forest.Stopped
	}
	return forest.Running
}
