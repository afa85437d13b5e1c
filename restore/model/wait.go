// SPDX-License-Identifier: Apache-2.0

package model

// child is the process of target if it is a child of the actor's.
func (k *Kernel) child(actor, target TaskID) (*process, Errno) {
	cur, errno := k.actor(actor)
	if errno != 0 {
		return nil, errno
	}
	t := k.task(target)
	if t == nil || t.state == released || t.proc.leader != t || t.proc.parent == nil || t.proc.parent.proc != cur.proc {
		return nil, k.fail(ECHILD, "task %d is no child of task %d", target, actor)
	}
	return t.proc, 0
}

// Wait collects target, a child of any thread of the actor's process, and
// returns its wait status (wait4 with __WALL): rules 12 and 19. EAGAIN: it
// would block.
func (k *Kernel) Wait(actor, target TaskID) (int32, Errno) {
	p, errno := k.child(actor, target)
	if errno != 0 {
		return 0, errno
	}
	if !p.reapable() {
		return 0, k.fail(EAGAIN, "task %d has not ended", target)
	}
	status := p.waitStatus()
	k.releaseTask(p.leader)
	k.settle()
	return status, 0
}

// Peek is Wait without collecting (waitid with WNOWAIT and __WALL).
func (k *Kernel) Peek(actor, target TaskID) (int32, Errno) {
	p, errno := k.child(actor, target)
	if errno != 0 {
		return 0, errno
	}
	if !p.reapable() {
		return 0, k.fail(EAGAIN, "task %d has not ended", target)
	}
	return p.waitStatus(), 0
}

// WaitStopped has the stop of target reported (wait4 with WUNTRACED), which
// happens once: rule 22. It returns the stop signal.
func (k *Kernel) WaitStopped(actor, target TaskID) (int32, Errno) {
	p, errno := k.child(actor, target)
	if errno != 0 {
		return 0, errno
	}
	if !p.stopped || p.stopReported {
		return 0, k.fail(EAGAIN, "task %d is not newly stopped", target)
	}
	p.stopReported = true
	return p.stopSignal, 0
}

// waitStatus is what wait reports: rule 19 (wait_task_zombie).
func (p *process) waitStatus() int32 {
	if p.groupExit {
		return p.groupExitCode
	}
	return p.leader.exitCode
}
