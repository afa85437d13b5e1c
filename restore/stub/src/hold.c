/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Where tasks stay once they are in place, and the commit, which one of them
 * carries out: a thread of Init, because what lives iff the forest does must
 * be the one to say that it does.
 */
#include <asm/poll.h>
#include <asm/signal.h>
#include <linux/fcntl.h>
#include <linux/futex.h>
#include <linux/prctl.h>
#include <linux/stat.h>
#include <linux/time_types.h>
#include <linux/wait.h>

#include "stub.h"

#define EXIT_REPORT 125

/* siginfo_t, as far as it is read */
struct siginfo {
	s32 signo, error, code, pad;
	s32 pid; /* sender in the receiver's namespace, 0: from above it */
	u32 uid;
	u8 rest[104];
};

_Static_assert(sizeof(struct siginfo) == 128, "siginfo_t");

static int committed(void)
{
	return load(&PLAN->commit) == COMMIT_DONE;
}

/*
 * The last one to be in place tells the restorer. Counted first: what waits
 * for the hold may be a stop of this very task.
 */
static void arrive(struct op *op)
{
	u32 held = __atomic_add_fetch(&PLAN->held, 1, __ATOMIC_ACQ_REL);

	publish(op, OP_DONE);
	if (held == PLAN->nholds)
		bell();
}

/* In the table that all share: what programs of a detached forest get. */
static void null_stdio(void)
{
	int fd;

	for (fd = 1; fd <= 2; fd++)
		if (sys3(__NR_dup3, 0, fd, 0) < 0)
			sys1(__NR_close, fd);
}

static int write_report(void)
{
	const char *at = (const char *)(PLAN_ADDR + load(&PLAN->report));
	long n, left = load(&PLAN->report_len);

	while (left > 0) {
		n = sys3(__NR_write, 1, at, left);
		if (n == -EINTR)
			continue;
		if (n <= 0) {
			fail(0, STAGE_REPORT, n ? n : -EIO);
			return 0;
		}
		at += n;
		left -= n;
	}
	return 1;
}

/*
 * An outsider that stays must notice the end of Init, of whose namespace it has
 * zombies: the pidfd does not become readable before they are collected. The
 * kernel writes into the word of a lock whose holder ends, or runs a program
 * (exit_robust_list, kernel/futex/core.c).
 */
static void let_notice(u32 self)
{
	u64 *head = PLAN->robust;
	long error;

	head[0] = (u64)&PLAN->robust_entry;
	head[1] = (u64)&PLAN->alive - head[0];
	head[2] = 0;
	PLAN->robust_entry = (u64)head;
	store(&PLAN->alive, sys0(__NR_gettid) | FUTEX_WAITERS);
	error = sys2(__NR_set_robust_list, head, sizeof(PLAN->robust));
	if (error < 0) {
		fail(self, load(&actor_at(self)->at), error);
		park();
	}
}

/*
 * The end of an outsider that stays. Once the forest lives by itself so does
 * this, before the committer goes on.
 */
noreturn void stay(struct op *op)
{
	u32 now;

	arrive(op);
	while (load(&PLAN->commit) == COMMIT_NONE) {
		if (load(&PLAN->alive) & FUTEX_OWNER_DIED)
			quit(0);
		futex_wait(&PLAN->commit, COMMIT_NONE, 500);
	}
	sys2(__NR_prctl, PR_SET_PDEATHSIG, 0);
	store(&PLAN->settled, 1);
	futex_wake(&PLAN->settled);
	while (!((now = load(&PLAN->alive)) & FUTEX_OWNER_DIED))
		futex_wait(&PLAN->alive, now, 0);
	quit(0);
}

static void await_outsider(void)
{
	while (PLAN->stays && !load(&PLAN->settled)) {
		futex_wait(&PLAN->settled, 0, 100);
		if (ended(actor_at(PLAN->stays)->pidfd, 0))
			quit(1);
	}
}

/*
 * The restorer gives the pidfile its name as soon as nobody's death ends the
 * forest any more, with its own rights. If it dies meanwhile, the links of the
 * file tell whether it came to that; if not, there is nothing to report.
 */
static void await_pidfile(void)
{
	struct pollfd life = { .fd = FD_LIFE };
	struct __kernel_timespec now = { 0 };
	struct statx st;

	store(&PLAN->commit, COMMIT_LEAVE);
	futex_wake(&PLAN->commit);
	bell();
	while (!load(&PLAN->named)) {
		futex_wait(&PLAN->named, 0, 100);
		sys5(__NR_ppoll, &life, 1, &now, 0, 0);
		if (!(life.revents & POLLHUP) || load(&PLAN->named))
			continue;
		if (PLAN->pidfile == PIDFILE_LINKED &&
		    sys5(__NR_statx, FD_PIDFILE, "", AT_EMPTY_PATH, STATX_NLINK,
			 &st) == 0 && st.stx_nlink)
			return;
		quit(EXIT_REPORT);
	}
}

/*
 * Up to the first step a dead coordinator kills everything; after it nothing
 * does, and the report is made whatever happens to the others.
 */
static void commit(void)
{
	s32 pdeath = PLAN->pdeath;

	await_outsider();
	sys2(__NR_prctl, PR_SET_PDEATHSIG, 0);
	if (PLAN->pidfile)
		await_pidfile();
	if (pdeath && (PLAN->flags & PLAN_DETACH)) {
		/* or the coordinator's leaving would fire it */
		store(&PLAN->commit, COMMIT_LEAVE);
		futex_wake(&PLAN->commit);
		while (!ended(PLAN->self_pidfd, -1))
			;
	}
	if (pdeath)
		sys2(__NR_prctl, PR_SET_PDEATHSIG, pdeath);
	if (!write_report())
		quit(EXIT_REPORT);
	if (PLAN->flags & PLAN_NULL_STDIO)
		null_stdio();
	store(&PLAN->commit, COMMIT_DONE);
	futex_wake(&PLAN->commit);
	bell();
	/* the table that all share: no pipe must stay open for a reader */
	sys3(__NR_close_range, PLAN->flags & PLAN_EXEC ? 3 : 0, ~0U, 0);
	store(&PLAN->closed, 1);
	futex_wake(&PLAN->closed);
}

static int ignored_by_default(int sig)
{
	return sig == SIGCHLD || sig == SIGCONT || sig == SIGURG ||
	       sig == SIGWINCH;
}

static int stops_by_default(int sig)
{
	return sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU;
}

/* SI_USER is 0; CLD_EXITED to CLD_CONTINUED are 1 to 6. */
static int from_child(const struct siginfo *info)
{
	return info->code >= 1 && info->code <= 6;
}

/* Takes the default action of sig, which is blocked here like all others. */
static void act_on(int sig)
{
	u64 set = 1ULL << (sig - 1);

	undumpable();
	sys4(__NR_rt_sigprocmask, SIG_UNBLOCK, &set, 0, 8);
	sys3(__NR_tgkill, sys0(__NR_getpid), sys0(__NR_gettid), sig);
	sys4(__NR_rt_sigprocmask, SIG_BLOCK, &set, 0, 8);
}

/*
 * Signals of the time before the commit and those of a child's end mean
 * nothing to a held task: the program that it stands for had its own ways
 * with them. An init has no default actions; it ends on those signals of its
 * outside that end others, so that a held container can be told to stop.
 */
static void take(const struct siginfo *info)
{
	int sig = info->signo;

	/* a parent that carries out a stop of the plan, not a terminal */
	if (!committed() && stops_by_default(sig) && info->code == 0)
		act_on(sig);
	if (!committed() || from_child(info) || ignored_by_default(sig))
		return;
	if (sys0(__NR_getpid) != 1)
		act_on(sig);
	else if (info->pid == 0 && !stops_by_default(sig))
		quit(128 + sig);
}

static long next_signal(struct siginfo *info, unsigned int milliseconds)
{
	u64 all = ~0ULL;
	struct __kernel_timespec t = {
		.tv_sec = milliseconds / 1000,
		.tv_nsec = milliseconds % 1000 * 1000000L,
	};

	return sys4(__NR_rt_sigtimedwait, &all, info,
		    milliseconds ? &t : 0, 8);
}

static noreturn noinline void rest(void)
{
	struct siginfo info;

	for (;;)
		if (next_signal(&info, 0) > 0)
			take(&info);
}

/* The committer looks after the coordinator once more while it waits. */
static void await_decision(void)
{
	while (load(&PLAN->commit) == COMMIT_NONE) {
		futex_wait(&PLAN->commit, COMMIT_NONE, 1000);
		if (load(&PLAN->commit) == COMMIT_NONE &&
		    ended(PLAN->self_pidfd, 0))
			quit(1);
	}
}

noreturn void hold(u32 self, struct op *op)
{
	u32 now;

	if (self == PLAN->committer && PLAN->stays)
		let_notice(self);
	arrive(op);
	if (self == PLAN->committer) {
		await_decision();
		commit();
	}
	if (!(op->mark & MARK_EXEC))
		rest();
	while ((now = load(&PLAN->commit)) != COMMIT_DONE)
		futex_wait(&PLAN->commit, now, 0);
	exec_program((struct program *)op_data(op));
}

/* Collects what was adopted; ends as the root did when that is it. */
static void reap(void)
{
	s32 status = 0;
	long pid;

	for (;;) {
		pid = sys4(__NR_wait4, -1, &status, WNOHANG | __WALL, 0);
		if (pid <= 0)
			return;
		if (pid != PLAN->root_number)
			continue;
		PLAN->root_status = status;
		store(&PLAN->root_ended, 1);
		quit(status & 0x7f ? 128 + (status & 0x7f) : status >> 8 & 0xff);
	}
}

noreturn void serve(u32 self, struct op *op)
{
	struct siginfo info;
	long sig;

	if (self == PLAN->committer && PLAN->stays)
		let_notice(self);
	arrive(op);
	for (;;) {
		sig = next_signal(&info, committed() ? 0 : 1000);
		if (self == PLAN->committer) {
			if (load(&PLAN->commit) == COMMIT_DECIDED)
				commit();
			else if (!committed() && ended(PLAN->self_pidfd, 0))
				quit(1);
		}
		if (!(PLAN->flags & PLAN_ROOT_ENDED) ||
		    (committed() && !(PLAN->flags & PLAN_DETACH)))
			reap();
		if (sig <= 0 || sig == SIGURG || !committed() ||
		    (info.pid && !in_place()) || from_child(&info))
			continue;
		sys2(__NR_kill, PLAN->root_number, sig);
		/* what has ended is kept until somebody lets go of it */
		if (PLAN->flags & (PLAN_ROOT_ENDED | PLAN_ROOT_WAITS) &&
		    !ignored_by_default(sig) && !stops_by_default(sig))
			quit(128 + sig);
	}
}
