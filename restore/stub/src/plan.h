/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The plan as it lies in shared memory: written by package restore, read and
 * filled with results by the stub. ../layout.go has the same in Go; layout.c
 * lists what a test compares.
 */
#ifndef PIDGRAFT_PLAN_H
#define PIDGRAFT_PLAN_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef int s32;
typedef unsigned long long u64;

/*
 * Where every task of a plan sees it. Far from what the kernel places, and
 * inside the smallest address space that arm64 is built with (39 bits).
 */
#define PLAN_ADDR	0x1000000000UL
#define STACKS_ADDR	0x2000000000UL
#define PLAN_MAGIC	0x54464750u
#define PLAN_VERSION	2

/* One stack per actor. FRAME_LIMIT (Makefile) times the call depth fits. */
#define STACK_SIZE	2048UL

/* Descriptors that the coordinator is started with. */
#define FD_PLAN		3	/* the memfd of the plan */
#define FD_LIFE		4	/* pipe: a byte commits, the end kills */
#define FD_BELL		5	/* eventfd: there is news for the restorer */
#define FD_PIDFILE	6	/* a file that is to have a name; only with PIDFILE_* */

/* struct plan, flags */
#define PLAN_OWN_MEMORY	1u	/* processes get their own memory */
#define PLAN_DETACH	2u	/* the coordinator leaves after the commit */
#define PLAN_EXEC	4u	/* held leaders run a program at the commit */
#define PLAN_ROOT_ENDED	8u	/* the root below the holder is a zombie */
#define PLAN_IN_PLACE	16u	/* in the namespace of the restorer: place.c */
#define PLAN_NULL_STDIO	32u	/* after the report, 1 and 2 become what 0 is */
#define PLAN_ROOT_WAITS	64u	/* the root below the holder waits for its namespace */

/* struct plan, commit */
#define COMMIT_NONE	0u
#define COMMIT_DECIDED	1u	/* from here on only the forest's end ends it */
#define COMMIT_LEAVE	2u	/* the coordinator's death kills no more */
#define COMMIT_DONE	3u	/* reported */

/* struct plan, pidfile */
#define PIDFILE_NONE	0u
#define PIDFILE_LINKED	1u	/* it has no name before: its links tell */
#define PIDFILE_RENAMED	2u	/* it has another */

/* struct op, state */
#define OP_PENDING	0u
#define OP_DONE		1u
#define OP_LEAVING	2u	/* an ending: made, its task may not be gone yet */

/* struct op, mark */
#define MARK_NOTIFY	1u	/* another actor may wait for it */
#define MARK_BELL	2u	/* the restorer waits for it */
#define MARK_TRACE	4u	/* an ending that somebody must see happen */
#define MARK_EXEC	8u	/* a hold that runs a program at the commit */
#define MARK_LINGERS	16u	/* an ending of an init that its namespace delays */

/* struct op, flags: plan.CloneFlags */
#define F_NEWPID	1u
#define F_NEWUSER	2u
#define F_PARENT	4u
#define F_THREAD	8u
#define F_PIDFD		16u

/* struct op, code: plan.Code */
enum code {
	OP_CLONE,
	OP_SETSID,
	OP_SETPGID,
	OP_SUBREAPER,
	OP_REAP,
	OP_AWAIT,
	OP_JOIN_PID,
	OP_JOIN_USER,
	OP_KEEP,
	OP_UNSHARE_PID,
	OP_UNSHARE_USER,
	OP_WRITE_MAPS,
	OP_COMM,
	OP_SET_IDS,
	OP_IGNORE,
	OP_KILL,
	OP_STOP,
	OP_UNDUMPABLE,
	OP_PDEATH,
	OP_CURSOR,
	OP_PID_MAX,
	OP_SPOIL,
	OP_EXEC,
	OP_NOP,
	OP_HOLD,
	OP_EXIT_THREAD,
	OP_EXIT_GROUP,
	OP_DIE,
	OP_PERISH,
	OP_SERVE,
	OP_STAY,
	OP_END,
	OP_CODES,
};

/*
 * One operation and its result. Its data are nafter indices of operations
 * that must be done first, then what the code needs:
 * clone: struct ids if F_NEWUSER, then count numbers; unshare-user, set-ids:
 * struct ids; comm: COMM_SIZE bytes; hold with MARK_EXEC: struct program; an
 * ending with MARK_TRACE: TRACE_SIZE bytes to be filled by the stub.
 */
struct op {
	u8 code;
	u8 flags;
	u8 mark;
	u8 count;	/* of numbers; of a stop: 1 if wait is to report it */
	s32 child;	/* actor, or -1 */
	s32 arg;	/* the Pid, Via or Signal of the plan's operation */
	s32 number;
	u32 data;	/* where its data are, in words from PLAN_ADDR */
	u32 nafter;
	u32 state;	/* futex */
	s32 value;	/* a clone: the child's number as its creator sees it */
};

struct actor {
	u32 first;	/* its first operation */
	u32 count;	/* how many */
	u32 at;		/* the one it is at, for messages */
	s32 pid;	/* its number as its creator sees it */
	s32 pidfd;	/* in the table that all share, or -1 */
	s32 user_fd;	/* likewise: its user namespace, if kept */
	s32 ns_fd;	/* its active pid namespace */
	u32 beside;	/* it lives outside of Init's namespace */
};

struct ids {
	u32 uid, euid, suid, fsuid; /* of an owner, only uid and gid count */
	u32 gid, egid, sgid, fsgid;
};

struct program {
	struct ids ids;
	u32 set_ids;
	u32 pad;
	u64 envp;	/* address of its environment */
};

#define COMM_SIZE	16
#define TRACE_SIZE	64	/* "/proc/PID/task/TID/stat" */

/* The first thing that went wrong; the rest follows from it. */
struct failure {
	u32 state;	/* 0 none, 1 being written, 2 written */
	u32 actor;
	u32 op;		/* index in the plan */
	s32 error;	/* errno */
};

struct plan {
	/* set by the restorer */
	u32 magic;
	u32 version;
	u64 size;	/* bytes, a multiple of the page size */
	u64 actors;	/* byte offsets */
	u64 ops;
	u32 nactors;
	u32 nops;
	u32 flags;
	u32 nbirths;	/* the first operations: the coordinator makes Init by the
			 * first, outsiders by the others */
	u32 init;	/* actor that becomes number 1 */
	u32 committer;	/* actor of Init's process that commits */
	u32 nholds;
	s32 root_number;	/* of the root, as the holder sees it */
	s32 pdeath;	/* pdeath_signal of the committer after the commit */
	u32 report;	/* byte offset and length of the line that reports */
	u32 report_len;	/* success, to be written by Init */
	s32 leader_pdeath;	/* of Init, if it is dead by then */
	u64 exec_path;	/* addresses */
	u64 exec_argv;
	u64 cgroup;	/* in place: where the coordinator makes it */

	/* set by the coordinator before there is any other task */
	s32 self_pidfd;
	u32 root_stop;	/* set by the restorer: 1 if Init is to be stopped after
			 * the commit, 2 if wait is to report it, too */
	s32 cgroup_fd;
	s32 guard_pidfd;
	u64 nofile[2];	/* limits to give back to a program: soft, hard */
	u64 core[2];

	/* set while it runs; each kind on its own cache line */
	u32 held __attribute__((aligned(64)));
	u32 commit __attribute__((aligned(64)));	/* futex */
	u32 armed;	/* futex: the committer has its parent-death signal */
	u32 root_ended;
	s32 root_status;	/* wait status */
	u32 init_ended;
	s32 init_status;	/* wait status */
	struct failure failure;

	/* of an outsider that stays: set by the restorer, 0 if there is none */
	u32 stays __attribute__((aligned(64)));	/* actor */
	u32 settled;	/* futex: it has no parent-death signal any more */
	u32 alive;	/* futex: the lock of the committer, who never gives it up */
	u32 closed;	/* futex: the committer has closed what the tasks share */
	u64 robust[3];	/* struct robust_list_head of the committer */
	u64 robust_entry;

	/* set by the restorer */
	u32 pidfile;	/* PIDFILE_*: there is one to be named before the report */
	u32 named;	/* futex: it has its name */
} __attribute__((aligned(64)));

#define PLAN ((struct plan *)PLAN_ADDR)

_Static_assert(sizeof(struct op) == 32, "struct op");
_Static_assert(sizeof(struct actor) == 32, "struct actor");
_Static_assert(sizeof(struct plan) == 384, "struct plan");

#endif
