// SPDX-License-Identifier: Apache-2.0

package model

// Unshare makes a new, empty pid namespace for the actor's next children
// (NewPID), a new user namespace for itself (NewUser), or both: rules 5, 7
// and 9 (ksys_unshare).
func (k *Kernel) Unshare(actor TaskID, flags CloneFlags) Errno {
	cur, errno := k.actor(actor)
	if errno != 0 {
		return errno
	}
	if flags == 0 || flags&^(NewPID|NewUser) != 0 {
		return k.fail(EINVAL, "unshare makes pid and user namespaces only")
	}
	creds := cur.cred
	if flags&NewUser != 0 {
		if cur.proc.threads > 1 {
			return k.fail(EINVAL, "the process has several threads (rule 9)")
		}
		if errno := k.createUserNS(&creds); errno != 0 {
			return errno
		}
	}
	if flags&NewPID != 0 {
		if !creds.nsCapable(creds.user) {
			return k.fail(EPERM, "no capability to make a pid namespace")
		}
		ns, errno := k.createPidNamespace(cur, creds.user)
		if errno != 0 {
			return errno
		}
		cur.childNS = ns
	}
	k.commitCreds(cur, creds)
	return 0
}

// Setns lets the actor's next children be born in the active pid namespace of
// target, which may be the actor itself: rule 7 (setns(2) with a pidfd).
func (k *Kernel) Setns(actor, target TaskID) Errno {
	cur, errno := k.actor(actor)
	if errno != 0 {
		return errno
	}
	t := k.task(target)
	if t == nil || t.exiting {
		return k.fail(ESRCH, "task %d has ended and has no namespaces", target)
	}
	if !cur.mayAccess(t) {
		return k.fail(EPERM, "no right to look at task %d", target)
	}
	return k.pidnsInstall(cur, t.pid.ns)
}

// pidnsInstall is setns(2) with a descriptor of pid namespace ns, which may be
// dead: rule 7 (pidns_install).
func (k *Kernel) pidnsInstall(cur *task, ns *pidNS) Errno {
	if !cur.cred.nsCapable(ns.owner) || !cur.cred.nsCapable(cur.cred.user) {
		return k.fail(EPERM, "no capability in the namespace's owner (rule 9)")
	}
	if !cur.pid.ns.encloses(ns) {
		return k.fail(EINVAL, "the namespace is neither the actor's own nor below it (rule 7)")
	}
	cur.childNS = ns
	return 0
}

// mayAccess reports whether t may use a pidfd of other for setns
// (validate_nsset, ptrace_may_access). other's memory is taken to be dumpable.
func (t *task) mayAccess(other *task) bool {
	c, o := &t.cred, &other.cred
	switch {
	case t.proc == other.proc || c.nsCapable(o.user):
		return true
	case c.uid != o.uid || c.uid != o.euid || c.uid != o.other.SUID:
		return false
	case c.gid != o.gid || c.gid != o.egid || c.gid != o.other.SGID:
		return false
	}
	return c.user == o.user && (c.permitted || !o.permitted) // cap_ptrace_access_check
}

// SetnsUser lets the actor enter the user namespace of target: rule 9 (setns(2)
// with a pidfd).
func (k *Kernel) SetnsUser(actor, target TaskID) Errno {
	cur, errno := k.actor(actor)
	if errno != 0 {
		return errno
	}
	t := k.task(target)
	if t == nil || t.exiting {
		return k.fail(ESRCH, "task %d has ended and has no namespaces", target)
	}
	if !cur.mayAccess(t) {
		return k.fail(EPERM, "no right to look at task %d", target)
	}
	return k.usernsInstall(cur, t.cred.user)
}

// usernsInstall is setns(2) with a descriptor of user namespace u: rule 9
// (userns_install).
func (k *Kernel) usernsInstall(cur *task, u *userNS) Errno {
	switch {
	case u == cur.cred.user:
		return k.fail(EINVAL, "it is in that user namespace already")
	case cur.proc.threads > 1:
		return k.fail(EINVAL, "the process has several threads (rule 9)")
	case !cur.cred.nsCapable(u):
		return k.fail(EPERM, "no capability in that user namespace (rule 9)")
	}
	creds := cur.cred
	creds.user, creds.caps, creds.permitted = u, true, true
	k.commitCreds(cur, creds)
	return 0
}

// SetSubreaper sets PR_SET_CHILD_SUBREAPER of the actor's process: rule 16.
func (k *Kernel) SetSubreaper(actor TaskID, on bool) Errno {
	cur, errno := k.actor(actor)
	if errno == 0 {
		cur.proc.setSubreaper(on)
	}
	return errno
}

func (p *process) setSubreaper(on bool) {
	if p.subreaper == on {
		return
	}
	p.subreaper = on
	if on {
		p.leader.pid.ns.subreapers++
	} else {
		p.leader.pid.ns.subreapers--
	}
}

// SetPdeath sets PR_SET_PDEATHSIG of the actor: rule 18.
func (k *Kernel) SetPdeath(actor TaskID, sig int32) Errno {
	cur, errno := k.actor(actor)
	if errno != 0 {
		return errno
	}
	if sig < 0 || sig > 64 {
		return k.fail(EINVAL, "signal %d", sig)
	}
	cur.pdeath = sig
	return 0
}

// SetComm sets PR_SET_NAME of the actor.
func (k *Kernel) SetComm(actor TaskID, name string) Errno {
	cur, errno := k.actor(actor)
	if errno == 0 {
		cur.comm = name[:min(len(name), 15)]
	}
	return errno
}

// Ignore sets the disposition of sig to SIG_IGN or back to SIG_DFL for the
// actor's process, and for what it forks; a pending one is dropped. A process
// that ignores SIGCHLD has its children reaped: rule 15 (sigaction(2)).
func (k *Kernel) Ignore(actor TaskID, sig int32, on bool) Errno {
	cur, errno := k.actor(actor)
	if errno != 0 {
		return errno
	}
	if sig < 1 || sig > 64 || sig == sigKill || sig == sigStop {
		return k.fail(EINVAL, "signal %d cannot be ignored", sig)
	}
	cur.proc.ignored &^= bit(sig)
	if on {
		cur.proc.ignored |= bit(sig)
		cur.proc.pending &^= bit(sig)
	}
	return 0
}

// SetNoChildWait sets SA_NOCLDWAIT for SIGCHLD of the actor's process: rule 15.
func (k *Kernel) SetNoChildWait(actor TaskID, on bool) Errno {
	cur, errno := k.actor(actor)
	if errno == 0 {
		cur.proc.noChildWait = on
	}
	return errno
}

// SetBlocked blocks or unblocks every signal for the actor's process, and for
// what it forks. Unblocking delivers what is pending: rule 23a.
func (k *Kernel) SetBlocked(actor TaskID, blocked bool) Errno {
	cur, errno := k.actor(actor)
	if errno == 0 {
		cur.proc.blocked = blocked
		k.takePending(cur.proc)
		k.settle()
	}
	return errno
}
