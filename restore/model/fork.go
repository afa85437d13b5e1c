// SPDX-License-Identifier: Apache-2.0

package model

import (
	"slices"

	"github.com/pidgraft/pidgraft/forest"
)

// CloneFlags say what a Clone shares and unshares.
type CloneFlags uint8

const (
	NewPID  CloneFlags = 1 << iota // CLONE_NEWPID
	NewUser                        // CLONE_NEWUSER
	Parent                         // CLONE_PARENT
	Thread                         // CLONE_THREAD (with CLONE_SIGHAND and CLONE_VM)
)

// CloneArgs are the arguments of clone3.
type CloneArgs struct {
	Flags      CloneFlags
	SetTID     []int32 // innermost level first
	ExitSignal int32
	// FailLate makes the call fail with EAGAIN after numbers were given
	// out, as a cgroup's limit does.
	FailLate bool
}

// Clone makes a task: rules 1, 2, 7, 9, 14 and 15 (clone3, copy_process).
func (k *Kernel) Clone(actor TaskID, a CloneArgs) (TaskID, Errno) {
	cur, errno := k.actor(actor)
	if errno != 0 {
		return 0, errno
	}
	if errno := k.cloneArgsValid(cur, a); errno != 0 {
		return 0, errno
	}
	creds, ns := cur.cred, cur.childNS
	if a.Flags&NewUser != 0 {
		if errno := k.createUserNS(&creds); errno != 0 {
			return 0, errno
		}
	}
	if a.Flags&NewPID != 0 {
		if !creds.nsCapable(creds.user) {
			return 0, k.fail(EPERM, "no capability to make a pid namespace")
		}
		if ns, errno = k.createPidNamespace(cur, creds.user); errno != 0 {
			return 0, errno
		}
	}
	object, errno := k.allocPid(cur, ns, a.SetTID)
	if errno != 0 {
		return 0, errno
	}
	if a.FailLate {
		k.freePid(object)
		k.settle()
		return 0, k.fail(EAGAIN, "the clone failed late")
	}
	t := k.copyProcess(cur, a, object)
	t.cred, t.childNS = creds, ns
	return t.id, 0
}

// cloneArgsValid makes the checks that come before anything is made
// (clone3_args_valid and the head of copy_process).
func (k *Kernel) cloneArgsValid(cur *task, a CloneArgs) Errno {
	switch {
	case len(a.SetTID) > maxPidNSLevel:
		return k.fail(EINVAL, "%d numbers, at most %d can be named (rule 2)", len(a.SetTID), maxPidNSLevel)
	case a.ExitSignal < 0 || a.ExitSignal > 64:
		return k.fail(EINVAL, "exit_signal %d is not in 0…64 (rule 15)", a.ExitSignal)
	case a.Flags&(Parent|Thread) != 0 && a.ExitSignal != 0:
		return k.fail(EINVAL, "an exit_signal with CLONE_PARENT or CLONE_THREAD (rule 14)")
	case a.Flags&Parent != 0 && cur.proc.unkillable:
		return k.fail(EINVAL, "CLONE_PARENT by a namespace's init (rule 14)")
	case a.Flags&Thread != 0 && a.Flags&(NewPID|NewUser) != 0:
		return k.fail(EINVAL, "a thread in a new namespace")
	case a.Flags&Thread != 0 && cur.pid.ns != cur.childNS:
		return k.fail(EINVAL, "a thread while pid_ns_for_children differs from the own namespace (rule 7)")
	}
	return 0
}

// copyProcess makes the task that object is for. It cannot fail.
func (k *Kernel) copyProcess(cur *task, a CloneArgs, object *pid) *task {
	t := k.newTask()
	t.pid, t.bornPid, object.born = object, object, t.id
	t.comm, t.execID = cur.comm, cur.execID
	if a.Flags&Thread != 0 {
		cur.proc.addThread(t)
		return t
	}
	p := k.newProcess(t)
	p.parent, p.exitSignal, p.parentExecID = cur, a.ExitSignal, cur.execID
	if a.Flags&Parent != 0 {
		p.parent, p.exitSignal, p.parentExecID = cur.proc.parent, cur.proc.exitSignal, cur.proc.parentExecID
	}
	p.pgrp, p.session = cur.proc.pgrp, cur.proc.session
	p.ignored, p.noChildWait, p.blocked = cur.proc.ignored, cur.proc.noChildWait, cur.proc.blocked
	if object.ns.childReaper == nil { // is_child_reaper: number 1
		object.ns.childReaper = t
		p.unkillable = true
	}
	k.attachLeader(p)
	return t
}

// Fork is Clone without flags, names or an unusual exit signal.
func (k *Kernel) Fork(actor TaskID) (TaskID, Errno) {
	return k.Clone(actor, CloneArgs{ExitSignal: forest.SIGCHLD})
}

// Exec runs a program: rules 11, 12 and 15 (begin_new_exec, de_thread). All
// other threads end; if the actor was not the leader it takes the leader's
// pid object and place, and its own is freed.
func (k *Kernel) Exec(actor TaskID) Errno {
	cur, errno := k.actor(actor)
	if errno != 0 {
		return errno
	}
	p := cur.proc
	k.endThreads(p, cur, 0)
	if old := p.leader; old != cur {
		k.takeLeadership(p, old, cur)
	}
	p.exitSignal = forest.SIGCHLD
	p.noChildWait = false
	cur.noExec = false
	cur.execID++
	k.execCreds(cur)
	k.settle()
	return 0
}

// execCreds has root's capabilities come back or go with what uid 0 is in the
// user namespace: none before its map is written (cap_bprm_creds_from_file,
// bprm_caps_from_vfs_caps). A program with more than the real uid's own rights
// loses pdeath_signal (begin_new_exec, secureexec).
func (k *Kernel) execCreds(cur *task) {
	c := cur.cred
	c.other = forest.OtherIDs{SUID: c.euid, FSUID: c.euid, SGID: c.egid, FSGID: c.egid}
	root, ok := c.user.toKernel(0, (*userNS).uids)
	c.caps = ok && c.euid == root
	c.permitted = c.caps || ok && c.uid == root
	if c.uid != c.euid || c.gid != c.egid || c.caps && c.uid != root {
		cur.pdeath = 0
	}
	k.commitCreds(cur, c)
}

// takeLeadership is the part of de_thread for a thread that is not the
// leader: the two exchange pid objects, and the old leader is released.
func (k *Kernel) takeLeadership(p *process, old, cur *task) {
	old.pid, cur.pid = cur.pid, old.pid // exchange_tids
	old.pid.task, cur.pid.task = old, cur
	cur.start = old.start
	p.leader = cur
	k.releaseTask(old)
}

// endKillsChild reports whether the end of t sends a child of it a signal (rule 18).
func (t *task) endKillsChild() bool {
	for p := t.firstChild; p != nil; p = p.nextSibling {
		for c := p.first; c != nil; c = c.nextThread {
			if c.pdeath != 0 {
				return true
			}
		}
	}
	return false
}

// endThreads ends every live thread of p but keep, which may be nil. The
// kernel leaves the order to the scheduler; here keep's siblings go in thread
// order: rule 23a.
func (k *Kernel) endThreads(p *process, keep *task, code int32) {
	if p.alive == 1 && keep == nil && p.first.nextThread == nil {
		k.doExit(p.first, code)
		return
	}
	var victims []*task
	parents := 0
	for t := p.first; t != nil; t = t.nextThread {
		if t != keep && !t.exiting {
			victims = append(victims, t)
			if t.firstChild != nil {
				parents++
			}
		}
	}
	// An exec resets SA_NOCLDWAIT only when the other threads have ended, and a
	// child may need longer for its end than that (flush_signal_handlers).
	if keep != nil && p.noChildWait && slices.ContainsFunc(victims, (*task).endKillsChild) {
		k.race("process %s executes a program; does a child that is killed by the end of a thread still find that nobody waits for it?", p.leader.pid)
	}
	if parents > 1 {
		k.race("the threads of process %s end together and hand on children (rule 23a)", p.leader.pid)
	}
	if p.unkillable && keep == nil && len(victims) > 1 {
		k.race("the threads of init %s end together; which one waits for its namespace?", p.leader.pid)
	}
	for _, t := range victims {
		if t.state == live && !t.exiting {
			k.doExit(t, code)
		}
	}
}
