// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"

	"github.com/pidgraft/pidgraft/forest"
)

// OtherIDs are the saved ids of a task and those for files. A forest has them of
// the exited only.
func (k *Kernel) OtherIDs(id TaskID) forest.OtherIDs { return k.task(id).cred.other }

// TaskID names a task of a Kernel for as long as the Kernel exists, also after
// the task ended. It is no pid number. 0 is no task.
type TaskID int32

// Tasks that every Kernel starts with.
const (
	// HostInit is the machine's init, number 1 at level 0.
	HostInit TaskID = 1
	// Outsider is a root process beside it, outside every container: it
	// makes containers, enters namespaces, and is a plan's restorer.
	Outsider TaskID = 2
)

// Version is a kernel's as one number: 510 is 5.10. 0 is Latest.
type Version int

// Latest is the version that the model follows where it is not told another.
const Latest Version = 618

// Versions from which something differs.
const (
	vGroupExit Version = 518 // the last thread's exit is its group's: rule 19
	vOwnPidMax Version = 614 // pid_max for each namespace: rule 4
)

// Kernel is a machine: all its tasks, pid objects and namespaces. It is not
// safe for concurrent use.
type Kernel struct {
	version  Version
	tasks    []*task // by TaskID; [0] is nil
	hostNS   *pidNS
	hostUser *userNS
	nrNS     int32
	nrUser   int32
	clock    uint64 // births so far: start times

	signals queue[pendingSignal] // sent and not yet acted upon
	wakes   queue[*task]         // exiting inits whose namespace shrank

	why   string // of the last failure
	epoch uint64 // calls so far
	racy  string // the first race seen, or ""

	exports uint32 // calls of Forest so far

	// onEnd is told of every process that can be reaped or was.
	onEnd func(*process)

	taskSlab []task
	procSlab []process
	pidSlab  []pid
	numbers  []int32
}

// New is a machine of the latest version with HostInit and Outsider.
func New() *Kernel { return NewVersion(Latest) }

// NewVersion is a machine with HostInit and Outsider.
func NewVersion(v Version) *Kernel {
	if v == 0 {
		v = Latest
	}
	k := &Kernel{version: v, tasks: make([]*task, 1, 64)}
	k.hostUser = k.newUserNS(nil, 0, 0)
	k.hostUser.uidMap = []forest.Extent{{Count: ^uint32(0)}}
	k.hostUser.gidMap = k.hostUser.uidMap
	k.hostUser.mapped = true
	k.hostNS = k.newPidNS(nil, k.hostUser)

	init := k.bootInit()
	if id, errno := k.Clone(init.id, CloneArgs{ExitSignal: forest.SIGCHLD}); errno != 0 || id != Outsider {
		panic("model: the outsider was not born: " + k.why)
	}
	outsider := k.tasks[Outsider]
	k.Setsid(Outsider)
	outsider.comm = "outsider"
	return k
}

// bootInit makes number 1 of the machine, which nobody forks.
func (k *Kernel) bootInit() *task {
	object, errno := k.allocPid(nil, k.hostNS, []int32{1})
	if errno != 0 {
		panic("model: no number for the machine's init: " + k.why)
	}
	t := k.newTask()
	t.pid, t.bornPid, t.childNS, t.comm = object, object, k.hostNS, "init"
	object.born = t.id
	t.cred = cred{user: k.hostUser, caps: true, permitted: true}
	p := k.newProcess(t)
	p.pgrp, p.session, p.exitSignal = object, object, forest.SIGCHLD
	p.sessionLeader, p.unkillable = true, true
	k.hostNS.childReaper = t
	k.attachLeader(p)
	return t
}

// Ended reports whether a task has ended or begun to.
func (k *Kernel) Ended(id TaskID) bool {
	t := k.task(id)
	return t == nil || t.exiting
}

// Leaving reports whether a task is an init that has begun to end and waits for
// its namespace to empty (zap_pid_ns_processes).
func (k *Kernel) Leaving(id TaskID) bool {
	t := k.task(id)
	return t != nil && t.zapping
}

// Exists reports whether the pid object that was made for a task still exists:
// carried by a task, or a ghost.
func (k *Kernel) Exists(id TaskID) bool {
	t := k.task(id)
	return t != nil && t.bornPid.ns.numbers[t.bornPid.numbers[t.bornPid.ns.level]] == t.bornPid
}

// Leader is the task that leads the process of id: another than at first if a
// thread has run a program (rule 12).
func (k *Kernel) Leader(id TaskID) TaskID {
	t := k.task(id)
	if t == nil {
		return 0
	}
	return t.proc.leader.id
}

// Task is the task of a container's forest, exported for root, that f.Tasks[i]
// describes.
func (k *Kernel) Task(f *forest.Forest, root TaskID, i int) TaskID {
	if o := k.tasks[root].pid.ns.numbers[f.Pid(f.Tasks[i].Pid).Numbers[0]]; o != nil && o.task != nil {
		return o.task.id
	}
	return 0
}

// Why explains the failure of the last call that failed.
func (k *Kernel) Why() string { return k.why }

// Racy names the first thing so far whose outcome the kernel leaves to the
// scheduler and the model decided arbitrarily (rule 23a), or is empty.
func (k *Kernel) Racy() string { return k.racy }

func (k *Kernel) race(format string, args ...any) {
	if k.racy == "" {
		k.racy = fmt.Sprintf(format, args...)
	}
}

// fail notes why a call fails with errno.
func (k *Kernel) fail(errno Errno, format string, args ...any) Errno {
	k.why = fmt.Sprintf(format, args...)
	return errno
}

// task is the task that id names, nil if there never was one.
func (k *Kernel) task(id TaskID) *task {
	if id <= 0 || int(id) >= len(k.tasks) {
		return nil
	}
	return k.tasks[id]
}

// actor is the task id if it can make a system call now.
func (k *Kernel) actor(id TaskID) (*task, Errno) {
	k.epoch++
	t := k.task(id)
	switch {
	case t == nil:
		return nil, k.fail(ENOTRUN, "there is no task %d", id)
	case t.exiting:
		return nil, k.fail(ENOTRUN, "task %d has ended", id)
	case t.proc.stopped:
		return nil, k.fail(ENOTRUN, "task %d is stopped", id)
	}
	return t, 0
}

// settle lets everything happen that a call set off: signals take effect,
// inits whose namespaces are empty finish their exit.
func (k *Kernel) settle() {
	for {
		if s, ok := k.signals.pop(); ok {
			k.getSignal(s)
			continue
		}
		t, ok := k.wakes.pop()
		if !ok {
			return
		}
		k.zapDone(t)
	}
}

// queue is a first-in first-out list that reuses its memory.
type queue[T any] struct {
	items []T
	head  int
}

func (q *queue[T]) push(x T) { q.items = append(q.items, x) }

func (q *queue[T]) pop() (x T, ok bool) {
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
		return x, false
	}
	x = q.items[q.head]
	q.head++
	return x, true
}
