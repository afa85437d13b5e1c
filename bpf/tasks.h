/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * The pass over tasks: an iter/task program. The kernel shows it every task of
 * the pid namespace of whoever opened the iterator, threads included.
 */
#ifndef PIDGRAFT_TASKS_H
#define PIDGRAFT_TASKS_H

/* As membership, but siblings and threads share one climb. */
static __always_inline u64 task_membership(struct record_task *r)
{
	struct task_struct *leader = (void *)r->group_leader;
	u64 pid = r->pid, parent = r->real_parent;
	struct pass *pass = pass_of(0);

	if (target.mode != TARGET_SUBTREE)
		return membership(r->id);
	if (r->id != r->group_leader) {
		pid = (u64)probe(leader, thread_pid);
		parent = (u64)probe(leader, real_parent);
	}
	if (pid == target.pid)
		return INSIDE;
	if (parent != pass->parent) {
		pass->parent_membership = membership(parent);
		pass->parent = parent;
	}
	return pass->parent_membership;
}

SEC("iter/task")
int tasks(struct bpf_iter__task *ctx)
{
	/* Copied before the check, or the verifier forgets the type. */
	struct task_struct *task = ctx->task;
	struct record_task *r = &draft_of(0)->task;
	u64 member, size;

	if (!task)
		return 0;
	/* The verifier would not pass a pointer on to a global function; written
	 * and read back, it is a number. */
	r->id = (u64)task;
	barrier();
	task = (void *)r->id;
	r->pid = (u64)probe(task, thread_pid);
	/* Reaped since the iterator found it. */
	if (!r->pid)
		return 0;
	/* Looking for the target: see find.h. Returning 1 ends the read. */
	if (!target.pid)
		return found(r->pid) ? 1 : 0;
	r->group_leader = (u64)probe(task, group_leader);
	r->real_parent = (u64)probe(task, real_parent);
	member = task_membership(r);
	if (member == OUTSIDE)
		return 0;
	size = fill_pid(r);
	if (!size)
		return 0;
	/* With 1 the read ends here, and the next one begins with this task. */
	return emit_task(0, r, member == UNDECIDED ? TASK_UNDECIDED : 0, size);
}

#endif
