/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * The pass over pid objects: the idr of target.ns, one leaf of 64 numbers per
 * run of a raw_tp program that nothing triggers but the loader's test-run. It
 * sees what the task iterator cannot: objects that no task has as its pid. The
 * idr of a namespace holds every object visible in it, so also those of all its
 * descendants, and of nothing else: the walk costs what the target's size is,
 * not the machine's.
 *
 * idr and xarray: lib/idr.c, lib/xarray.c, include/linux/xarray.h.
 */
#ifndef PIDGRAFT_IDR_H
#define PIDGRAFT_IDR_H

enum walk_status {
	WALK_MORE, /* run again, from walk.next */
	WALK_DONE,
	WALK_FULL, /* the ring is full: drain, then as WALK_MORE */
	WALK_AGAIN, /* the tree changed underfoot: as WALK_MORE */
	WALK_CANNOT, /* a tree, or a pid object in it, not as expected */
};

struct walk {
	u32 next; /* in: the number to begin with; out: to go on with */
	u32 until; /* the number to stop before; 0: none */
};
_Static_assert(sizeof(struct walk) == 8, "walk");

struct walk walk;

/* The slots of the node that is being looked at. */
static u64 slots[64];

/* An internal entry has the low bits 10 (xa_is_internal); above 4096 it is a
 * node (xa_is_node), below it says "look again" (XA_RETRY_ENTRY) in an idr. */
static __always_inline bool is_internal(u64 entry)
{
	return (entry & 3) == 2;
}

static __always_inline u64 node_of(u64 entry)
{
	return is_internal(entry) && entry > 4096 ? entry - 2 : 0;
}

/* The first slot from slot on that is not empty; 64 if there is none. */
__noinline u64 next_slot(u64 slot)
{
	for (u64 i = 0; i < 64; i++, slot++) {
		/* Keep the check beside the access, where the verifier sees it. */
		barrier_var(slot);
		if (slot >= 64)
			break;
		if (slots[slot])
			return slot;
	}
	return 64;
}

/* The task that has pid object id as its own, or 0. */
static __always_inline u64 task_of(u64 id)
{
	u64 link = (u64)probe((struct pid *)id, tasks[PIDTYPE_PID].first);

	return link ? link - bpf_core_field_offset(struct task_struct, pid_links[PIDTYPE_PID]) : 0;
}

/* Emits the pid object that slot i of the leaf has, number base + i. In a
 * container with its task: all that have a number there are the target. */
__noinline u64 emit_slot(u64 i, u64 base)
{
	struct record_task *r = &task_record;
	u64 level = target.level, size;

	if (i >= 64)
		return WALK_CANNOT;
	r->pid = slots[i];
	/* Free, or reserved by a fork in progress. */
	if (!r->pid)
		return WALK_MORE;
	if (is_internal(r->pid))
		return WALK_AGAIN;
	/* An object is in the tree only when it is complete, and is freed an
	 * RCU period after it left: what does not fit is no pid object. */
	size = fill_pid(r);
	barrier_var(level);
	if (!size || level > MAX_LEVEL || r->pid_level < level ||
	    r->numbers[level].nr != (s32)(base + i) || r->numbers[level].ns != target.ns)
		return WALK_CANNOT;
	r->id = target.mode == TARGET_CONTAINER ? task_of(r->pid) : 0;
	if (!r->id)
		return emit_pid(r->pid, PID_FROM_IDR) ? WALK_FULL : WALK_MORE;
	return emit_task(r, TASK_FROM_IDR, size) ? WALK_FULL : WALK_MORE;
}

static __always_inline u64 emit_leaf(u64 from)
{
	u64 base = from & ~63ULL;

	for (u64 i = 0; i < 64; i++) {
		u64 status;

		if (base + i < from)
			continue;
		walk.next = base + i;
		status = emit_slot(i, base);
		if (status != WALK_MORE)
			return status;
	}
	walk.next = base + 64;
	return WALK_MORE;
}

/* Levels of a tree of 32-bit indices with 6 bits each. */
#define XA_LEVELS 6

/*
 * Reads into slots the leaf that has the first number from walk.next on, and
 * moves walk.next there. WALK_MORE: slots is that leaf; WALK_AGAIN also when
 * only walk.next got further.
 */
__noinline u64 find_leaf(u64 ns)
{
	u64 entry = (u64)probe((struct pid_namespace *)ns, idr.idr_rt.xa_head);
	u64 index = walk.next;

	/* Numbers begin with 1, so a tree that is not empty has a node. */
	if (!entry)
		return WALK_DONE;
	for (u64 i = 0; i < XA_LEVELS; i++) {
		u64 node = node_of(entry), shift, slot;

		if (!node)
			return is_internal(entry) ? WALK_AGAIN : WALK_CANNOT;
		shift = probe((struct xa_node *)node, shift);
		if (shift > 30)
			return WALK_CANNOT;
		/* Only the topmost node can end before the index. */
		if (i == 0 && (index >> shift) >= 64)
			return WALK_DONE;
		if (probe_bytes(slots, sizeof(slots), address((struct xa_node *)node, slots)))
			return WALK_CANNOT;
		walk.next = index;
		if (shift == 0)
			return WALK_MORE;
		slot = next_slot(index >> shift & 63);
		if (slot >= 64) {
			/* Nothing more below this node: on to its neighbour. */
			walk.next = ((index >> shift | 63) + 1) << shift;
			return i == 0 ? WALK_DONE : WALK_AGAIN;
		}
		if (slot != (index >> shift & 63))
			index = ((index >> shift & ~63ULL) | slot) << shift;
		entry = slots[slot];
	}
	return WALK_CANNOT;
}

SEC("raw_tp")
int walk_idr(void *ctx)
{
	u64 status;

	if (!xa_node_is_as_expected() || !upid_is_as_expected())
		return WALK_CANNOT;
	status = find_leaf(target.ns);
	if (status != WALK_MORE)
		return status;
	/* Leaves are not divided: until is a multiple of 64. */
	if (walk.until && walk.next >= walk.until)
		return WALK_DONE;
	return emit_leaf(walk.next);
}

#endif
