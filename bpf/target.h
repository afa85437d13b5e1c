/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * Which tasks belong to the target. The programs decide, so that nothing
 * outside it crosses into user space.
 */
#ifndef PIDGRAFT_TARGET_H
#define PIDGRAFT_TARGET_H

enum target_mode {
	TARGET_CONTAINER, /* every task that has a number in target.ns */
	TARGET_SUBTREE,   /* the root process and its descendants */
	TARGET_MACHINE,   /* every task that the iterator shows */
};

/*
 * The root process is known by its pid object. The loader holds a pidfd of it,
 * and a pidfd holds the object, which in turn holds its namespaces: while the
 * pidfd is open neither address can come to mean something else, also when
 * another thread of the process execs and takes the leader's place.
 */
struct target {
	u64 pid; /* 0: not found yet */
	u64 ns; /* the object's own namespace */
	u64 self; /* the thread-group leader of whoever reads the iterator */
	u32 level;
	s32 nr; /* in: in the reader's namespace; once found: in its own */
	u32 mode;
	u32 reader_level;
};
_Static_assert(sizeof(struct target) == 40, "target");

struct target target;

enum membership {
	OUTSIDE,
	INSIDE,
	UNDECIDED,
};

/* Ancestors climbed in one go, and how often, and how often that. The verifier
 * walks every step of a loop, but a global function only once, and it does so for
 * each program at each start: 1000 in one loop would cost forty times as much. */
#define CLIMB_STEPS 10

/* INSIDE, OUTSIDE, or the address of an ancestor to go on from. */
__noinline u64 climb(u64 task)
{
	for (int i = 0; i < CLIMB_STEPS; i++) {
		struct task_struct *leader, *parent;

		leader = probe((struct task_struct *)task, group_leader);
		if ((u64)probe(leader, thread_pid) == target.pid)
			return INSIDE;
		parent = probe(leader, real_parent);
		/* The first task of the machine is its own parent. */
		if (!parent || parent == leader)
			return OUTSIDE;
		task = (u64)parent;
	}
	return task;
}

/* As climb, so many times. */
__noinline u64 climb_far(u64 task)
{
	for (int i = 0; i < CLIMB_STEPS; i++) {
		task = climb(task);
		if (task == INSIDE || task == OUTSIDE)
			break;
	}
	return task;
}

static __always_inline u64 in_subtree(u64 task)
{
	for (int i = 0; i < CLIMB_STEPS; i++) {
		task = climb_far(task);
		if (task == INSIDE || task == OUTSIDE)
			return task;
	}
	return UNDECIDED;
}

static __always_inline u64 in_container(u64 task)
{
	u64 pid = (u64)probe((struct task_struct *)task, thread_pid);
	struct upid upid = {};

	if (!pid || probe((struct pid *)pid, level) < target.level)
		return OUTSIDE;
	if (probe_bytes(&upid, sizeof(upid), pid_upid(pid, target.level)))
		return OUTSIDE;
	return (u64)upid.ns == target.ns ? INSIDE : OUTSIDE;
}

__noinline u64 membership(u64 task)
{
	switch (target.mode) {
	case TARGET_CONTAINER:
		return in_container(task);
	case TARGET_SUBTREE:
		return in_subtree(task);
	}
	return INSIDE;
}

#endif
