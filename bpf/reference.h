/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * Who holds pid objects beside tasks: terminals, and open files. Of tasks that do
 * not belong to the target nothing is shown but the objects that they hold.
 */
#ifndef PIDGRAFT_REFERENCE_H
#define PIDGRAFT_REFERENCE_H

static struct record_reference reference;

static __always_inline int emit_reference(u32 use, u64 object)
{
	reference.kind = RECORD_REFERENCE;
	reference.use = use;
	reference.object = object;
	return object ? output(0, &reference, sizeof(reference)) : 0;
}

/* The processes of a session share their terminal. */
static __always_inline int emit_terminal(struct task_struct *task)
{
	struct tty_struct *tty = probe(task, signal, tty);

	if (!tty || (u64)tty == pass_of(0)->terminal || membership((u64)task) == OUTSIDE)
		return 0;
	reference.task = 0;
	reference.fd = -1;
	probe_bytes(reference.terminal, sizeof(reference.terminal), address(tty, name));
	if (emit_reference(REFERENCE_TERMINAL_SESSION, terminal_session(tty)) ||
	    emit_reference(REFERENCE_TERMINAL_GROUP, terminal_group(tty)))
		return 1;
	pass_of(0)->terminal = (u64)tty;
	return 0;
}

SEC("iter/task")
int terminals(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	u64 id;

	if (!task)
		return 0;
	/* As in tasks.h. */
	reference.task = (u64)task;
	barrier();
	id = reference.task;
	return emit_terminal((void *)id);
}

SEC("iter/task_file")
int files(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct fown_struct *owner;
	u64 pid, owned = 0;

	if (!task || !file)
		return 0;
	reference.task = (u64)task;
	reference.object = (u64)file;
	barrier();
	file = (void *)reference.object;
	pid = pidfd_pid(file);
	owner = file_owner(file);
	if (owner)
		owned = (u64)probe(owner, pid);
	if (!pid && !owned)
		return 0;
	reference.fd = ctx->fd;
	__builtin_memset(reference.terminal, 0, sizeof(reference.terminal));
	if (membership(reference.task) == OUTSIDE) {
		reference.task = 0;
		reference.fd = -1;
	}
	if (emit_reference(REFERENCE_PIDFD, pid))
		return 1;
	return emit_reference(REFERENCE_OWNER + probe(owner, pid_type), owned);
}

#endif
