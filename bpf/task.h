/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * The record of a task. Whoever makes one (the pass over tasks, the walk of an
 * idr) runs under RCU, without locks: what it reads may be changing.
 */
#ifndef PIDGRAFT_TASK_H
#define PIDGRAFT_TASK_H

/* How much is looked at together: of a task from exit_state on, and from real_cred
 * on, and of its signal_struct from nr_threads on. */
#define RELATIONS_VIEW VIEW_SIZE
#define IDENTITY_VIEW 128
#define PROCESS_VIEW 128

/* A node that points to itself is in no list (a thread that is not a leader is
 * nobody's child); the first of a list points to its head. */
static __always_inline u64 before(u64 prev, u64 node, u64 head, u64 offset)
{
	return prev == node || prev == head ? 0 : prev - offset;
}

/* What the task says of its own end, and its relatives. */
static __always_inline void fill_relations(struct record_task *r, struct signal_struct *s, u8 *view)
{
	struct task_struct *t = (void *)r->id, *parent;
	struct view v = VIEW(view, struct task_struct, t, exit_state, RELATIONS_VIEW);

	r->exit_state = VIEWED(v, struct task_struct, exit_state);
	r->exit_code = VIEWED(v, struct task_struct, exit_code);
	r->exit_signal = VIEWED(v, struct task_struct, exit_signal);
	r->pdeath_signal = VIEWED(v, struct task_struct, pdeath_signal);
	r->jobctl = VIEWED(v, struct task_struct, jobctl) & JOBCTL_STOP_SIGMASK;
	r->group_leader = (u64)VIEWED(v, struct task_struct, group_leader);
	parent = VIEWED(v, struct task_struct, real_parent);
	r->real_parent = (u64)parent;
	r->prev_sibling = before((u64)VIEWED(v, struct task_struct, sibling.prev),
				 address(t, sibling), address(parent, children),
				 bpf_core_field_offset(struct task_struct, sibling));
	r->prev_thread = before((u64)VIEWED(v, struct task_struct, thread_node.prev),
				address(t, thread_node), address(s, thread_head),
				bpf_core_field_offset(struct task_struct, thread_node));
}

static __always_inline void fill_process(struct record_task *r, struct signal_struct *s, u8 *view)
{
	struct pid *pids[PIDTYPE_MAX] = {};
	struct view v = VIEW(view, struct signal_struct, s, nr_threads, PROCESS_VIEW);

	r->nr_threads = VIEWED(v, struct signal_struct, nr_threads);
	r->group_exit_code = VIEWED(v, struct signal_struct, group_exit_code);
	r->signal_flags = VIEWED(v, struct signal_struct, flags);
	r->marks = signal_subreaper(s) ? TASK_SUBREAPER : 0;
	probe_bytes(pids, sizeof(pids), address(s, pids));
	r->tgid = (u64)pids[PIDTYPE_TGID];
	r->pgid = (u64)pids[PIDTYPE_PGID];
	r->sid = (u64)pids[PIDTYPE_SID];
}

static __always_inline void fill_credentials(struct record_task *r, const struct cred *c, u8 *view)
{
	struct view v = VIEW(view, struct cred, c, uid, 32);

	r->uid = VIEWED(v, struct cred, uid.val);
	r->euid = VIEWED(v, struct cred, euid.val);
	r->gid = VIEWED(v, struct cred, gid.val);
	r->egid = VIEWED(v, struct cred, egid.val);
	r->suid = VIEWED(v, struct cred, suid.val);
	r->fsuid = VIEWED(v, struct cred, fsuid.val);
	r->sgid = VIEWED(v, struct cred, sgid.val);
	r->fsgid = VIEWED(v, struct cred, fsgid.val);
	r->user_namespace = (u64)probe(c, user_ns);
}

/* All but the pid object; the task is r->id. */
static __always_inline void fill_task(struct record_task *r, u8 *view)
{
	struct task_struct *t = (void *)r->id;
	struct view v = VIEW(view, struct task_struct, t, flags, 16);
	struct nsproxy *proxy;
	struct signal_struct *s;
	const struct cred *c;

	r->kind = RECORD_TASK;
	r->task_flags = VIEWED(v, struct task_struct, flags) & (PF_EXITING | PF_KTHREAD);
	r->ptrace = VIEWED(v, struct task_struct, ptrace);
	r->start_time = probe(t, start_boottime);
	v = VIEW(view, struct task_struct, t, real_cred, IDENTITY_VIEW);
	VIEWED_INTO(&r->comm, v, struct task_struct, comm);
	c = VIEWED(v, struct task_struct, real_cred);
	s = VIEWED(v, struct task_struct, signal);
	proxy = VIEWED(v, struct task_struct, nsproxy);
	/* A task that has exited has none. */
	r->child_namespace = proxy ? (u64)probe(proxy, pid_ns_for_children) : 0;
	fill_credentials(r, c, view);
	fill_process(r, s, view);
	fill_relations(r, s, view);
}

/* Its own pid object, r->pid; 0 if that was freed under us, which the next pass
 * will tell, else how many bytes of numbers it has. */
static __always_inline u64 fill_pid(struct record_task *r)
{
	struct pid *p = (void *)r->pid;

	r->pid_level = probe(p, level);
	r->pid_uses = pid_uses(p);
	return copy_numbers(r->numbers, r->pid, r->pid_level);
}

/* A pid object other than the task's own; neighbours often share it. */
static __always_inline int emit_used(u64 lane, u64 own, u64 id, u64 *last)
{
	if (id == own || id == *last)
		return 0;
	if (emit_pid_once(lane, id))
		return 1;
	*last = id;
	return 0;
}

/* The tgid of its parent, which neighbours share too. */
static __always_inline u64 parent_tgid(struct pass *pass, u64 parent)
{
	if (parent != pass->parent_of_many) {
		pass->tgid_of_parent = (u64)probe((struct task_struct *)parent, signal, pids[PIDTYPE_TGID]);
		pass->parent_of_many = parent;
	}
	return pass->tgid_of_parent;
}

/*
 * Emits task r->id, whose pid object fill_pid has found. What it refers to goes
 * first, so that a task in the ring is complete.
 */
static __always_inline int emit_task(u64 lane, struct record_task *r, u32 marks, u64 size)
{
	struct pass *pass = pass_of(lane);
	u64 level;

	fill_task(r, draft_of(lane)->view);
	r->marks |= marks;
	r->parent_tgid = parent_tgid(pass, r->real_parent);
	if (emit_used(lane, r->pid, r->tgid, &pass->tgid) || emit_used(lane, r->pid, r->pgid, &pass->pgid) ||
	    emit_used(lane, r->pid, r->sid, &pass->sid) ||
	    emit_used(lane, r->pid, r->parent_tgid, &pass->parent_tgid))
		return 1;
	if (emit_user_namespaces(lane, r->user_namespace))
		return 1;
	if (r->child_namespace && emit_namespaces(lane, r->child_namespace))
		return 1;
	level = r->pid_level;
	barrier_var(level);
	if (level > MAX_LEVEL)
		return 0;
	if (emit_namespaces(lane, r->numbers[level].ns))
		return 1;
	barrier_var(size);
	if (size > sizeof(r->numbers))
		return 0;
	return output(lane, r, sizeof(*r) - sizeof(r->numbers) + size);
}

#endif
