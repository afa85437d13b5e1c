// SPDX-License-Identifier: Apache-2.0

package collector

import "github.com/pidgraft/pidgraft/forest"

// Bits of task_struct and signal_struct. All are older than 5.10 and the same
// on every architecture.
const (
	exitDead   = 0x10 // EXIT_DEAD: reaped, about to go (include/linux/sched.h)
	exitZombie = 0x20 // EXIT_ZOMBIE

	pfExiting = 0x4      // PF_EXITING: in do_exit
	pfKthread = 0x200000 // PF_KTHREAD

	signalStopStopped = 0x1 // SIGNAL_STOP_STOPPED (include/linux/sched/signal.h)
	signalGroupExit   = 0x4 // SIGNAL_GROUP_EXIT

	jobctlStopSigmask = 0xffff // JOBCTL_STOP_SIGMASK (include/linux/sched/jobctl.h)

	usernsSetgroupsAllowed = 0x1 // USERNS_SETGROUPS_ALLOWED (include/linux/user_namespace.h)
)

// addAttributes fills in what is the task's own.
func (c *collector) addAttributes(out *forest.Task, i int32) error {
	t := &c.s.Tasks[i]
	out.ExitSignal = t.ExitSignal
	if t.GroupLeader != t.ID {
		out.ExitSignal = forest.ExitSignalThread
	}
	out.PdeathSignal = t.PdeathSignal
	out.Subreaper = t.Subreaper
	out.UID, out.EUID, out.GID, out.EGID = t.UID, t.EUID, t.GID, t.EGID
	out.Comm = c.comm(&t.Comm)
	out.StartTime = t.StartTime
	if t.SignalFlags&signalGroupExit != 0 {
		// Without the flag, group_exit_code is 0 or the signal of a stop
		// that nobody was told of; that is StopReported.
		out.GroupExit, out.GroupExitCode = true, t.GroupExitCode
	}
	if err := c.addState(out, i); err != nil {
		return err
	}
	if out.State.Exited() || out.State == forest.ExitingInit {
		// In anyone else it is a tracer's, between two stops.
		out.ExitCode = t.ExitCode
	}
	out.ChildNamespace = forest.SameNamespace
	if t.ChildNamespace == 0 || out.State.Exited() {
		return nil
	}
	ns, err := c.namespace(t.ChildNamespace)
	if err != nil {
		return err
	}
	if ns != c.f.Pids[out.Pid-1].Namespace {
		out.ChildNamespace = ns
	}
	return nil
}

// addExitIDs fills in the other ids of tasks that have exited.
func (c *collector) addExitIDs() error {
	for k, i := range c.members {
		t := &c.s.Tasks[i]
		if x, ok := forest.NewExitIDs(&c.f.Tasks[k], forest.OtherIDs{SUID: t.SUID, FSUID: t.FSUID, SGID: t.SGID, FSGID: t.FSGID}); ok {
			c.f.ExitIDs = append(c.f.ExitIDs, x)
		}
	}
	forest.SortExitIDs(c.f.ExitIDs)
	return nil
}

// addState decides what the task is doing.
func (c *collector) addState(out *forest.Task, i int32) error {
	t := &c.s.Tasks[i]
	leader := t.GroupLeader == t.ID
	switch {
	case t.ExitState&exitZombie != 0 && !leader:
		// Threads are not waited for, except by a tracer.
		if t.Ptrace == 0 {
			return changed("thread %s is exiting", c.describe(i))
		}
		out.State = forest.Traced
	case t.ExitState&exitZombie != 0:
		out.State = forest.Zombie
		if c.hasThreads(i) {
			out.State = forest.DeadLeader
		}
		if t.Ptrace != 0 {
			c.inexact(i, "it has exited, and its tracer has yet to wait for it")
		}
	case t.TaskFlags&pfExiting != 0:
		if !c.isReaper(t) {
			return changed("task %s is exiting", c.describe(i))
		}
		out.State = forest.ExitingInit
	case t.Ptrace != 0:
		out.State = forest.Traced
	case t.SignalFlags&signalStopStopped != 0:
		out.State = forest.Stopped
		out.StopSignal = int32(t.Jobctl & jobctlStopSigmask)
		out.StopReported = t.GroupExitCode == 0
		if out.StopSignal == 0 {
			return changed("task %s is stopping", c.describe(i))
		}
	default:
		out.State = forest.Running
	}
	return nil
}

// hasThreads reports whether leader i has threads that are not gone: until
// then its end is not reported (delay_group_leader, kernel/exit.c).
func (c *collector) hasThreads(i int32) bool {
	for j := c.links[i].nextThread; j != none; j = c.links[j].nextThread {
		if c.s.Tasks[j].ExitState&exitDead == 0 {
			return true
		}
	}
	return false
}

// isReaper reports whether t is what zap_pid_ns_processes runs in: the
// child_reaper of its own namespace.
func (c *collector) isReaper(t *Task) bool {
	r, ok := c.pids[t.Pid]
	if !ok {
		return false
	}
	ns, ok := c.pidns[c.s.Pids[r].Namespace]
	return ok && c.s.Namespaces[ns].Reaper == t.ID
}
