/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * The pass over tasks: an iter/task program. The kernel shows it every task of
 * the pid namespace of whoever opened the iterator, threads included. It runs
 * under RCU, without locks: what it reads may be changing.
 */
#ifndef PIDGRAFT_TASK_H
#define PIDGRAFT_TASK_H

static struct record_task task_record;

/*
 * Finds the target before the first pass: the process with number target.nr in
 * the reader's namespace. Returning 1 ends the read, so nothing beyond it is
 * visited.
 */
static __always_inline int find_target(struct task_struct *task)
{
	struct task_struct *reader = (void *)bpf_get_current_task();
	u64 pid = (u64)probe(reader, thread_pid), found;
	struct upid here = {}, there = {};
	u32 level = probe((struct pid *)pid, level);

	if (!upid_is_as_expected()) {
		pass.drift = 1;
		return 1;
	}
	task_record.id = (u64)task;
	barrier();
	found = (u64)probe((struct task_struct *)task_record.id, thread_pid);
	if (probe_bytes(&here, sizeof(here), pid_upid(pid, level)) ||
	    probe_bytes(&there, sizeof(there), pid_upid(found, level)) ||
	    there.ns != here.ns || there.nr != target.nr)
		return 0;
	target.reader_level = level;
	level = probe((struct pid *)found, level);
	if (probe_bytes(&there, sizeof(there), pid_upid(found, level)))
		return 0;
	target.self = (u64)probe(reader, group_leader);
	target.ns = (u64)there.ns;
	target.nr = there.nr;
	target.level = level;
	target.pid = found;
	return 1;
}

/* As membership, but siblings and threads share one climb. */
static __always_inline u64 task_membership(struct record_task *r)
{
	struct task_struct *leader = (void *)r->group_leader;
	u64 pid = r->pid, parent = r->real_parent;

	if (target.mode != TARGET_SUBTREE)
		return membership(r->id);
	if (r->id != r->group_leader) {
		pid = (u64)probe(leader, thread_pid);
		parent = (u64)probe(leader, real_parent);
	}
	if (pid == target.pid)
		return INSIDE;
	if (parent != pass.parent) {
		pass.parent_membership = membership(parent);
		pass.parent = parent;
	}
	return pass.parent_membership;
}

/*
 * What hangs off signal and cred, and numbers, is loaded directly. Pointers of
 * the task itself are probed: for each one loaded through a trusted pointer the
 * verifier of 6.2 and later searches all of the kernel's BTF by name, four times
 * over (btf_nested_type_is_trusted): together 10 ms at load, against 0.1 us a
 * task.
 */
static __always_inline void fill_state(struct record_task *r, struct task_struct *t)
{
	struct signal_struct *s = t->signal;
	const struct cred *c = t->real_cred;

	r->kind = RECORD_TASK;
	r->marks = signal_subreaper(s) ? TASK_SUBREAPER : 0;
	r->tgid = (u64)s->pids[PIDTYPE_TGID];
	r->pgid = (u64)s->pids[PIDTYPE_PGID];
	r->sid = (u64)s->pids[PIDTYPE_SID];
	r->user_namespace = (u64)c->user_ns;
	r->start_time = t->start_boottime;
	r->jobctl = t->jobctl;
	r->exit_state = t->exit_state;
	r->run_state = task_run_state(t);
	r->task_flags = t->flags;
	r->signal_flags = s->flags;
	r->ptrace = t->ptrace;
	r->exit_code = t->exit_code;
	r->group_exit_code = s->group_exit_code;
	r->exit_signal = t->exit_signal;
	r->pdeath_signal = t->pdeath_signal;
	r->nr_threads = s->nr_threads;
	r->uid = c->uid.val;
	r->euid = c->euid.val;
	r->gid = c->gid.val;
	r->egid = c->egid.val;
	/* The pointers among these: see tasks(). */
	barrier();
}

static __always_inline void fill_relations(struct record_task *r, struct task_struct *t)
{
	struct task_struct *parent = (void *)r->real_parent;
	struct nsproxy *proxy = probe(t, nsproxy);

	r->parent_tgid = (u64)probe(parent, signal, pids[PIDTYPE_TGID]);
	/* A task that has exited has none. */
	r->child_namespace = proxy ? (u64)probe(proxy, pid_ns_for_children) : 0;
	probe_bytes(r->comm, sizeof(r->comm), address(t, comm));
}

/*
 * The task before this one among its siblings and among its threads, or 0 at
 * the head of the list. A node that points to itself is in no list (a thread
 * that is not a leader is nobody's child).
 */
static __always_inline void fill_places(struct record_task *r, struct task_struct *t)
{
	struct task_struct *parent = (void *)r->real_parent;
	struct signal_struct *s = probe(t, signal);
	u64 prev = (u64)probe(t, sibling.prev);

	r->prev_sibling = 0;
	if (prev != address(t, sibling) && prev != address(parent, children))
		r->prev_sibling = prev - bpf_core_field_offset(struct task_struct, sibling);
	prev = (u64)probe(t, thread_node.prev);
	r->prev_thread = 0;
	if (prev != address(t, thread_node) && prev != address(s, thread_head))
		r->prev_thread = prev - bpf_core_field_offset(struct task_struct, thread_node);
}

/* A pid object other than the task's own; neighbours often share it. */
static __always_inline int emit_used(u64 own, u64 id, u64 *last)
{
	if (id == own || id == *last)
		return 0;
	if (emit_pid_once(id))
		return 1;
	*last = id;
	return 0;
}

/* What a task refers to goes first, so that a task in the ring is complete. */
static __always_inline int emit_task(struct record_task *r)
{
	struct pid *own = (void *)r->pid;
	u64 level = probe(own, level), size;
	struct upid innermost = {};

	if (emit_used(r->pid, r->tgid, &pass.tgid) || emit_used(r->pid, r->pgid, &pass.pgid) ||
	    emit_used(r->pid, r->sid, &pass.sid) ||
	    emit_used(r->pid, r->parent_tgid, &pass.parent_tgid))
		return 1;
	if (emit_user_namespaces(r->user_namespace))
		return 1;
	if (r->child_namespace && emit_namespaces(r->child_namespace))
		return 1;
	if (level > MAX_LEVEL || probe_bytes(&innermost, sizeof(innermost), pid_upid(r->pid, level)))
		return 0;
	if (emit_namespaces((u64)innermost.ns))
		return 1;
	r->pid_uses = pid_uses(own);
	r->pid_level = level;
	size = copy_numbers(r->numbers, r->pid, level);
	/* Freed under us: the next pass will tell. */
	if (!size)
		return 0;
	return output(r, sizeof(*r) - sizeof(r->numbers) + size);
}

SEC("iter/task")
int tasks(struct bpf_iter__task *ctx)
{
	/* Copied before the check, or the verifier forgets the type. */
	struct task_struct *task = ctx->task, *probed;
	struct record_task *r = &task_record;
	u64 member;

	if (!task)
		return 0;
	if (!target.pid)
		return find_target(task);
	/* The verifier would not pass a pointer on to a global function; written
	 * and read back, it is a number. */
	r->id = (u64)task;
	barrier();
	probed = (void *)r->id;
	r->pid = (u64)probe(probed, thread_pid);
	/* Reaped since the iterator found it. */
	if (!r->pid)
		return 0;
	r->group_leader = (u64)probe(probed, group_leader);
	r->real_parent = (u64)probe(probed, real_parent);
	member = task_membership(r);
	if (member == OUTSIDE)
		return 0;
	fill_state(r, task);
	if (member == UNDECIDED)
		r->marks |= TASK_UNDECIDED;
	fill_relations(r, probed);
	fill_places(r, probed);
	/* With 1 the read ends here, and the next one begins with this task. */
	return emit_task(r) ? 1 : 0;
}

#endif
