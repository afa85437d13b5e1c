/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * What the programs of audit.bpf.c write into their ring, and loader/event.go
 * decodes (a test compares the two through BTF).
 *
 * An event does not say what changed but what is: the task as it was read after
 * the room for the event was reserved. So the last event about a task in the
 * order of the ring is at least as new as every change of it that an earlier
 * event announced, whichever processor wrote which (docs/design/audit.md).
 */
#ifndef PIDGRAFT_EVENT_H
#define PIDGRAFT_EVENT_H

#include "record.h"

enum event_kind {
	EVENT_BIRTH = 1, /* task_newtask */
	EVENT_EXEC,
	EVENT_EXIT, /* it begins to exit */
	EVENT_FREE, /* nothing refers to it any more; only the head */
	EVENT_CHANGE, /* a system call that may have changed it */
	EVENT_REFRESH, /* read because somebody asked */
};

/* event.marks */
enum {
	EVENT_SUBREAPER = 1 << 0,
};

struct event_number {
	s32 nr;
	u32 inode; /* of ns */
	u64 ns;
};
_Static_assert(sizeof(struct event_number) == 16, "event_number");

struct event_head {
	u32 kind;
	u32 cpu;
	u64 when; /* CLOCK_MONOTONIC, before anything was read */
	u64 lost; /* events this processor has lost so far */
	u64 task;
	u64 start_time;
};
_Static_assert(sizeof(struct event_head) == 40, "event_head");

/* The task that made another one. */
struct event_creator {
	u64 task;
	u64 ns; /* its own pid namespace */
	u32 inode; /* of ns */
	s32 nr; /* its process, in the target's namespace; 0: not visible there */
	s32 host_nr; /* its process, in the initial namespace */
	u32 uid;
	char comm[16];
};
_Static_assert(sizeof(struct event_creator) == 48, "event_creator");

/* Numbers that an ordinary event has room for; deeper ones have room for all. */
#define SHALLOW_NUMBERS 4

/* Written up to numbers[SHALLOW_NUMBERS] or numbers[MAX_NUMBERS]; numbers[level]
 * is the last that means something. */
struct event {
	struct event_head head;
	u64 pid; /* 0: it has been released since */
	u64 tgid;
	u64 pgid;
	u64 sid;
	u64 parent;
	u64 parent_tgid;
	u64 child_namespace; /* 0: it has exited */
	u64 detail; /* birth: clone flags; change: the system call */
	u32 child_inode;
	u32 marks;
	u32 exit_state;
	u32 task_flags;
	s32 exit_code;
	s32 exit_signal;
	s32 tgid_nr; /* in the target's namespace, as the next two */
	s32 pgid_nr;
	s32 sid_nr;
	u32 uid;
	char comm[16];
	struct event_creator creator; /* birth */
	u32 level;
	u32 unused;
	struct event_number numbers[MAX_NUMBERS];
};
_Static_assert(sizeof(struct event) == 40 + 64 + 40 + 16 + 48 + 8 + 33 * 16, "event");

#define EVENT_SHALLOW (sizeof(struct event) - (MAX_NUMBERS - SHALLOW_NUMBERS) * sizeof(struct event_number))

#endif
