// SPDX-License-Identifier: Apache-2.0

package model

import (
	"strconv"
	"strings"

	"github.com/pidgraft/pidgraft/forest"
)

// pid is a struct pid: a pid object. It exists while a task, process, group or
// session uses it.
type pid struct {
	ns      *pidNS
	numbers []int32 // level 0 first
	born    TaskID  // the task it was made for

	task    *task    // PIDTYPE_PID
	process *process // PIDTYPE_TGID
	// PIDTYPE_PGID: the member processes, and how many are stopped.
	group   *process
	stopped int
	// PIDTYPE_SID: how many processes.
	session int

	// Its tag in export number exported.
	tag      forest.Tag
	exported uint32
}

// String is the number chain, innermost last: "11/2". The machine's own
// numbers mean nothing to a reader; they are left out of a container's.
func (o *pid) String() string {
	numbers := o.numbers[min(1, len(o.numbers)-1):]
	s := make([]string, len(numbers))
	for i, n := range numbers {
		s[i] = strconv.Itoa(int(n))
	}
	return strings.Join(s, "/")
}

// numberIn is the object's number in ns, 0 if it is not visible there
// (pid_nr_ns).
func (o *pid) numberIn(ns *pidNS) int32 {
	if !ns.encloses(o.ns) {
		return 0
	}
	return o.numbers[ns.level]
}

func (o *pid) used() bool {
	return o.task != nil || o.process != nil || o.group != nil || o.session > 0
}

// allocPid gives out numbers for a new task in ns, from the innermost level
// outwards; named holds those that are named, innermost first: rules 1 to 3
// (alloc_pid). cur is the caller, whose credentials count; nil at boot.
func (k *Kernel) allocPid(cur *task, ns *pidNS, named []int32) (*pid, Errno) {
	if len(named) > ns.level+1 {
		return nil, k.fail(EINVAL, "%d numbers for %d levels (rule 1)", len(named), ns.level+1)
	}
	o := k.newPid(ns)
	level := ns
	for i := ns.level; i >= 0; i, level = i-1, level.parent {
		var nr int32
		var errno Errno
		if d := ns.level - i; d < len(named) {
			nr, errno = k.takeNamed(cur, level, named[d])
		} else {
			nr, errno = k.takeNext(level)
		}
		if errno != 0 {
			k.dropNumbers(o, i+1)
			return nil, errno
		}
		level.numbers[nr] = o
		o.numbers[i] = nr
	}
	if !ns.adding {
		k.dropNumbers(o, 0)
		return nil, k.fail(ENOMEM, "the namespace is %s: it takes no new tasks (rule 5)", ns.state())
	}
	for level := ns; level != nil; level = level.parent {
		level.allocated++
	}
	return o, 0
}

// takeNamed takes the number nr in ns, which does not move the cursor.
func (k *Kernel) takeNamed(cur *task, ns *pidNS, nr int32) (int32, Errno) {
	switch {
	case nr < 1 || nr >= ns.pidMax:
		return 0, k.fail(EINVAL, "number %d is not in 1…%d at level %d (rule 1)", nr, ns.pidMax-1, ns.level)
	case nr != 1 && ns.childReaper == nil:
		return 0, k.fail(EINVAL, "number %d for the first task of a namespace (rule 1)", nr)
	case cur != nil && !cur.cred.nsCapable(ns.owner):
		return 0, k.fail(EPERM, "no capability to name number %d at level %d (rule 9)", nr, ns.level)
	case ns.numbers[nr] != nil:
		return 0, k.fail(EEXIST, "number %d is taken at level %d (rule 1)", nr, ns.level)
	}
	return nr, 0
}

// takeNext takes the next free number after the cursor; after a wrap, none
// below 300 (idr_alloc_cyclic): rule 3.
func (k *Kernel) takeNext(ns *pidNS) (int32, Errno) {
	first := int32(1)
	if ns.cursor > reservedPids {
		first = reservedPids
	}
	from := max(int32(ns.cursor), first)
	for _, r := range [...][2]int32{{from, ns.pidMax}, {first, from}} {
		for nr := r[0]; nr < min(r[1], ns.pidMax); nr++ {
			if ns.numbers[nr] == nil {
				ns.cursor = uint32(nr) + 1
				return nr, 0
			}
		}
	}
	return 0, k.fail(EAGAIN, "no number is free at level %d", ns.level)
}

// dropNumbers undoes a failed allocPid from level from inwards. The cursors
// stay where they are, but for a namespace that has no task yet.
func (k *Kernel) dropNumbers(o *pid, from int) {
	for ns := o.ns; ns != nil && ns.level >= from; ns = ns.parent {
		delete(ns.numbers, o.numbers[ns.level])
	}
	if o.ns.adding && o.ns.allocated == 0 {
		o.ns.cursor = 0
	}
}

// freePid gives the numbers of an object back (free_pid). A namespace that
// loses its first task before that was ever a reaper is spoilt: rule 5.
func (k *Kernel) freePid(o *pid) {
	for ns := o.ns; ns != nil; ns = ns.parent {
		delete(ns.numbers, o.numbers[ns.level])
		ns.allocated--
		reaper := ns.childReaper
		switch {
		case reaper != nil && reaper.zapping && ns.allocated <= 2:
			k.wakes.push(reaper)
		case reaper == nil && ns.allocated == 0:
			ns.adding = false
		}
	}
}

// putPid frees the object if nothing uses it any more (__change_pid).
func (k *Kernel) putPid(o *pid) {
	if !o.used() {
		k.freePid(o)
	}
}

// changeGroup moves p into group o (change_pid, PIDTYPE_PGID).
func (k *Kernel) changeGroup(p *process, o *pid) {
	if old := p.pgrp; old != o {
		p.leaveGroup()
		p.pgrp = o
		p.enterGroup()
		k.putPid(old)
	}
}

// changeSession moves p into session o (change_pid, PIDTYPE_SID).
func (k *Kernel) changeSession(p *process, o *pid) {
	if old := p.session; old != o {
		old.session--
		o.session++
		p.session = o
		k.putPid(old)
	}
}

// enterGroup links p into its group, in front.
func (p *process) enterGroup() {
	o := p.pgrp
	p.groupPrev, p.groupNext = nil, o.group
	if o.group != nil {
		o.group.groupPrev = p
	}
	o.group = p
	if p.stopped {
		o.stopped++
	}
}

func (p *process) leaveGroup() {
	o := p.pgrp
	if p.groupPrev != nil {
		p.groupPrev.groupNext = p.groupNext
	} else {
		o.group = p.groupNext
	}
	if p.groupNext != nil {
		p.groupNext.groupPrev = p.groupPrev
	}
	p.groupPrev, p.groupNext = nil, nil
	if p.stopped {
		o.stopped--
	}
}
