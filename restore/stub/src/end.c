/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The ways in which a task of a plan ends. */
#include <asm/signal.h>
#include <linux/fcntl.h>
#include <linux/prctl.h>

#include "stub.h"

noreturn void quit(int code)
{
	for (;;)
		sys1(__NR_exit_group, code);
}

/* Until somebody kills it: after a failure, or by plan. */
noreturn void park(void)
{
	for (;;)
		sys4(__NR_ppoll, 0, 0, 0, 0);
}

/*
 * Says that this task is about to end and, if anybody must see it happen,
 * where: its number in the /proc that all see, since a number of its own is
 * not known to a waiter elsewhere.
 */
static long leave(struct op *op)
{
	static const char proc[6] = "/proc/", stat[6] = "/stat";
	char *path = (char *)op_data(op);
	long i, n;

	if (op->mark & MARK_TRACE) {
		n = sys4(__NR_readlinkat, AT_FDCWD,
			 "/proc/thread-self", path + 6, TRACE_SIZE - 12);
		if (n < 0)
			return n;
		for (i = 0; i < 6; i++) {
			path[i] = proc[i];
			path[6 + n + i] = stat[i];
		}
	}
	publish(op, OP_LEAVING);
	return 0;
}

long exit_thread(u32 self, struct op *op)
{
	long error;

	/*
	 * The parent-death signal of a dead leader still reaches its process,
	 * so another thread must guard the restore before this one leaves
	 * with the one that the image has.
	 */
	if (self == PLAN->init && self != PLAN->committer) {
		while (!load(&PLAN->armed))
			futex_wait(&PLAN->armed, 0, 0);
		error = sys2(__NR_prctl, PR_SET_PDEATHSIG,
			     PLAN->leader_pdeath);
		if (error < 0)
			return error;
	}
	error = leave(op);
	if (error < 0)
		return error;
	for (;;)
		sys1(__NR_exit, op->number);
}

long exit_group(struct op *op)
{
	long error = leave(op);

	if (error < 0)
		return error;
	quit(op->number);
}

/* No core, whatever limits and patterns say, and so no 0x80 in the status. */
long die(struct op *op)
{
	u64 set = 1ULL << (op->arg - 1);
	u64 action[4] = { 0 };
	long error;

	error = undumpable();
	if (error < 0)
		return error;
	if (op->arg != SIGKILL) {
		error = sys4(__NR_rt_sigaction, op->arg, action, 0, 8);
		if (error < 0)
			return error;
	}
	error = leave(op);
	if (error < 0)
		return error;
	if (sys0(__NR_getpid) == 1) {
		error = die_as_init(op->arg);
		return error < 0 ? error : -ECANCELED; /* it lives */
	}
	sys4(__NR_rt_sigprocmask, SIG_UNBLOCK, &set, 0, 8);
	error = sys3(__NR_tgkill, sys0(__NR_getpid), sys0(__NR_gettid),
		     op->arg);
	return error < 0 ? error : -ECANCELED; /* it lives */
}
