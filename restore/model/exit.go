// SPDX-License-Identifier: Apache-2.0

package model

import "github.com/pidgraft/pidgraft/forest"

// ExitThread ends the calling thread with the low eight bits of code
// (exit(2)): rules 12, 13 and 19.
func (k *Kernel) ExitThread(actor TaskID, code int32) Errno {
	cur, errno := k.actor(actor)
	if errno != 0 {
		return errno
	}
	k.doExit(cur, code&0xff<<8)
	k.settle()
	return 0
}

// ExitGroup ends the process with the low eight bits of code (exit_group(2)).
func (k *Kernel) ExitGroup(actor TaskID, code int32) Errno {
	cur, errno := k.actor(actor)
	if errno != 0 {
		return errno
	}
	k.doGroupExit(cur.proc, code&0xff<<8)
	k.settle()
	return 0
}

// Die has the actor's process killed by sig, sent to itself: by default
// action, as a real fault if it is an init, or for an init and SIGHUP or
// SIGINT by reboot(2): rule 20.
func (k *Kernel) Die(actor TaskID, sig int32) Errno {
	cur, errno := k.actor(actor)
	if errno != 0 {
		return errno
	}
	p := cur.proc
	switch {
	case sig < 1 || sig > 64 || bit(sig)&(stopSignals|ignoredSignals) != 0:
		return k.fail(EINVAL, "signal %d does not kill", sig)
	case p.unkillable && (sig == sigHup || sig == sigInt):
		if !cur.cred.nsCapable(cur.pid.ns.owner) {
			return k.fail(EPERM, "no capability in the namespace's owner")
		}
		k.rebootPidNS(cur, sig)
	case p.unkillable && bit(sig)&faults == 0:
		return k.fail(EPERM, "an init ignores signal %d from itself (rule 20)", sig)
	default:
		k.doGroupExit(p, sig)
	}
	k.settle()
	return 0
}

// rebootPidNS ends an init by reboot(2): the rest of it is killed, the caller
// exits with 0, and what wait reports is sig (reboot_pid_ns).
func (k *Kernel) rebootPidNS(cur *task, sig int32) {
	p := cur.proc
	cur.pid.ns.reboot = sig
	p.groupExit, p.groupExitCode = true, sigKill
	if p.alive > 1 {
		k.race("the threads of init %s end together; which one waits for its namespace?", p.leader.pid)
	}
	k.endThreads(p, cur, sigKill)
	k.doExit(cur, 0)
}

// doGroupExit ends all threads of p with the wait status code (do_group_exit).
func (k *Kernel) doGroupExit(p *process, code int32) {
	if !p.groupExit {
		p.groupExit, p.groupExitCode = true, code
	}
	p.setStopped(false, 0)
	k.endThreads(p, nil, p.groupExitCode)
}

// doExit ends one thread (do_exit). The init of a namespace first waits until
// nothing else is left there; exitNotify then runs later, from zapDone.
func (k *Kernel) doExit(t *task, code int32) {
	p := t.proc
	t.exiting = true
	p.alive--
	// synchronize_group_exit; before it, the leader's own status counts
	// (rule 19).
	if p.alive == 0 && !p.groupExit && k.version >= vGroupExit {
		p.groupExit, p.groupExitCode = true, code
		p.setStopped(false, 0)
	}
	t.exitCode, t.childNS = code, nil
	reaper := k.findChildReaper(t)
	if reaper == nil {
		k.zapPidNSProcesses(t)
		return
	}
	k.exitNotify(t, reaper)
}

// findChildReaper is the reaper of the namespace of father, a dying thread; if
// father was it, the next live thread of the init. nil: none is left, the
// namespace ends (find_child_reaper).
func (k *Kernel) findChildReaper(father *task) *task {
	ns := father.pid.ns
	if ns.childReaper != father {
		return ns.childReaper
	}
	if next := father.proc.aliveThread(); next != nil {
		ns.childReaper = next
		return next
	}
	return nil
}

// exitNotify hands the children of a dying thread on, tells its parent, and
// releases it if nobody will wait for it (exit_notify).
func (k *Kernel) exitNotify(t, reaper *task) {
	if t.firstChild != nil {
		k.forgetOriginalParent(t, k.findNewReaper(t, reaper))
	}
	p := t.proc
	if p.alive == 0 {
		k.killOrphanedPgrp(p, nil)
	}
	t.state = zombie
	if t != p.leader || p.threads == 1 && k.doNotifyParent(p) {
		k.releaseTask(t)
	}
}

// findNewReaper is who adopts the children of a dying thread: rule 13
// (find_new_reaper). The kernel looks for subreapers only if
// has_child_subreaper says that there is one above; as that flag goes down
// with births and with PR_SET_CHILD_SUBREAPER, and adoption only moves a task
// up among its ancestors or to its namespace's init, leaving it out changes
// nothing but time: rule 16.
func (k *Kernel) findNewReaper(father, childReaper *task) *task {
	if thread := father.proc.aliveThread(); thread != nil {
		return thread
	}
	ns := father.pid.ns
	if ns.subreapers == 0 {
		return childReaper
	}
	for t := father.proc.parent; t != nil && t.pid.ns.level == ns.level; t = t.proc.parent {
		if !t.proc.subreaper {
			continue
		}
		if thread := t.proc.aliveThread(); thread != nil {
			return thread
		}
	}
	return childReaper
}

// sendPdeath sends p what its threads are to get at the end of father. All of it is
// there before p runs: what ends p does so though a stop came first, and SIGCONT
// undoes that stop.
func (k *Kernel) sendPdeath(father *task, p *process) {
	var stops []pendingSignal
	for t := p.first; t != nil; t = t.nextThread {
		// As if father sent it, with its rights: SEND_SIG_NOINFO.
		if t.pdeath == 0 || !father.mayKill(t, t.pdeath) {
			continue
		}
		s := pendingSignal{p, t.pdeath, father.pid.numberIn(t.pid.ns) == 0}
		switch {
		case bit(s.sig)&stopSignals != 0:
			stops = append(stops, s)
			continue
		case s.sig == sigCont:
			stops = nil
		}
		k.signals.push(s)
	}
	for _, s := range stops {
		k.signals.push(s)
	}
}

// forgetOriginalParent gives the children of father, in their order, to
// reaper: rules 13, 15, 17 and 18 (forget_original_parent).
func (k *Kernel) forgetOriginalParent(father, reaper *task) {
	if reaper.proc != father.proc {
		k.noteAdoption(father.proc, reaper)
	}
	var dead []*process
	for p := father.firstChild; p != nil; p = p.nextSibling {
		p.parent = reaper
		k.sendPdeath(father, p)
		if reaper.proc != father.proc && k.reparentLeader(father, p) {
			dead = append(dead, p)
		}
	}
	reaper.spliceChildren(father)
	for _, p := range dead {
		k.releaseTask(p.leader)
	}
}

// reparentLeader does what an adoption into another process changes, and
// reports whether the adopted is to be released at once (reparent_leader).
func (k *Kernel) reparentLeader(father *task, p *process) bool {
	p.exitSignal = forest.SIGCHLD
	dead := p.reapable() && k.doNotifyParent(p)
	k.killOrphanedPgrp(p, father)
	return dead
}

// spliceChildren appends all children of from (list_splice_tail_init).
func (t *task) spliceChildren(from *task) {
	if t == from || from.firstChild == nil {
		return
	}
	from.firstChild.prevSibling = t.lastChild
	if t.lastChild != nil {
		t.lastChild.nextSibling = from.firstChild
	} else {
		t.firstChild = from.firstChild
	}
	t.lastChild = from.lastChild
	from.firstChild, from.lastChild = nil, nil
}

// noteAdoption remembers a race: two processes that end in one call hand
// children to the same reaper.
func (k *Kernel) noteAdoption(from *process, reaper *task) {
	if reaper.adopted == k.epoch && reaper.adoptedFrom != from {
		k.race("process %s and another end together and hand children to %s", from.leader.pid, reaper.pid)
	}
	reaper.adopted, reaper.adoptedFrom = k.epoch, from
}

// doNotifyParent tells the parent of p's end and reports whether p is to be
// released without a wait: rule 15 (do_notify_parent).
func (k *Kernel) doNotifyParent(p *process) bool {
	defer k.ended(p)
	parent := p.parent
	if parent == nil {
		return false
	}
	if parent.zapping {
		return true // its kernel_wait4 loop, or its SIG_IGN for SIGCHLD
	}
	sig := p.exitSignal
	if sig != forest.SIGCHLD && parent.execID != p.parentExecID {
		sig = forest.SIGCHLD // the parent ran another program since
	}
	autoreap := sig == forest.SIGCHLD && (parent.proc.ignored&bit(sigChld) != 0 || parent.proc.noChildWait)
	if sig != 0 {
		k.groupSendSig(parent.proc, sig, false)
	}
	return autoreap
}

func (k *Kernel) ended(p *process) {
	if k.onEnd != nil {
		k.onEnd(p)
	}
}

// releaseTask takes a dead task out of every list; its pid objects go when
// nothing else uses them. The last thread of a dead leader makes the leader a
// zombie that can be waited for: rule 12 (release_task, __unhash_process).
func (k *Kernel) releaseTask(t *task) {
	p := t.proc
	t.state = released
	p.removeThread(t)
	t.pid.task = nil
	if t == p.leader {
		k.unhashProcess(p)
		return
	}
	k.putPid(t.pid)
	if p.leader.state != zombie || p.threads > 1 {
		return
	}
	if p.groupExit && k.version >= vGroupExit { // wait reports the same
		p.leader.exitCode = p.groupExitCode
	}
	if k.doNotifyParent(p) {
		k.releaseTask(p.leader)
	}
}

// unhashProcess ends the last uses of a process's pid objects.
func (k *Kernel) unhashProcess(p *process) {
	p.parent.removeChild(p)
	own, pgrp, session := p.leader.pid, p.pgrp, p.session
	own.process = nil
	p.setSubreaper(false)
	p.leaveGroup()
	session.session--
	k.putPid(own)
	if pgrp != own {
		k.putPid(pgrp)
	}
	if session != own && session != pgrp {
		k.putPid(session)
	}
	k.ended(p)
}
