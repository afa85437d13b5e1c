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

/* What a run gives: its status, and the number to go on with, which is at most
 * 1 << 22 (PID_MAX_LIMIT). */
static __always_inline u64 walked(u64 status, u64 next)
{
	return next << 3 | status;
}

static __always_inline enum walk_status status_of(u64 walked)
{
	return walked & 7;
}

static __always_inline u64 next_of(u64 walked)
{
	return walked >> 3;
}

/* The slots of the node that a lane is looking at. */
static struct leaf {
	u64 slots[64];
} leaves[LANES];

static __always_inline struct leaf *leaf_of(u64 lane)
{
	return &leaves[lane % LANES];
}

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

/* Slots that one function looks at, so that the verifier walks loops over 8 and 8
 * and not over 64. */
#define SOME_SLOTS 8

/* The first of some slots from slot on that is not empty, or the one after them. */
__noinline u64 next_of_some(u64 lane, u64 slot)
{
	struct leaf *leaf = leaf_of(lane);

	for (u64 i = 0; i < SOME_SLOTS; i++, slot++) {
		/* Keep the check beside the access, where the verifier sees it. */
		barrier_var(slot);
		if (slot >= 64 || leaf->slots[slot])
			break;
	}
	return slot;
}

/* The first slot from slot on that is not empty; 64 if there is none. */
__noinline u64 next_slot(u64 lane, u64 slot)
{
	for (u64 i = 0; i < 64 / SOME_SLOTS; i++) {
		u64 next = next_of_some(lane, slot);

		if (next != slot + SOME_SLOTS)
			return next;
		slot = next;
	}
	return 64;
}

/* The task that has pid object id as its own, or 0. */
static __always_inline u64 task_of(u64 id)
{
	u64 link = (u64)probe((struct pid *)id, tasks[PIDTYPE_PID].first);

	return link ? task_of_link(link) : 0;
}

/* Emits the pid object that the leaf has for a number. In a container with its
 * task: all that have a number there are the target. */
__noinline u64 emit_slot(u64 lane, u64 number)
{
	struct record_task *r = &draft_of(lane)->task;
	u64 level = target.level, size;
	struct record_number *own;

	r->pid = leaf_of(lane)->slots[number & 63];
	/* Free, or reserved by a fork in progress. */
	if (!r->pid)
		return WALK_MORE;
	if (is_internal(r->pid))
		return WALK_AGAIN;
	/* An object is in the tree only when it is complete, and is freed an
	 * RCU period after it left: what does not fit is no pid object. */
	size = fill_pid(r);
	/* As in copy_numbers. */
	barrier_var(level);
	if (level > MAX_LEVEL)
		return WALK_CANNOT;
	own = &r->numbers[level];
	barrier_var(own);
	if (!size || r->pid_level < level || own->nr != (s32)number || own->ns != target.ns)
		return WALK_CANNOT;
	r->id = target.mode == TARGET_CONTAINER ? task_of(r->pid) : 0;
	if (!r->id)
		return emit_pid(lane, r->pid, PID_FROM_IDR) ? WALK_FULL : WALK_MORE;
	return emit_task(lane, r, TASK_FROM_IDR, size) ? WALK_FULL : WALK_MORE;
}

/* A part of a leaf. The verifier walks every step of a loop; of a loop that calls
 * another, those of each, once. */
#define WARM_PART 8

__noinline int warm_part(u64 lane, u64 from)
{
	struct leaf *leaf = leaf_of(lane);

#pragma clang loop unroll(disable)
	for (u64 i = 0; i < WARM_PART; i++) {
		u64 id = leaf->slots[(from + i) & 63];

		if (id && !is_internal(id))
			warm_task(id);
	}
	return 0;
}

static __always_inline void warm_leaf(u64 lane)
{
	if (!can_warm() || target.mode != TARGET_CONTAINER)
		return;
#pragma clang loop unroll(disable)
	for (u64 from = 0; from < 64; from += WARM_PART)
		warm_part(lane, from);
}

/* Goes on from number to the end of its leaf. Not in parts too: a verifier takes
 * no calls that are nine deep. */
static __always_inline u64 emit_leaf(u64 lane, u64 number)
{
	u64 status = WALK_MORE;

	for (u64 i = 0; i < 64; i++) {
		status = emit_slot(lane, number);
		if (status != WALK_MORE)
			break;
		number++;
		/* Or what comes after the loop is made part of it. */
		barrier_var(number);
		if (!(number & 63))
			break;
	}
	return walked(status, number);
}

/* Levels of a tree of 32-bit indices with 6 bits each. */
#define XA_LEVELS 6

/*
 * Reads the leaf that has the first number from index on, and gives that number
 * with WALK_MORE; WALK_AGAIN also when it only got further.
 */
__noinline u64 find_leaf(u64 lane, u64 ns, u64 index)
{
	u64 entry = (u64)probe((struct pid_namespace *)ns, idr.idr_rt.xa_head);
	struct leaf *leaf = leaf_of(lane);

	/* Numbers begin with 1, so a tree that is not empty has a node. */
	if (!entry)
		return walked(WALK_DONE, index);
	for (u64 i = 0; i < XA_LEVELS; i++) {
		u64 node = node_of(entry), shift, slot;

		if (!node)
			return walked(is_internal(entry) ? WALK_AGAIN : WALK_CANNOT, index);
		shift = probe((struct xa_node *)node, shift);
		if (shift > 30)
			return walked(WALK_CANNOT, index);
		/* Only the topmost node can end before the index. */
		if (i == 0 && (index >> shift) >= 64)
			return walked(WALK_DONE, index);
		if (probe_bytes(leaf->slots, sizeof(leaf->slots), address((struct xa_node *)node, slots)))
			return walked(WALK_CANNOT, index);
		if (shift == 0)
			return walked(WALK_MORE, index);
		slot = next_slot(lane, index >> shift & 63);
		if (slot >= 64) {
			/* Nothing more below this node: on to its neighbour. */
			index = ((index >> shift | 63) + 1) << shift;
			return walked(i == 0 ? WALK_DONE : WALK_AGAIN, index);
		}
		if (slot != (index >> shift & 63))
			index = ((index >> shift & ~63ULL) | slot) << shift;
		entry = leaf->slots[slot];
	}
	return walked(WALK_CANNOT, index);
}

/* The arguments: the lane; the number to begin with; the number to stop before,
 * a multiple of 64, since leaves are not divided, or 0; and the number of the
 * pass. With a new one the lane forgets what it has emitted. */
SEC("raw_tp")
int walk_idr(u64 *ctx)
{
	u64 lane = ctx[0], until = ctx[2], found;
	struct pass *pass = pass_of(lane);

	if (pass->number != (u32)ctx[3]) {
		__builtin_memset(pass, 0, sizeof(*pass));
		pass->number = ctx[3];
	}
	if (!xa_node_is_as_expected() || !upid_is_as_expected())
		return WALK_CANNOT;
	found = find_leaf(lane, target.ns, ctx[1]);
	if (status_of(found) != WALK_MORE)
		return found;
	if (until && next_of(found) >= until)
		return walked(WALK_DONE, next_of(found));
	warm_leaf(lane);
	return emit_leaf(lane, next_of(found));
}

#endif
