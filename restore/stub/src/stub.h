/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef PIDGRAFT_STUB_H
#define PIDGRAFT_STUB_H

#include <asm/errno.h>
#include <asm/unistd.h>

#include "plan.h"

#define noreturn __attribute__((noreturn))
#define noinline __attribute__((noinline))

/* start_*.S; a result below 0 is -errno */
long sys(long nr, long a, long b, long c, long d, long e);

#define sys0(nr)		sys(nr, 0, 0, 0, 0, 0)
#define sys1(nr, a)		sys(nr, (long)(a), 0, 0, 0, 0)
#define sys2(nr, a, b)		sys(nr, (long)(a), (long)(b), 0, 0, 0)
#define sys3(nr, a, b, c)	sys(nr, (long)(a), (long)(b), (long)(c), 0, 0)
#define sys4(nr, a, b, c, d) \
	sys(nr, (long)(a), (long)(b), (long)(c), (long)(d), 0)
#define sys5(nr, a, b, c, d, e) \
	sys(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e))

#define load(p)		__atomic_load_n(p, __ATOMIC_ACQUIRE)
#define store(p, v)	__atomic_store_n(p, v, __ATOMIC_RELEASE)

static inline struct actor *actor_at(u32 i)
{
	return (struct actor *)(PLAN_ADDR + PLAN->actors) + i;
}

static inline struct op *op_at(u32 i)
{
	return (struct op *)(PLAN_ADDR + PLAN->ops) + i;
}

/* The operations that op waits for, and what follows them. */
static inline u32 *op_after(struct op *op)
{
	return (u32 *)PLAN_ADDR + op->data;
}

static inline u32 *op_data(struct op *op)
{
	return op_after(op) + op->nafter;
}

/*
 * What the coordinator is doing, for the message when it fails: reported as
 * the operation of actor 0, which never has one in the stub.
 */
enum stage {
	STAGE_MAP,
	STAGE_LIMITS,
	STAGE_GROUPS,
	STAGE_SIGNALS,
	STAGE_UNDUMPABLE,
	STAGE_STACKS,
	STAGE_PIDFD,
	STAGE_BIRTH,
	STAGE_WATCH,
	STAGE_FILES,
	STAGE_REPORT,
	STAGE_SUBREAPER,
	STAGE_GUARD,
	STAGE_CGROUP,
	STAGES,
};

/* coordinator.c */
long map_plan(void);
noreturn void coordinate(void);

/* task.c */
noreturn void run(u32 self);
noreturn void go_on(u32 self, u32 i);
long make_child(u32 self, struct op *op);
long undumpable(void);
void arm(u32 self);
long clone_run(void *args, unsigned long size, u32 self);

/* ids.c */
struct owner {
	u32 changed, euid, egid;
	s32 pdeath;
	long securebits;
};
long become_owner(struct owner *was, const struct ids *ids);
long leave_owner(u32 self, const struct owner *was);
long set_ids(u32 self, const struct ids *ids, int keep);

/* wait.c */
void futex_wait(u32 *word, u32 value, unsigned int milliseconds);
void futex_wake(u32 *word);
void bell(void);
void publish(struct op *op, u32 state);
void fail(u32 actor, u32 op, long error);
void wait_for(struct op *op);
int ended(int pidfd, int milliseconds);

/* end.c */
long exit_thread(u32 self, struct op *op);
long exit_group(struct op *op);
long die(struct op *op);
noreturn void quit(int code);
noreturn void park(void);

/* fault.c */
long die_as_init(int sig);

/* place.c */
int in_place(void);
long make_cgroup(void);
void clear_cgroup(int lives);
long make_guard(void);
noreturn void stand_guard(void);
void dismiss_guard(void);

/* hold.c */
noreturn void hold(u32 self, struct op *op);
noreturn void serve(u32 self, struct op *op);
noreturn void stay(struct op *op);

/* exec.c */
long exec_again(u32 self, struct op *op);
noreturn void come_again(char **argv);
noreturn void exec_program(struct program *program);

/* maps.c */
int write_maps(char **argv);

#endif
