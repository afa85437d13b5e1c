/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/* Where events come from. docs/design/audit.md says why these. */
#ifndef PIDGRAFT_HOOKS_H
#define PIDGRAFT_HOOKS_H

/*
 * System calls after which the caller, or the process it names, is read again;
 * set by the loader. The second set is what a 32-bit program of the same
 * machine calls them. As an event says only what is, one too many for a call
 * that means something else does no harm.
 */
struct syscalls {
	u32 setsid, setpgid, setns, unshare, prctl;
};

const volatile struct syscalls native;
const volatile struct syscalls compat;

#define PR_SET_NAME 15
#define PR_SET_CHILD_SUBREAPER 36

/* Whether a prctl changes what an event shows. task_rename comes before the name
 * is there, and only for writers of /proc/PID/comm would it tell more. */
static __always_inline bool prctl_changes(u32 option)
{
	return option == PR_SET_CHILD_SUBREAPER || option == PR_SET_NAME;
}

/* x32 numbers are those of amd64 with this bit. */
#define X32_SYSCALL_BIT 0x40000000

SEC("raw_tp/task_newtask")
int audit_birth(u64 *ctx)
{
	if (in_container(ctx[0]) == INSIDE)
		emit_event(EVENT_BIRTH, ctx[0], ctx[1]);
	return 0;
}

SEC("raw_tp/sched_process_exec")
int audit_exec(u64 *ctx)
{
	if (in_container(ctx[0]) == INSIDE)
		emit_event(EVENT_EXEC, ctx[0], 0);
	return 0;
}

SEC("raw_tp/sched_process_exit")
int audit_exit(u64 *ctx)
{
	struct counters *c = own_counters();
	u64 task = ctx[0];
	u8 yes = 1;

	if (!c || in_container(task) != INSIDE)
		return 0;
	/* Without it its end will not be told: as good as lost. */
	if (bpf_map_update_elem(&leaving, &task, &yes, BPF_ANY))
		__sync_fetch_and_add(&c->lost, 1);
	emit_event(EVENT_EXIT, task, 0);
	return 0;
}

/* The task was released an RCU period ago. Its address means something else
 * only after this. */
SEC("raw_tp/sched_process_free")
int audit_free(u64 *ctx)
{
	struct counters *c = own_counters();
	struct event_head *h;
	u64 task = ctx[0];

	if (!c || bpf_map_delete_elem(&leaving, &task))
		return 0;
	h = reserve(c, sizeof(*h));
	if (!h)
		return 0;
	fill_head(h, c, EVENT_FREE, task);
	submit(c, h);
	return 0;
}

/* Who stands for a process in what concerns all of it. */
static __always_inline u64 process_of(u64 task)
{
	return (u64)probe((struct task_struct *)task, group_leader);
}

/* The process that the caller's setpgid was about. */
static __always_inline u64 setpgid_target(u64 caller, u64 regs)
{
	u32 nr = syscall_first_argument(regs);
	u64 own = (u64)probe((struct task_struct *)caller, thread_pid), pid;
	struct upid upid = {};

	if (!nr)
		return process_of(caller);
	if (probe_bytes(&upid, sizeof(upid), pid_upid(own, probe((struct pid *)own, level))))
		return 0;
	pid = find_pid((u64)upid.ns, nr);
	return pid ? pid_carrier(pid) : 0;
}

SEC("raw_tp/sys_exit")
int audit_syscall(u64 *ctx)
{
	u64 caller, task;
	u32 nr;

	if ((s64)ctx[1] < 0)
		return 0;
	nr = syscall_number(ctx[0]) & ~X32_SYSCALL_BIT;
	if (nr == native.setsid || nr == compat.setsid) {
		task = process_of(bpf_get_current_task());
	} else if (nr == native.setns || nr == compat.setns || nr == native.unshare || nr == compat.unshare) {
		task = bpf_get_current_task();
	} else if (nr == native.setpgid || nr == compat.setpgid) {
		caller = bpf_get_current_task();
		task = setpgid_target(caller, ctx[0]);
	} else if (nr == native.prctl || nr == compat.prctl) {
		if (!prctl_changes(syscall_first_argument(ctx[0])))
			return 0;
		task = bpf_get_current_task();
	} else {
		return 0;
	}
	if (task && in_container(task) == INSIDE)
		emit_event(EVENT_CHANGE, task, nr);
	return 0;
}

enum refresh_status {
	REFRESH_DONE,
	REFRESH_NONE, /* no task has that number */
	REFRESH_LOST, /* the ring is full */
};

/* Run by the loader: reads the task with number ctx[0] of the target's
 * namespace again. */
SEC("raw_tp")
int audit_refresh(u64 *ctx)
{
	u64 pid = find_pid(target.ns, ctx[0]), task = pid ? pid_carrier(pid) : 0;

	if (!task)
		return REFRESH_NONE;
	return emit_event(EVENT_REFRESH, task, 0) ? REFRESH_LOST : REFRESH_DONE;
}

#endif
