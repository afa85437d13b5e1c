/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * The same events from where the kernel changes what they show, for machines
 * with trampolines: no system call that changes nothing takes the slow path then.
 * They take the place of audit_birth and audit_syscall; exec, exit and free are
 * tracepoints in either case. Not on kernels without: loaded by name only.
 */
#ifndef PIDGRAFT_TRAMPOLINES_H
#define PIDGRAFT_TRAMPOLINES_H

/* Since 6.16 change_pid and detach_pid have an array of pids before the task.
 * The verifier does not notice: the loader counts the parameters. */
const volatile bool change_pid_has_pids;

static __always_inline void emit_change(u64 task, u64 detail)
{
	if (task && in_container(task) == INSIDE)
		emit_event(EVENT_CHANGE, task, detail);
}

/* A task gets its own number last, after its process, group and session
 * (copy_process). */
SEC("fexit/attach_pid")
int audit_attached(u64 *ctx)
{
	u64 task = argument(ctx, 0);

	if ((u32)ctx[1] == PIDTYPE_PID && in_container(task) == INSIDE)
		emit_event(EVENT_BIRTH, task, 0);
	return 0;
}

/* setsid changes the session and then the group: two events. */
SEC("fexit/change_pid")
int audit_changed(u64 *ctx)
{
	emit_change(change_pid_has_pids ? argument(ctx, 1) : argument(ctx, 0), 0);
	return 0;
}

/* What setns and unshare have changed; the names are the loader's to set, as
 * they differ by architecture. */
SEC("fexit/sys_setns")
int audit_entered(u64 *ctx)
{
	if ((s64)ctx[1] >= 0)
		emit_change(bpf_get_current_task(), 0);
	return 0;
}

SEC("fexit/sys_unshare")
int audit_unshared(u64 *ctx)
{
	if ((s64)ctx[1] >= 0)
		emit_change(bpf_get_current_task(), 0);
	return 0;
}

SEC("fexit/sys_prctl")
int audit_controlled(u64 *ctx)
{
	if ((s64)ctx[1] >= 0 && prctl_changes(syscall_first_argument(argument(ctx, 0))))
		emit_change(bpf_get_current_task(), 0);
	return 0;
}

#endif
