/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * Records into the ring. Every emit function returns 0 when what it was asked
 * for is in the ring (now, or since earlier in the pass), and 1 when the ring is
 * full: the caller then gives up, the loader drains, and the same task or number
 * is tried again. What was emitted stays emitted, so every try gets further.
 *
 * The functions are global, not static, because the verifier then checks each
 * once and not once per call; the price is that they take addresses as numbers.
 *
 * lane is which of two walks it is for that may go on at the same time.
 */
#ifndef PIDGRAFT_EMIT_H
#define PIDGRAFT_EMIT_H

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 512 * 1024);
} ring SEC(".maps");

/* That of the second lane. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 512 * 1024);
} second_ring SEC(".maps");

#define LANES 2

/*
 * How far a namespace, user namespace or pid object has been emitted in this
 * pass, into the ring of a lane: the key is its address, and the lane. Least
 * recently used entries make room for new ones: the worst that can happen is a
 * duplicate, which the collector expects, and never that what one task needs is
 * forgotten between two tries.
 */
struct seen {
	u32 pass;
	u32 parts;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, u64);
	__type(value, struct seen);
} seen SEC(".maps");

/* One pass, as a lane sees it; cleared and numbered anew before each, by the loader
 * or by walk_idr. A lane has one reader, so no two programs that write here run at
 * the same time. */
struct pass {
	u32 number;
	u8 full; /* the ring was full: read again after draining */
	u8 drift; /* a structure that is copied whole is not as expected */
	u8 unused[2];
	u64 namespace; /* emitted last, with all its ancestors */
	u64 user_namespace; /* likewise */
	u64 tgid, pgid, sid, parent_tgid; /* likewise */
	u64 parent; /* the parent looked at last in subtree mode ... */
	u64 parent_membership; /* ... and whether it is in the target */
	u64 parent_of_many; /* the parent looked at last ... */
	u64 tgid_of_parent; /* ... and its tgid */
	u64 terminal; /* emitted last */
};
_Static_assert(sizeof(struct pass) == 96, "pass");

struct pass passes[LANES];

/* Where a lane makes its records. */
static struct draft {
	u8 view[VIEW_SIZE];
	struct record_task task;
	union {
		struct record_pid pid;
		struct record_namespace namespace;
		struct record_user_namespace user_namespace;
		struct record_extents extents;
	};
} drafts[LANES];

static __always_inline struct pass *pass_of(u64 lane)
{
	return &passes[lane % LANES];
}

static __always_inline struct draft *draft_of(u64 lane)
{
	return &drafts[lane % LANES];
}

static __always_inline int output(u64 lane, void *record, u64 size)
{
	s64 failed;

	/* Nobody sleeps on the ring: it is drained when a read returns. */
	if (lane % LANES)
		failed = bpf_ringbuf_output(&second_ring, record, size, BPF_RB_NO_WAKEUP);
	else
		failed = bpf_ringbuf_output(&ring, record, size, BPF_RB_NO_WAKEUP);
	if (failed) {
		pass_of(lane)->full = 1;
		return 1;
	}
	return 0;
}

/* Apart, for the stack: that of eight calls is 512 bytes, each rounded up to 32. */
__noinline u32 parts_seen(u64 lane, u64 id)
{
	u64 key = id + lane % LANES;
	struct seen *s = bpf_map_lookup_elem(&seen, &key);

	return s && s->pass == pass_of(lane)->number ? s->parts : 0;
}

__noinline int mark_seen(u64 lane, u64 id, u32 parts)
{
	struct seen s = { .pass = pass_of(lane)->number, .parts = parts };
	u64 key = id + lane % LANES;

	/* If it does not go in, there will be a duplicate. */
	return bpf_map_update_elem(&seen, &key, &s, BPF_ANY);
}

/* One part of an id map; parts beyond its end are nothing. */
static __always_inline int emit_extents(u64 lane, u64 id, u32 which, u32 part)
{
	struct user_namespace *u = (void *)id;
	struct record_extents *r = &draft_of(lane)->extents;
	u64 map = which == EXTENTS_UID ? address(u, uid_map) : address(u, gid_map);
	struct uid_gid_map *m = (void *)map;
	u64 nr = probe(m, nr_extents);
	u64 first = (u64)part * EXTENTS_PART, count;
	u64 from = address(m, extent);

	if (first >= nr || nr > MAX_EXTENTS)
		return 0;
	count = nr - first;
	if (nr > sizeof(m->extent) / sizeof(m->extent[0]))
		from = (u64)probe(m, forward);
	from += first * sizeof(struct record_extent);
	r->kind = RECORD_EXTENTS;
	r->map = which;
	r->id = id;
	r->first = first;
	/* As in copy_numbers. */
	barrier_var(count);
	if (count > EXTENTS_PART)
		count = EXTENTS_PART;
	r->count = count;
	probe_bytes(r->extents, count * sizeof(r->extents[0]), from);
	return output(lane, r, sizeof(*r) - sizeof(r->extents) + count * sizeof(r->extents[0]));
}

static __always_inline int emit_user_namespace_head(u64 lane, u64 id)
{
	struct user_namespace *u = (void *)id;
	struct record_user_namespace *r = &draft_of(lane)->user_namespace;

	r->kind = RECORD_USER_NAMESPACE;
	r->level = probe(u, level);
	r->id = id;
	r->parent = (u64)probe(u, parent);
	r->flags = probe(u, flags);
	r->owner_uid = probe(u, owner.val);
	r->owner_gid = probe(u, group.val);
	r->inode = probe(u, ns.inum);
	r->nr_uid = probe(u, uid_map.nr_extents);
	r->nr_gid = probe(u, gid_map.nr_extents);
	r->unused = 0;
	return output(lane, r, sizeof(*r));
}

/* Part number part of a user namespace: its uid map, its gid map, itself. */
__noinline int emit_user_namespace_part(u64 lane, u64 id, u32 part)
{
	if (part < EXTENTS_PARTS)
		return emit_extents(lane, id, EXTENTS_UID, part);
	if (part < 2 * EXTENTS_PARTS)
		return emit_extents(lane, id, EXTENTS_GID, part - EXTENTS_PARTS);
	return emit_user_namespace_head(lane, id);
}

#define USER_NAMESPACE_PARTS (2 * EXTENTS_PARTS + 1)

static __always_inline bool emit_all_parts(u64 lane, u64 id)
{
	u32 part = parts_seen(lane, id);

	if (part >= USER_NAMESPACE_PARTS)
		return 0;
	for (u64 i = 0; i < USER_NAMESPACE_PARTS; i++) {
		if (part >= USER_NAMESPACE_PARTS || emit_user_namespace_part(lane, id, part))
			break;
		part++;
	}
	mark_seen(lane, id, part);
	return part < USER_NAMESPACE_PARTS;
}

/* Not the address of anything. */
#define RING_FULL 1

/* Gives its parent, 0 if it has none, or RING_FULL: the less a loop over them does,
 * the less has the verifier to walk. */
__noinline u64 emit_user_namespace(u64 lane, u64 id)
{
	if (emit_all_parts(lane, id))
		return RING_FULL;
	return (u64)probe((struct user_namespace *)id, parent);
}

/* A user namespace and its ancestors. */
__noinline int emit_user_namespaces(u64 lane, u64 id)
{
	u64 u = id;

	if (id == pass_of(lane)->user_namespace)
		return 0;
	/* One more than there are levels of user namespaces (33). */
	for (u64 i = 0; i < MAX_NUMBERS + 1 && u > RING_FULL; i++)
		u = emit_user_namespace(lane, u);
	if (u == RING_FULL)
		return 1;
	pass_of(lane)->user_namespace = id;
	return 0;
}

static __always_inline bool emit_namespace_head(u64 lane, u64 id)
{
	struct pid_namespace *ns = (void *)id;
	struct record_namespace *r = &draft_of(lane)->namespace;

	if (parts_seen(lane, id))
		return 0;
	if (emit_user_namespaces(lane, (u64)probe(ns, user_ns)))
		return 1;
	r->kind = RECORD_NAMESPACE;
	r->level = probe(ns, level);
	r->id = id;
	r->parent = (u64)probe(ns, parent);
	r->owner = (u64)probe(ns, user_ns);
	r->reaper = (u64)probe(ns, child_reaper);
	r->cursor = probe(ns, idr.idr_next);
	r->pid_max = namespace_pid_max(ns);
	r->inode = probe(ns, ns.inum);
	r->allocated = probe(ns, pid_allocated);
	if (output(lane, r, sizeof(*r)))
		return 1;
	mark_seen(lane, id, 1);
	return 0;
}

/* As emit_user_namespace. */
__noinline u64 emit_namespace(u64 lane, u64 id)
{
	if (emit_namespace_head(lane, id))
		return RING_FULL;
	return (u64)probe((struct pid_namespace *)id, parent);
}

/* A pid namespace and its ancestors, with the user namespaces that own them. */
__noinline int emit_namespaces(u64 lane, u64 id)
{
	u64 ns = id;

	if (id == pass_of(lane)->namespace)
		return 0;
	for (u64 i = 0; i < MAX_NUMBERS && ns > RING_FULL; i++)
		ns = emit_namespace(lane, ns);
	if (ns == RING_FULL)
		return 1;
	pass_of(lane)->namespace = id;
	return 0;
}

/* Which uses a pid object has: 1 << PIDTYPE_*. */
static __always_inline u32 pid_uses(struct pid *p)
{
	struct hlist_head tasks[PIDTYPE_MAX] = {};
	u32 uses = 0;

	probe_bytes(tasks, sizeof(tasks), address(p, tasks));
	for (int i = 0; i < PIDTYPE_MAX; i++)
		if (tasks[i].first)
			uses |= 1 << i;
	return uses;
}

/*
 * Copies the numbers of a pid object, and gives how many bytes that is. Its
 * level may be nonsense when it is freed meanwhile: 0 then.
 */
static __always_inline u64 copy_numbers(struct record_number *to, u64 id, u64 level)
{
	u64 size;

	/* Checked here, whatever was checked before: a verifier of before 5.13
	 * or so forgets the bounds of what was spilled to the stack meanwhile. */
	barrier_var(level);
	if (level > MAX_LEVEL)
		return 0;
	size = (level + 1) * sizeof(*to);
	return probe_bytes(to, size, pid_upid(id, 0)) ? 0 : size;
}

/* A pid object, after its namespaces. */
__noinline int emit_pid(u64 lane, u64 id, u32 marks)
{
	struct pid *p = (void *)id;
	struct record_pid *r = &draft_of(lane)->pid;
	u64 level = probe(p, level), size;
	struct upid own = {};

	if (level > MAX_LEVEL || probe_bytes(&own, sizeof(own), pid_upid(id, level)))
		return 0;
	if (emit_namespaces(lane, (u64)own.ns))
		return 1;
	r->kind = RECORD_PID;
	r->marks = marks | pid_uses(p);
	r->id = id;
	r->level = level;
	r->unused = 0;
	size = copy_numbers(r->numbers, id, level);
	/* Freed under us: the next pass will tell. */
	if (!size)
		return 0;
	return output(lane, r, sizeof(*r) - sizeof(r->numbers) + size);
}

/* A pid object that many tasks use. */
static __always_inline int emit_pid_once(u64 lane, u64 id)
{
	if (!id || parts_seen(lane, id))
		return 0;
	if (emit_pid(lane, id, 0))
		return 1;
	mark_seen(lane, id, 1);
	return 0;
}

#endif
