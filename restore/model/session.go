// SPDX-License-Identifier: Apache-2.0

package model

// Setsid founds a session and a group led by the actor's process: rule 10
// (ksys_setsid).
func (k *Kernel) Setsid(actor TaskID) Errno {
	cur, errno := k.actor(actor)
	if errno != 0 {
		return errno
	}
	p := cur.proc
	o := p.leader.pid
	if p.sessionLeader {
		return k.fail(EPERM, "it leads a session already (rule 10)")
	}
	if o.group != nil {
		return k.fail(EPERM, "group %s has a member, %s (rule 10)", o, o.group.leader.pid)
	}
	p.sessionLeader = true
	k.changeSession(p, o)
	k.changeGroup(p, o)
	k.settle()
	return 0
}

// Setpgid puts the process with the number pid (0: the actor's) into the group
// with the number pgid (0: its own), both as the actor's namespace calls them:
// rule 11 (setpgid(2)).
func (k *Kernel) Setpgid(actor TaskID, nr, pgid int32) Errno {
	cur, errno := k.actor(actor)
	if errno != 0 {
		return errno
	}
	ns, own := cur.pid.ns, cur.proc
	if nr == 0 {
		nr = own.leader.pid.numberIn(ns)
	}
	if pgid == 0 {
		pgid = nr
	}
	if pgid < 0 {
		return k.fail(EINVAL, "group %d", pgid)
	}
	p, errno := k.setpgidTarget(own, ns, nr)
	if errno != 0 {
		return errno
	}
	o := p.leader.pid
	if pgid != nr {
		if o = ns.numbers[pgid]; o == nil || o.group == nil {
			return k.fail(EPERM, "group %d has no member (rule 11)", pgid)
		}
		if o.group.session != own.session {
			return k.fail(EPERM, "group %d is in another session (rule 11)", pgid)
		}
	}
	k.changeGroup(p, o)
	k.settle()
	return 0
}

// setpgidTarget is the process that own may put into a group and whose number
// is nr in ns.
func (k *Kernel) setpgidTarget(own *process, ns *pidNS, nr int32) (*process, Errno) {
	o := ns.numbers[nr]
	if o == nil || o.task == nil {
		return nil, k.fail(ESRCH, "no task has number %d", nr)
	}
	t := o.task
	p := t.proc
	if t != p.leader {
		return nil, k.fail(EINVAL, "number %d is that of a thread (rule 11)", nr)
	}
	switch {
	case p.parent != nil && p.parent.proc == own:
		if p.session != own.session {
			return nil, k.fail(EPERM, "the child is in another session (rule 11)")
		}
		if !t.noExec {
			return nil, k.fail(EACCES, "the child has run a program (rule 11)")
		}
	case p != own:
		return nil, k.fail(ESRCH, "number %d is neither the caller nor a child of it (rule 11)", nr)
	}
	if p.sessionLeader {
		return nil, k.fail(EPERM, "number %d leads a session (rule 11)", nr)
	}
	return p, 0
}

// PinsForEver reports whether putting process target into the group that
// object born with leader leads would make a namespace that can never end:
// an init would keep a number alive that its own exit, directly or through
// other inits, waits for (rule 23). Neither a plan nor a test may do that.
func (k *Kernel) PinsForEver(target, leader TaskID) bool {
	t, l := k.task(target), k.task(leader)
	if t == nil || l == nil {
		return false
	}
	return t.proc.pins(l.bornPid)
}

// pins reports whether p must not be in group o: rule 23. The end of a
// namespace waits for that of all below it, and for every init that is in a
// group led from it or from below; p's namespace must not, that way, come to
// wait for itself.
func (p *process) pins(o *pid) bool {
	if !p.unkillable || o == p.leader.pid {
		return false
	}
	own := p.leader.pid.ns
	seen := map[*pidNS]bool{}
	var waits func(*pidNS) bool // whether the end of own waits for that of ns
	waits = func(ns *pidNS) bool {
		for n := ns; n != nil; n = n.parent {
			if n == own {
				return true
			}
		}
		if seen[ns] {
			return false
		}
		seen[ns] = true
		// ns's end is waited for by the namespaces of the group its init
		// is in, and likewise for all above it.
		for n := ns; n != nil && n.parent != nil; n = n.parent {
			if r := n.childReaper; r != nil && r.proc.pgrp != nil && waits(r.proc.pgrp.ns) {
				return true
			}
		}
		return false
	}
	return waits(o.ns)
}
