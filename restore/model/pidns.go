// SPDX-License-Identifier: Apache-2.0

package model

import (
	"maps"
	"slices"

	"github.com/pidgraft/pidgraft/forest"
)

// Limits of pid namespaces (include/linux/pid_namespace.h, threads.h).
const (
	maxPidNSLevel = 32      // MAX_PID_NS_LEVEL: rule 2
	reservedPids  = 300     // RESERVED_PIDS: rule 3
	pidMaxDefault = 4194304 // PID_MAX_LIMIT: rule 4
	pidMaxMin     = 301     // rule 4
	pidMaxMachine = 32768   // PID_MAX_DEFAULT, where it is the machine's
)

// pidNS is a struct pid_namespace.
type pidNS struct {
	id      int32
	parent  *pidNS
	level   int
	owner   *userNS
	numbers map[int32]*pid // idr
	cursor  uint32         // idr.idr_next
	pidMax  int32

	allocated int  // pid_allocated without PIDNS_ADDING
	adding    bool // PIDNS_ADDING
	// childReaper is the thread that adopts: the first live thread of the
	// init, or the one that waits in zap_pid_ns_processes, or the last that
	// was. nil: there never was one.
	childReaper *task
	reboot      int32 // signal left by reboot(2): rule 20
	subreapers  int   // processes of it that are subreapers
}

func (k *Kernel) newPidNS(parent *pidNS, owner *userNS) *pidNS {
	ns := &pidNS{id: k.nrNS, parent: parent, owner: owner, adding: true, pidMax: pidMaxDefault}
	if k.version < vOwnPidMax {
		ns.pidMax = pidMaxMachine
	}
	ns.numbers = make(map[int32]*pid)
	if parent != nil {
		ns.level = parent.level + 1
	}
	k.nrNS++
	return ns
}

// createPidNamespace makes an empty namespace below the actor's, owned by
// owner: rules 2 and 7 (copy_pid_ns, create_pid_namespace).
func (k *Kernel) createPidNamespace(cur *task, owner *userNS) (*pidNS, Errno) {
	parent := cur.childNS
	switch {
	case cur.pid.ns != parent:
		return nil, k.fail(EINVAL, "pid_ns_for_children differs from the own namespace (rule 7)")
	case !parent.owner.encloses(owner):
		return nil, k.fail(EINVAL, "the owner of the parent namespace is not above that of the new one")
	case parent.level >= maxPidNSLevel:
		return nil, k.fail(ENOSPC, "the namespace would be at level %d, the deepest is %d (rule 2)", parent.level+1, maxPidNSLevel)
	}
	return k.newPidNS(parent, owner), 0
}

// encloses reports whether inner is ns or below it.
func (ns *pidNS) encloses(inner *pidNS) bool {
	for inner.level > ns.level {
		inner = inner.parent
	}
	return inner == ns
}

// state is where the namespace is in its life: rule 5.
func (ns *pidNS) state() forest.NamespaceState {
	switch {
	case ns.adding && ns.childReaper == nil:
		return forest.Empty
	case ns.adding:
		return forest.Alive
	case ns.childReaper == nil:
		return forest.Spoilt
	case ns.childReaper.zapping:
		return forest.InitExiting
	}
	return forest.Dead
}

// zapPidNSProcesses begins the end of t's namespace, of whose init t is the
// last thread: rules 5 and 23. Everything in it is killed; t waits until its
// own numbers are the only ones left, which zapDone finds out.
func (k *Kernel) zapPidNSProcesses(t *task) {
	ns := t.pid.ns
	ns.adding = false // disable_pid_allocation
	t.zapping = true
	for _, nr := range slices.Sorted(maps.Keys(ns.numbers)) {
		if nr == 1 {
			continue
		}
		if victim := ns.numbers[nr].process; victim != nil {
			k.groupSendSig(victim, sigKill, true)
			// All are on their end before the first has ended: none counts
			// as stopped in a group that this orphans.
			victim.setStopped(false, 0)
		}
	}
	for p := t.firstChild; p != nil; { // kernel_wait4(-1, __WALL)
		next := p.nextSibling
		if p.reapable() {
			k.releaseTask(p.leader)
		}
		p = next
	}
	k.wakes.push(t)
}

// zapDone lets t finish its exit if nothing else is left in its namespace.
func (k *Kernel) zapDone(t *task) {
	ns, own := t.pid.ns, 1
	if t != t.proc.leader {
		own = 2 // the dead leader and the thread
	}
	if !t.zapping || ns.allocated != own {
		return
	}
	t.zapping = false
	if ns.reboot != 0 {
		t.proc.groupExit, t.proc.groupExitCode = true, ns.reboot
	}
	k.exitNotify(t, t)
}

// SetPidMax writes pid_max of the actor's namespace: rule 4. Root of the
// namespace's owner may, with or without capabilities
// (pid_table_root_permissions).
func (k *Kernel) SetPidMax(actor TaskID, limit int32) Errno {
	cur, errno := k.actor(actor)
	if errno != 0 {
		return errno
	}
	owner := cur.pid.ns.owner
	root, ok := owner.toKernel(0, (*userNS).uids)
	if !cur.cred.nsCapable(owner) && !(ok && cur.cred.euid == root) {
		return k.fail(EACCES, "neither a capability in the namespace's owner nor root of it")
	}
	if k.version < vOwnPidMax {
		return k.fail(EPERM, "pid_max is the machine's (rule 4)")
	}
	if limit < pidMaxMin || limit > pidMaxDefault {
		return k.fail(EINVAL, "pid_max %d is not in %d…%d (rule 4)", limit, pidMaxMin, pidMaxDefault)
	}
	cur.pid.ns.pidMax = limit
	return 0
}

// SetLastPid writes ns_last_pid of the actor's own namespace, so that the next
// unnamed number is last+1: rule 3 (pid_ns_ctl_handler).
func (k *Kernel) SetLastPid(actor TaskID, last int32) Errno {
	cur, errno := k.actor(actor)
	if errno != 0 {
		return errno
	}
	ns := cur.pid.ns
	if !cur.cred.nsCapable(ns.owner) {
		return k.fail(EPERM, "no capability in the namespace's owner")
	}
	if last < 0 || last > ns.pidMax {
		return k.fail(EINVAL, "ns_last_pid %d is not in 0…%d (rule 3)", last, ns.pidMax)
	}
	ns.cursor = uint32(last) + 1
	return 0
}
