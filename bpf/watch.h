/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * Watchers: count what happens to tasks of the target, so that a dump knows
 * that a pass was disturbed, and by what. A task whose membership is not
 * decided counts: one retry too many is better than one too few.
 *
 * raw_tp and not tp_btf: the arguments are wanted as numbers, and these attach
 * by name alone.
 */
#ifndef PIDGRAFT_WATCH_H
#define PIDGRAFT_WATCH_H

struct changes {
	u64 forks;
	u64 execs;
	u64 exits;
	u64 setsids;
	u64 setpgids;
	u64 setns;
	u64 unshares;
	u64 prctls;
};
_Static_assert(sizeof(struct changes) == 64, "changes");

struct changes changes;

/* System call numbers of the machine's own architecture, set by the loader. A
 * 32-bit program on a 64-bit kernel has other ones: its calls may count as
 * another, or not at all, which leaves them to the comparison of two passes. */
const volatile u32 nr_setsid;
const volatile u32 nr_setpgid;
const volatile u32 nr_setns;
const volatile u32 nr_unshare;
const volatile u32 nr_prctl;

static __always_inline int count(u64 task, u64 *counter)
{
	if (membership(task) != OUTSIDE)
		__sync_fetch_and_add(counter, 1);
	return 0;
}

/*
 * One program for three tracepoints, as to load another takes the kernel 2 ms:
 * task_newtask, which is every kind of birth, also those that sched_process_fork
 * misses, and of a task other than the current one; sched_process_exit, of one
 * that has been marked before; and sched_process_exec.
 */
SEC("raw_tp")
int watch_task(u64 *ctx)
{
	u64 task = ctx[0];

	if (task != bpf_get_current_task())
		return count(task, &changes.forks);
	if (probe((struct task_struct *)task, flags) & PF_EXITING)
		return count(task, &changes.exits);
	return count(task, &changes.execs);
}

SEC("raw_tp/sys_exit")
int watch_syscall(u64 *ctx)
{
	s64 nr = syscall_number(ctx[0]), result = ctx[1];
	u64 *counter;

	if (nr == nr_setsid)
		counter = &changes.setsids;
	else if (nr == nr_setpgid)
		counter = &changes.setpgids;
	else if (nr == nr_setns)
		counter = &changes.setns;
	else if (nr == nr_unshare)
		counter = &changes.unshares;
	else if (nr == nr_prctl)
		counter = &changes.prctls;
	else
		return 0;
	if (result < 0)
		return 0;
	return count(bpf_get_current_task(), counter);
}

#endif
