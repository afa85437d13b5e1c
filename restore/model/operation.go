// SPDX-License-Identifier: Apache-2.0

package model

import (
	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore/plan"
)

// do makes one operation of a plan.
func (e *executor) do(a int32, s *actor, op *plan.Op) Errno {
	k := e.k
	switch op.Code {
	case plan.Clone:
		return e.clone(s.task, op)
	case plan.Setsid:
		return k.Setsid(s.task)
	case plan.Setpgid:
		return e.setpgid(s.task, op)
	case plan.Subreaper:
		return k.SetSubreaper(s.task, op.Number != 0)
	case plan.Reap, plan.Await:
		return e.wait(s.task, op)
	case plan.JoinPID, plan.JoinUser:
		return e.join(a, s.task, op)
	case plan.Keep:
		return e.keep(a, s.task)
	case plan.Spoil:
		return e.spoil(s.task, op)
	case plan.UnsharePID:
		return k.Unshare(s.task, NewPID)
	case plan.UnshareUser:
		return e.asOwner(s.task, op, func() Errno { return k.Unshare(s.task, NewUser) })
	case plan.WriteMaps:
		return e.writeMaps(a, op)
	case plan.Comm:
		return k.SetComm(s.task, op.Text)
	case plan.SetIDs:
		ids := IDs{UID: op.UID, EUID: op.EUID, GID: op.GID, EGID: op.EGID, Other: op.Other}
		if op.Number == 1 {
			return k.SetIDsKeepCaps(s.task, ids)
		}
		return k.SetIDs(s.task, ids)
	case plan.Ignore:
		return k.Ignore(s.task, op.Signal, op.Number != 0)
	case plan.Pdeath:
		return k.SetPdeath(s.task, op.Signal)
	case plan.Cursor:
		return k.SetLastPid(s.task, op.Number)
	case plan.PidMax:
		return k.SetPidMax(s.task, op.Number)
	case plan.ExitThread:
		if op.Number&^0xff00 != 0 {
			return k.fail(EINVAL, "status %#x is not one of exit(2)", op.Number)
		}
		return k.ExitThread(s.task, op.Number>>8)
	case plan.ExitGroup:
		return k.ExitGroup(s.task, op.Number)
	case plan.Die:
		return k.Die(s.task, op.Signal)
	case plan.Kill:
		if a == plan.Restorer {
			if !e.actors[op.Child].pidfd {
				return k.fail(EINVAL, "%s has no pidfd", e.name(op.Child))
			}
		} else if errno := e.sees(s.task, op); errno != 0 {
			return errno
		}
		errno := k.Kill(s.task, e.actors[op.Child].task, op.Signal)
		e.wakeStopped()
		return errno
	case plan.Stop:
		return e.stop(s.task, op)
	case plan.Exec:
		return k.Exec(s.task)
	case plan.Undumpable, plan.Nop, plan.Hold, plan.Perish, plan.Serve, plan.Stay, plan.End:
		_, errno := k.actor(s.task)
		return errno
	}
	return k.fail(EINVAL, "the model does not know this operation")
}

// spoil makes a first birth in an empty namespace fail, and more of them.
func (e *executor) spoil(id TaskID, op *plan.Op) Errno {
	want := EAGAIN
	for range op.Number {
		if _, errno := e.k.Clone(id, CloneArgs{SetTID: op.Numbers, ExitSignal: sigChld, FailLate: true}); errno != want {
			return max(errno, EPERM)
		}
		want = ENOMEM
	}
	return 0
}

// stop stops a child. One that holds takes signals by then.
func (e *executor) stop(id TaskID, op *plan.Op) Errno {
	if errno := e.sees(id, op); errno != 0 && id != Outsider {
		return errno
	}
	child := e.actors[op.Child].task
	target := e.k.task(child).proc
	if e.holds(target) {
		target.blocked = false
		e.k.takePending(target)
		e.k.settle()
	}
	if op.Signal != 0 {
		if errno := e.k.Kill(id, child, op.Signal); errno != 0 {
			return errno
		}
	}
	if !target.stopped {
		return e.k.fail(EINVAL, "signal %d does not stop %s: its group is orphaned (rule 22)", op.Signal, e.name(op.Child))
	}
	if op.Number == 0 {
		return 0
	}
	_, errno := e.k.WaitStopped(id, child)
	return errno
}

// holds reports whether all threads of p are done with their programs.
func (e *executor) holds(p *process) bool {
	for t := p.first; t != nil; t = t.nextThread {
		a := e.actorOf[t.id] - 1
		if int(e.actors[a].next) < len(e.p.Actors[a].Ops) {
			return false
		}
	}
	return true
}

func cloneFlags(f plan.CloneFlags) CloneFlags {
	var out CloneFlags
	for _, x := range [...]struct {
		in  plan.CloneFlags
		out CloneFlags
	}{{plan.NewPID, NewPID}, {plan.NewUser, NewUser}, {plan.Parent, Parent}, {plan.Thread, Thread}} {
		if f&x.in != 0 {
			out |= x.out
		}
	}
	return out
}

func (e *executor) clone(id TaskID, op *plan.Op) Errno {
	if op.Child < 0 || e.actors[op.Child].task != 0 {
		return e.k.fail(EINVAL, "%s was born before", e.name(op.Child))
	}
	args := CloneArgs{Flags: cloneFlags(op.Flags), SetTID: op.Numbers, ExitSignal: op.Signal}
	if args.Flags&(Parent|Thread) != 0 {
		args.ExitSignal = 0
	}
	var child TaskID
	errno := e.asOwner(id, op, func() (errno Errno) {
		child, errno = e.k.Clone(id, args)
		return errno
	})
	if errno == 0 {
		e.actors[op.Child].pidfd = op.Flags&plan.Pidfd != 0
		e.born(op.Child, child)
	}
	return errno
}

// asOwner makes a call that makes a user namespace with the effective ids that
// are to own it. A task inside it keeps them until it sets its own.
func (e *executor) asOwner(id TaskID, op *plan.Op, call func() Errno) Errno {
	t := e.k.task(id)
	if op.Code == plan.Clone && op.Flags&plan.NewUser == 0 || t == nil {
		return call()
	}
	c := &t.cred
	uid, ok := c.user.toKernel(op.UID, (*userNS).uids)
	gid, ok2 := c.user.toKernel(op.GID, (*userNS).gids)
	if !ok || !ok2 {
		return e.k.fail(EINVAL, "uid %d or gid %d is not mapped in the actor's user namespace", op.UID, op.GID)
	}
	euid, egid := c.euid, c.egid
	if euid == uid && egid == gid {
		return call()
	}
	take := func(uid, gid uint32) { // the others with them, for good (stub/src/ids.c)
		c.euid, c.egid = uid, gid
		c.other = forest.OtherIDs{SUID: uid, FSUID: uid, SGID: gid, FSGID: gid}
	}
	take(uid, gid)
	errno := call()
	if op.Code == plan.Clone {
		take(euid, egid)
	}
	return errno
}

// sees checks that the plan knows what the actor calls op.Child: as op.Pid.
func (e *executor) sees(id TaskID, op *plan.Op) Errno {
	cur, errno := e.k.actor(id)
	if errno != 0 {
		return errno
	}
	child := e.k.task(e.actors[op.Child].task)
	if child == nil {
		return e.k.fail(ESRCH, "%s is not born", e.name(op.Child))
	}
	if nr := child.bornPid.numberIn(cur.pid.ns); nr != op.Pid && (op.Pid != 0 || nr == 0) {
		return e.k.fail(ESRCH, "the actor sees %s as %d, not %d", e.name(op.Child), nr, op.Pid)
	}
	return 0
}

func (e *executor) setpgid(id TaskID, op *plan.Op) Errno {
	cur, errno := e.k.actor(id)
	if errno != 0 {
		return errno
	}
	target := cur.proc
	if op.Child >= 0 {
		if errno := e.sees(id, op); errno != 0 {
			return errno
		}
		target = e.k.task(e.actors[op.Child].task).proc
	} else if op.Pid != 0 {
		return e.k.fail(EINVAL, "number %d without an actor", op.Pid)
	}
	if o := cur.pid.ns.numbers[op.Number]; o != nil && target.pins(o) {
		return e.k.fail(EINVAL, "init %s in group %s would never be able to end (rule 23)", target.leader.pid, o)
	}
	return e.k.Setpgid(id, op.Pid, op.Number)
}

func (e *executor) wait(id TaskID, op *plan.Op) Errno {
	if errno := e.sees(id, op); errno != 0 {
		return errno
	}
	call := e.k.Wait
	if op.Code == plan.Await {
		call = e.k.Peek
	}
	_, errno := call(id, e.actors[op.Child].task)
	return errno
}

func (e *executor) join(a int32, id TaskID, op *plan.Op) Errno {
	if op.Via < 0 {
		return e.k.fail(EINVAL, "it joins nobody")
	}
	via := &e.actors[op.Via]
	if via.user != nil { // it kept descriptors
		cur, errno := e.k.actor(id)
		if errno != 0 {
			return errno
		}
		if op.Code == plan.JoinUser {
			return e.k.usernsInstall(cur, via.user)
		}
		return e.k.pidnsInstall(cur, via.ns)
	}
	if op.Via != a && (via.task == 0 || !via.pidfd) {
		return e.k.fail(ESRCH, "there is no pidfd of %s", e.name(op.Via))
	}
	// All share one memory, made outside, which is not dumpable: rule 26.
	if cur := e.k.task(id); op.Via != a && !cur.cred.nsCapable(e.k.hostUser) {
		return e.k.fail(EPERM, "from inside a nested user namespace it cannot use the pidfd of %s (rule 26)", e.name(op.Via))
	}
	if op.Code == plan.JoinUser {
		return e.k.SetnsUser(id, via.task)
	}
	return e.k.Setns(id, via.task)
}

// keep keeps descriptors of the actor's namespaces, for others to join.
func (e *executor) keep(a int32, id TaskID) Errno {
	cur, errno := e.k.actor(id)
	if errno == 0 {
		e.actors[a].user, e.actors[a].ns = cur.cred.user, cur.pid.ns
	}
	return errno
}

func (e *executor) writeMaps(a int32, op *plan.Op) Errno {
	if a != plan.Restorer {
		return e.k.fail(EPERM, "only the restorer writes maps")
	}
	if op.Child < 0 || op.Number < 0 || int(op.Number) >= len(e.f.UserNamespaces) {
		return e.k.fail(EINVAL, "user namespace %d of %s", op.Number, e.name(op.Child))
	}
	u := &e.f.UserNamespaces[op.Number]
	// From inside the parent user namespace, by a process made for that.
	return e.k.writeMaps(e.actors[op.Child].task, UserMaps{UID: u.UIDMap, GID: u.GIDMap, Setgroups: u.Setgroups})
}
