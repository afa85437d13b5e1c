/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The first process of the stub: makes Init, and stands between it and the
 * restorer. When the restorer goes away without a word, Init is killed; when
 * the coordinator itself is killed, Init's parent-death signal does it.
 */
#include <asm/poll.h>
#include <asm/signal.h>
#include <linux/fcntl.h>
#include <linux/mman.h>
#include <linux/prctl.h>
#include <linux/resource.h>
#include <linux/sched.h>
#include <linux/wait.h>

#include "stub.h"

#define EXIT_STUB 125

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

noreturn static void fatal(enum stage stage, long error)
{
	if (stage > STAGE_MAP)
		fail(0, stage, error);
	quit(EXIT_STUB);
}

static void check(enum stage stage, long result)
{
	if (result < 0)
		fatal(stage, result);
}

/* The size, or why not. */
long map_plan(void)
{
	long size = sys3(__NR_lseek, FD_PLAN, 0, 2 /* SEEK_END */);
	long at;

	if (size < (long)sizeof(struct plan))
		return -EINVAL;
	at = sys5(__NR_mmap, PLAN_ADDR, size, PROT_READ | PROT_WRITE,
		  MAP_SHARED | MAP_FIXED_NOREPLACE, FD_PLAN);
	if (at != (long)PLAN_ADDR)
		return at < 0 ? at : -EEXIST;
	if (PLAN->magic != PLAN_MAGIC || PLAN->version != PLAN_VERSION ||
	    PLAN->size != (u64)size)
		return -EINVAL;
	return size;
}

static void map_stacks(void)
{
	unsigned long size = PLAN->nactors * STACK_SIZE;
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE |
		    MAP_NORESERVE;
	long at;

	size = (size + 65535) & ~65535UL;
	at = sys5(__NR_mmap, STACKS_ADDR, size, PROT_READ | PROT_WRITE, flags,
		  -1);
	if (at >= 0 && at != (long)STACKS_ADDR)
		at = -EEXIST;
	check(STAGE_STACKS, at);
}

/*
 * Descriptors of namespaces and of their inits are kept in one table; a task
 * that dies by a signal leaves no core. A program gets its limits back.
 */
static void set_limits(void)
{
	u64 now[2];

	check(STAGE_LIMITS, sys4(__NR_prlimit64, 0, RLIMIT_NOFILE, 0,
				 PLAN->nofile));
	now[0] = now[1] = PLAN->nofile[1];
	check(STAGE_LIMITS, sys4(__NR_prlimit64, 0, RLIMIT_NOFILE, now, 0));
	check(STAGE_LIMITS, sys4(__NR_prlimit64, 0, RLIMIT_CORE, 0,
				 PLAN->core));
	now[0] = 0;
	now[1] = PLAN->core[1];
	check(STAGE_LIMITS, sys4(__NR_prlimit64, 0, RLIMIT_CORE, now, 0));
}

/*
 * Every signal is blocked until a task holds, so that none interrupts a plan,
 * and has its default action, whatever the restorer inherited: an ignored
 * SIGCHLD would reap the zombies of the forest.
 */
static void set_signals(void)
{
	u64 all = ~0ULL;
	u64 action[4] = { 0 };
	int sig;

	check(STAGE_SIGNALS, sys4(__NR_rt_sigprocmask, SIG_SETMASK, &all, 0, 8));
	for (sig = 1; sig <= 64; sig++) {
		if (sig == SIGKILL || sig == SIGSTOP)
			continue;
		check(STAGE_SIGNALS,
		      sys4(__NR_rt_sigaction, sig, action, 0, 8));
	}
}

/* What the coordinator was started with, or inherited, is not for programs. */
static void close_on_exec(void)
{
	int fd, last = PLAN->pidfile ? FD_PIDFILE : FD_BELL;

	check(STAGE_FILES, sys3(__NR_close_range, last + 1, ~0U, 0));
	for (fd = FD_PLAN; fd <= last; fd++)
		check(STAGE_FILES,
		      sys3(__NR_fcntl, fd, F_SETFD, FD_CLOEXEC));
}

static void prepare(void)
{
	long size = map_plan();

	check(STAGE_MAP, size);
	/* No page fault per page later; only worth it when all share it. */
	if (!(PLAN->flags & PLAN_OWN_MEMORY))
		sys3(__NR_madvise, PLAN_ADDR, size, 23 /* POPULATE_WRITE */);
	close_on_exec();
	sys2(__NR_prctl, PR_SET_NAME, "pidgraft-coord");
	set_limits();
	/* the restorer's supplementary groups are nobody else's */
	check(STAGE_GROUPS, sys2(__NR_setgroups, 0, 0));
	set_signals();
	check(STAGE_UNDUMPABLE, undumpable());
	map_stacks();
	/* what outsiders leave comes here, and is collected */
	check(STAGE_SUBREAPER, sys2(__NR_prctl, PR_SET_CHILD_SUBREAPER, 1));
	PLAN->self_pidfd = sys2(__NR_pidfd_open, sys0(__NR_getpid), 0);
	check(STAGE_PIDFD, PLAN->self_pidfd);
	if (!(PLAN->flags & PLAN_EXEC)) /* hold no directory busy */
		sys1(__NR_chdir, "/");
	if (in_place()) { /* the guard first: it removes the cgroup */
		check(STAGE_GUARD, make_guard());
		check(STAGE_CGROUP, make_cgroup());
	}
}

/*
 * Collects Init, whose end is the end of everything in its namespace, and
 * whatever else ends here before: outsiders, and what they left, for which
 * Init waits.
 */
static void reap_init(s32 pid)
{
	s32 status = 0;
	long got;

	do {
		got = sys4(__NR_wait4, -1, &status, __WALL, 0);
	} while (got == -EINTR || (got > 0 && got != pid));
	if (got < 0) /* collected before */
		return;
	PLAN->init_status = status;
	store(&PLAN->init_ended, 1);
}

/*
 * Whether Init has ended, and if so collects it. Meanwhile it may wait for the
 * ends of those who entered its namespace from here (zap_pid_ns_processes), so
 * these are collected, too: whoever only looks at Init would wait for ever.
 */
static int init_ended(s32 pid)
{
	s32 status = 0;
	long got;

	do {
		got = sys4(__NR_wait4, -1, &status, __WALL | WNOHANG, 0);
	} while (got == -EINTR || (got > 0 && got != pid));
	if (got == pid) {
		PLAN->init_status = status;
		store(&PLAN->init_ended, 1);
	}
	return got != 0;
}

/*
 * What lives beside the new namespace does not end with it, and one that is just
 * changing its credentials not with its parent either. All of it comes here.
 */
static void end_beside(void)
{
	struct actor *actor;
	u32 i;

	for (i = 0; i < PLAN->nactors; i++) {
		actor = actor_at(i);
		if (actor->beside && load(&actor->pidfd) >= 0)
			sys4(__NR_pidfd_send_signal, actor->pidfd, SIGKILL, 0,
			     0);
	}
}

/* Whoever was being made when its maker was killed is here by the next round. */
static void bury(s32 init)
{
	s32 status = 0;
	long got;

	for (;;) {
		end_beside();
		got = sys4(__NR_wait4, -1, &status, __WALL, 0);
		if (got == -EINTR)
			continue;
		if (got < 0)
			return;
		if (got == init) {
			PLAN->init_status = status;
			store(&PLAN->init_ended, 1);
		}
	}
}

/* All that the coordinator made. Their numbers stay theirs until reaped. */
noreturn static void abort_forest(struct actor *init)
{
	struct op *op;
	u32 i;

	if (in_place()) {
		clear_cgroup(0);
		dismiss_guard();
		reap_init(init->pid);
		quit(EXIT_STUB);
	}
	for (i = 0; i < PLAN->nbirths; i++) {
		op = op_at(i);
		if (load(&op->state) == OP_DONE)
			sys4(__NR_pidfd_send_signal, actor_at(op->child)->pidfd,
			     SIGKILL, 0, 0);
	}
	bury(init->pid);
	quit(EXIT_STUB);
}

/* Outsiders but one that stays have done their work by now. */
static void reap_outsiders(void)
{
	s32 pid;
	long got;
	u32 i;

	for (i = 1; i < PLAN->nbirths; i++) {
		if (op_at(i)->child == (s32)PLAN->stays)
			continue;
		pid = actor_at(op_at(i)->child)->pid;
		do {
			got = sys4(__NR_wait4, pid, 0, __WALL, 0);
		} while (got == -EINTR);
	}
}

/* Until the restorer commits; does not return if it does not. */
static void await_word(struct actor *init)
{
	struct pollfd fds[2] = {
		{ .fd = FD_LIFE, .events = POLLIN },
		{ .fd = init->pidfd, .events = POLLIN },
	};
	u8 word;
	long n;

	for (;;) {
		n = sys5(__NR_ppoll, fds, 2, 0, 0, 0);
		if (n < 0 && n != -EINTR) {
			fail(0, STAGE_WATCH, n);
			abort_forest(init);
		}
		if (fds[1].revents)
			abort_forest(init);
		if (!fds[0].revents)
			continue;
		n = sys3(__NR_read, FD_LIFE, &word, 1);
		if (n == 1)
			return;
		if (n != -EINTR)
			abort_forest(init);
	}
}

/* In place nothing may leave the cgroup before the forest is reported. */
static void settle(struct actor *init)
{
	u32 now;

	while ((now = load(&PLAN->commit)) != COMMIT_DONE) {
		if (ended(init->pidfd, 0) &&
		    load(&PLAN->commit) != COMMIT_DONE)
			abort_forest(init);
		futex_wait(&PLAN->commit, now, 100);
	}
	clear_cgroup(1);
	dismiss_guard();
}

/*
 * The stop of a root that is Init itself can only be sent from outside, and
 * nothing but Init can commit and report, so this is done after both, and when
 * it has closed the report's pipe: a reader waits for its end.
 */
static void stop_root(s32 pid, int pidfd)
{
	int flags = WSTOPPED | __WALL | (PLAN->root_stop > 1 ? 0 : WNOWAIT);
	long got;

	while (!load(&PLAN->closed)) {
		if (init_ended(pid))
			return;
		futex_wait(&PLAN->closed, 0, 100);
	}
	sys4(__NR_pidfd_send_signal, pidfd, SIGSTOP, 0, 0);
	do {
		got = sys5(__NR_waitid, P_PID, pid, 0, flags | WEXITED | WNOWAIT, 0);
	} while (got == -EINTR);
	if (!(flags & WNOWAIT))
		sys5(__NR_waitid, P_PID, pid, 0, flags | WNOHANG, 0);
}

/*
 * From COMMIT_DECIDED on the forest lives by itself: Init gives up its
 * parent-death signal and reports. A coordinator killed before that takes
 * the forest with it, unreported.
 */
static void commit(struct actor *init)
{
	u32 enough = PLAN->pdeath ? COMMIT_LEAVE : COMMIT_DONE;
	s32 pid = init->pid;
	int pidfd = init->pidfd;
	long error;
	u32 now;

	/* Init closes everything in the table that the tasks share. */
	error = sys1(__NR_unshare, CLONE_FILES);
	if (error < 0) {
		fail(0, STAGE_FILES, error);
		abort_forest(init);
	}
	store(&PLAN->commit, COMMIT_DECIDED);
	futex_wake(&PLAN->commit);
	/* a holder waits for signals instead: from outside it takes any */
	sys4(__NR_pidfd_send_signal, pidfd, SIGURG, 0, 0);
	if (in_place())
		settle(init);

	if (PLAN->root_stop)
		stop_root(pid, pidfd);
	if (PLAN->flags & PLAN_DETACH) {
		/*
		 * Its end must not be what orphans a group: the kernel would
		 * wake the stopped there (kill_orphaned_pgrp, kernel/exit.c).
		 */
		sys0(__NR_setsid);
		for (;;) {
			now = load(&PLAN->commit);
			if (now >= enough)
				quit(0);
			if (init_ended(pid))
				quit(EXIT_STUB);
			futex_wait(&PLAN->commit, now, 100);
		}
	}
	sys3(__NR_close_range, 0, ~0U, 0);
	reap_init(pid);
	quit(0);
}

noreturn void coordinate(void)
{
	struct actor *init;
	long error;
	u32 i;

	prepare();
	init = actor_at(PLAN->init);
	for (i = 0; i < PLAN->nbirths; i++) {
		error = make_child(0, op_at(i));
		if (error < 0 && i == 0 && !in_place())
			fatal(STAGE_BIRTH, error);
		if (error < 0) {
			fail(0, STAGE_BIRTH, error);
			abort_forest(init);
		}
		publish(op_at(i), OP_DONE);
	}
	await_word(init);
	reap_outsiders();
	commit(init);
	quit(0);
}

/* Called by _start with the kernel's initial stack. */
noreturn void start(long *stack);
noreturn void start(long *stack)
{
	char **argv = (char **)(stack + 1);

	if (stack[0] > 1 && argv[0][0] == 0)
		come_again(argv + 1);
	if (stack[0] > 1)
		quit(write_maps(argv + 1));
	coordinate();
}
