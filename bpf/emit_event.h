/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * Events into the ring. A full ring loses the event and counts it: nothing here
 * may make a fork wait. The count goes into every later event of the same
 * processor, so the reader learns where in the stream something is missing; what
 * is lost at the end of the stream it learns from the counters.
 */
#ifndef PIDGRAFT_EMIT_EVENT_H
#define PIDGRAFT_EMIT_EVENT_H

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 * 1024 * 1024);
} events SEC(".maps");

/* Only so that the object says how an event is laid out. */
struct event *event_layout;

struct counters {
	u64 sent;
	u64 lost; /* all of them, also the next */
	u64 dropped; /* lost on purpose: see drop_one_in */
};
_Static_assert(sizeof(struct counters) == 24, "counters");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct counters);
} counters SEC(".maps");

/*
 * Tasks of the target that have begun to exit. When a task is freed it has no
 * pid objects any more, and this is how its event is told from those of others.
 * Allocated ahead: old kernels warn of a program that allocates where a tracepoint
 * may be. When it is full, events count as lost.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 16);
	__type(key, u64);
	__type(value, u8);
} leaving SEC(".maps");

/* For tests: lose one event in so many, at random; 0: none. */
const volatile u32 drop_one_in;

static __always_inline struct counters *own_counters(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&counters, &zero);
}

/* Room in the ring, or NULL, and then it is counted. Interrupts may come in
 * between and count too, hence atomically. */
static __always_inline void *reserve(struct counters *c, u64 size)
{
	void *room = NULL;

	if (drop_one_in && bpf_get_prandom_u32() % drop_one_in == 0)
		__sync_fetch_and_add(&c->dropped, 1);
	else
		room = bpf_ringbuf_reserve(&events, size, 0);
	if (!room)
		__sync_fetch_and_add(&c->lost, 1);
	return room;
}

/* The reader looks ten times a second, and is woken when it should look
 * earlier: waking it for each event costs more than the event. */
static __always_inline void submit(struct counters *c, void *room)
{
	u64 flags = BPF_RB_NO_WAKEUP;

	if (bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) > bpf_ringbuf_query(&events, BPF_RB_RING_SIZE) / 8)
		flags = BPF_RB_FORCE_WAKEUP;
	__sync_fetch_and_add(&c->sent, 1);
	bpf_ringbuf_submit(room, flags);
}

static __always_inline void fill_head(struct event_head *h, struct counters *c, u32 kind, u64 task)
{
	h->kind = kind;
	h->cpu = bpf_get_smp_processor_id();
	h->when = bpf_ktime_get_ns();
	h->lost = c->lost;
	h->task = task;
	h->start_time = probe((struct task_struct *)task, start_boottime);
	/* Nothing is read before the time is. */
	barrier();
}

/* The number of a pid object at a level, in a namespace; 0 if it has none. */
static __always_inline s32 number_in(u64 pid, u32 level, u64 ns)
{
	struct upid upid = {};

	if (!pid || probe((struct pid *)pid, level) < level ||
	    probe_bytes(&upid, sizeof(upid), pid_upid(pid, level)) || (u64)upid.ns != ns)
		return 0;
	return upid.nr;
}

static __always_inline void fill_creator(struct event_creator *c, u64 task)
{
	struct task_struct *t = (void *)task;
	u64 pid = (u64)probe(t, thread_pid);
	u64 tgid = (u64)probe(t, signal, pids[PIDTYPE_TGID]);
	struct upid own = {}, host = {};

	c->task = task;
	probe_bytes(&own, sizeof(own), pid_upid(pid, probe((struct pid *)pid, level)));
	c->ns = (u64)own.ns;
	c->inode = probe(own.ns, ns.inum);
	c->nr = number_in(tgid, target.level, target.ns);
	probe_bytes(&host, sizeof(host), pid_upid(tgid, 0));
	c->host_nr = host.nr;
	c->uid = probe(t, real_cred, uid.val);
	probe_bytes(c->comm, sizeof(c->comm), address(t, comm));
}

static __always_inline void fill_task(struct event *e, struct task_struct *t)
{
	struct signal_struct *s = probe(t, signal);
	struct task_struct *parent = probe(t, real_parent);
	struct nsproxy *proxy = probe(t, nsproxy);
	struct pid_namespace *child = proxy ? probe(proxy, pid_ns_for_children) : NULL;

	e->pid = (u64)probe(t, thread_pid);
	e->tgid = (u64)probe(s, pids[PIDTYPE_TGID]);
	e->pgid = (u64)probe(s, pids[PIDTYPE_PGID]);
	e->sid = (u64)probe(s, pids[PIDTYPE_SID]);
	e->parent = (u64)parent;
	e->parent_tgid = (u64)probe(parent, signal, pids[PIDTYPE_TGID]);
	e->child_namespace = (u64)child;
	e->child_inode = child ? probe(child, ns.inum) : 0;
	e->marks = probe_subreaper((u64)s) ? EVENT_SUBREAPER : 0;
	e->exit_state = probe(t, exit_state);
	e->task_flags = probe(t, flags);
	e->exit_code = probe(t, exit_code);
	e->exit_signal = probe(t, exit_signal);
	e->tgid_nr = number_in(e->tgid, target.level, target.ns);
	e->pgid_nr = number_in(e->pgid, target.level, target.ns);
	e->sid_nr = number_in(e->sid, target.level, target.ns);
	e->uid = probe(t, real_cred, uid.val);
	probe_bytes(e->comm, sizeof(e->comm), address(t, comm));
}

/* Levels 0 to e->level, of which there is room for count. False if that is too
 * few. */
static __always_inline bool fill_numbers(struct event *e, u32 count)
{
	u64 pid = e->pid;

	e->level = pid ? probe((struct pid *)pid, level) : 0;
	e->unused = 0;
	for (u32 i = 0; i < count; i++) {
		struct upid upid = {};

		if (i > e->level)
			return 1;
		if (pid)
			probe_bytes(&upid, sizeof(upid), pid_upid(pid, i));
		e->numbers[i].nr = upid.nr;
		e->numbers[i].ns = (u64)upid.ns;
		e->numbers[i].inode = upid.ns ? probe(upid.ns, ns.inum) : 0;
	}
	return e->level < count;
}

static __always_inline void fill(struct event *e, struct counters *c, u32 kind, u64 task, u64 detail)
{
	fill_head(&e->head, c, kind, task);
	e->detail = detail;
	if (kind == EVENT_BIRTH)
		fill_creator(&e->creator, bpf_get_current_task());
	else
		__builtin_memset(&e->creator, 0, sizeof(e->creator));
	fill_task(e, (void *)task);
}

/*
 * Emits task as it is. Global, so that the verifier looks at it once. What it
 * returns is for refresh alone: 0 when the event is in the ring.
 */
__noinline int emit_event(u32 kind, u64 task, u64 detail)
{
	struct counters *c = own_counters();
	struct event *e;
	u64 pid = (u64)probe((struct task_struct *)task, thread_pid);

	if (!c)
		return 1;
	if (probe((struct pid *)pid, level) < SHALLOW_NUMBERS) {
		e = reserve(c, EVENT_SHALLOW);
		if (!e)
			return 1;
		fill(e, c, kind, task, detail);
		if (fill_numbers(e, SHALLOW_NUMBERS)) {
			submit(c, e);
			return 0;
		}
		/* An exec gave it a deeper number just now: as good as lost. */
		bpf_ringbuf_discard(e, BPF_RB_NO_WAKEUP);
		__sync_fetch_and_add(&c->lost, 1);
		return 1;
	}
	e = reserve(c, sizeof(*e));
	if (!e)
		return 1;
	fill(e, c, kind, task, detail);
	fill_numbers(e, MAX_NUMBERS);
	submit(c, e);
	return 0;
}

#endif
