/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * What the programs write into the ring, and the loader decodes
 * (loader/record.go; a test compares the two through BTF). Addresses are
 * identities: compared, never followed. All numbers are little-endian.
 */
#ifndef PIDGRAFT_RECORD_H
#define PIDGRAFT_RECORD_H

enum record_kind {
	RECORD_TASK = 1,
	RECORD_PID,
	RECORD_NAMESPACE,
	RECORD_USER_NAMESPACE,
	RECORD_EXTENTS,
	RECORD_REFERENCE,
};

/* Levels are 0 to 32 (MAX_PID_NS_LEVEL). */
#define MAX_LEVEL 32
#define MAX_NUMBERS (MAX_LEVEL + 1)

struct record_number {
	s32 nr;
	u32 unused;
	u64 ns;
};
_Static_assert(sizeof(struct record_number) == 16, "record_number");

/* record_task.marks */
enum {
	TASK_SUBREAPER = 1 << 0,
	/* More ancestors than the programs climb: the loader decides whether
	 * the task belongs to the subtree. */
	TASK_UNDECIDED = 1 << 1,
	/* Its own pid object was found in the idr of target.ns. */
	TASK_FROM_IDR = 1 << 2,
};

/* Written up to numbers[pid_level]. */
struct record_task {
	u32 kind;
	u32 marks;
	u64 id;
	u64 real_parent;
	u64 group_leader;
	u64 prev_sibling;
	u64 prev_thread;
	u64 pid;
	u64 tgid;
	u64 pgid;
	u64 sid;
	u64 parent_tgid;
	u64 user_namespace;
	u64 child_namespace;
	u64 start_time;
	u32 jobctl; /* JOBCTL_STOP_SIGMASK of it */
	u32 exit_state;
	u32 task_flags; /* PF_EXITING and PF_KTHREAD */
	u32 signal_flags;
	u32 ptrace;
	s32 exit_code;
	s32 group_exit_code;
	s32 exit_signal;
	s32 pdeath_signal;
	s32 nr_threads;
	u32 uid;
	u32 euid;
	u32 gid;
	u32 egid;
	u32 suid;
	u32 fsuid;
	u32 sgid;
	u32 fsgid;
	char comm[16];
	/* Its own pid object, as in record_pid. */
	u32 pid_uses;
	u32 pid_level;
	struct record_number numbers[MAX_NUMBERS];
};
_Static_assert(sizeof(struct record_task) == 208 + 33 * 16, "record_task");

/* record_pid.marks: bits 0-3 are the uses, 1 << PIDTYPE_*. */
enum {
	PID_FROM_IDR = 1 << 4,
};

/* Written up to numbers[level]. */
struct record_pid {
	u32 kind;
	u32 marks;
	u64 id;
	u32 level;
	u32 unused;
	struct record_number numbers[MAX_NUMBERS];
};
_Static_assert(sizeof(struct record_pid) == 24 + 33 * 16, "record_pid");

struct record_namespace {
	u32 kind;
	u32 level;
	u64 id;
	u64 parent;
	u64 owner;
	u64 reaper;
	u32 cursor;
	u32 pid_max;
	u32 inode;
	u32 allocated;
};
_Static_assert(sizeof(struct record_namespace) == 56, "record_namespace");

struct record_user_namespace {
	u32 kind;
	u32 level;
	u64 id;
	u64 parent;
	u64 flags;
	u32 owner_uid;
	u32 owner_gid;
	u32 inode;
	u32 nr_uid; /* how many extents its maps have */
	u32 nr_gid;
	u32 unused;
};
_Static_assert(sizeof(struct record_user_namespace) == 56, "record_user_namespace");

/* A map has at most 340 extents (UID_GID_MAP_MAX_EXTENTS, so that it fits a
 * page); they come in parts. */
#define MAX_EXTENTS 340
#define EXTENTS_PART 34
#define EXTENTS_PARTS (MAX_EXTENTS / EXTENTS_PART)

enum extents_map {
	EXTENTS_UID,
	EXTENTS_GID,
};

struct record_extent {
	u32 first;
	u32 lower;
	u32 count;
};
_Static_assert(sizeof(struct record_extent) == 12, "record_extent");

/* Written up to extents[count]. */
struct record_extents {
	u32 kind;
	u32 map;
	u64 id; /* the user namespace */
	u32 first; /* index in the map of extents[0] */
	u32 count;
	struct record_extent extents[EXTENTS_PART];
};
_Static_assert(sizeof(struct record_extents) == 24 + 34 * 12, "record_extents");

enum reference_use {
	REFERENCE_TERMINAL_SESSION,
	REFERENCE_TERMINAL_GROUP,
	REFERENCE_PIDFD,
	REFERENCE_OWNER, /* + PIDTYPE_* */
};

struct record_reference {
	u32 kind;
	u32 use;
	u64 object; /* the pid object */
	u64 task; /* who has the descriptor, 0: a terminal, or not the target's */
	s32 fd; /* -1 without a task */
	u32 unused;
	char terminal[64];
};
_Static_assert(sizeof(struct record_reference) == 96, "record_reference");

#endif
