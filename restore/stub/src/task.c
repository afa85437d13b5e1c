/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What every task of a plan runs: its actor's program, op by op. */
#include <asm/signal.h>
#include <linux/fcntl.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/wait.h>

#include "stub.h"

/* PR_SET_DUMPABLE is of the memory, so of all who share it. */
long undumpable(void)
{
	long error = sys2(__NR_prctl, PR_SET_DUMPABLE, 0);

	if (error < 0)
		return error;
	return sys1(__NR_prctl, PR_GET_DUMPABLE) == 0 ? 0 : -EPERM;
}

/*
 * What the coordinator made dies with it, and so does what an outsider made
 * beside it. It may have died already, so ask: an init has no parent number to
 * compare.
 */
static void guard(u32 self)
{
	long error = sys2(__NR_prctl, PR_SET_PDEATHSIG, 9);

	if (error < 0) {
		fail(self, actor_at(self)->first, error);
		park();
	}
	if (ended(PLAN->self_pidfd, 0))
		quit(1);
}

/* The committer is Init, or a thread of it. */
void arm(u32 self)
{
	guard(self);
	store(&PLAN->armed, 1);
	futex_wake(&PLAN->armed);
}

static u64 clone_flags(const struct op *op)
{
	u64 flags = CLONE_FILES;

	if (op->flags & F_THREAD)
		return flags | CLONE_THREAD | CLONE_SIGHAND | CLONE_VM |
		       CLONE_FS | CLONE_SYSVSEM;
	if (!(PLAN->flags & PLAN_OWN_MEMORY))
		flags |= CLONE_VM;
	if (op->flags & F_NEWUSER)
		flags |= CLONE_NEWUSER;
	else
		flags |= CLONE_FS; /* cheaper; exec and JoinUser part it */
	if (op->flags & F_NEWPID)
		flags |= CLONE_NEWPID;
	if (op->flags & F_PARENT)
		flags |= CLONE_PARENT;
	return flags;
}

long make_child(u32 self, struct op *op)
{
	struct actor *child = actor_at(op->child);
	struct clone_args args = { 0 };
	u32 *numbers = op_data(op);
	struct owner was;
	long pid, error;

	args.flags = clone_flags(op);
	if (op->flags & F_PIDFD) {
		args.flags |= CLONE_PIDFD;
		args.pidfd = (u64)&child->pidfd;
	}
	if (!(op->flags & (F_THREAD | F_PARENT)))
		args.exit_signal = op->arg;
	if (self == 0 && in_place()) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = PLAN->cgroup_fd;
	}
	args.stack = STACKS_ADDR + op->child * STACK_SIZE;
	args.stack_size = STACK_SIZE;

	if (op->flags & F_NEWUSER) {
		error = become_owner(&was, (struct ids *)numbers);
		if (error < 0)
			return error;
		numbers += sizeof(struct ids) / sizeof(u32);
	}
	if (op->count) { /* the kernel refuses an empty list */
		args.set_tid = (u64)numbers;
		args.set_tid_size = op->count;
	}
	pid = clone_run(&args, sizeof(args), op->child);
	if (op->flags & F_NEWUSER) {
		error = leave_owner(self, &was);
		if (error < 0)
			return error;
	}
	if (pid < 0)
		return pid;
	store(&child->pid, pid);
	op->value = pid;
	return 0;
}

/* The child's number as the plan says, or as this creator of it knows. */
static s32 child_pid(struct op *op)
{
	if (op->arg || op->child < 0)
		return op->arg;
	return load(&actor_at(op->child)->pid);
}

/*
 * Waits for a child; with WNOWAIT in flags what it waits for stays to be told.
 * A sibling may have made it, somewhere else, and only a descriptor be known.
 */
static long await_child(struct op *op, int flags)
{
	int pidfd = op->arg ? -1 : load(&actor_at(op->child)->pidfd);
	long got;

	do {
		got = sys5(__NR_waitid, pidfd < 0 ? P_PID : P_PIDFD,
			   pidfd < 0 ? child_pid(op) : pidfd, 0,
			   __WALL | flags, 0);
	} while (got == -EINTR);
	return got;
}

static long signal_child(struct op *op)
{
	int pidfd = op->arg ? -1 : load(&actor_at(op->child)->pidfd);

	if (pidfd < 0)
		return sys2(__NR_kill, child_pid(op), op->number);
	return sys4(__NR_pidfd_send_signal, pidfd, op->number, 0, 0);
}

/* Its own: others that are not dumpable show their ns files to nobody here. */
static long keep(u32 self)
{
	struct actor *actor = actor_at(self);
	long user, ns;

	user = sys4(__NR_openat, AT_FDCWD, "/proc/thread-self/ns/user",
		    O_RDONLY | O_CLOEXEC, 0);
	if (user < 0)
		return user;
	ns = sys4(__NR_openat, AT_FDCWD, "/proc/thread-self/ns/pid",
		  O_RDONLY | O_CLOEXEC, 0);
	if (ns < 0) {
		sys1(__NR_close, user);
		return ns;
	}
	actor->ns_fd = ns;
	store(&actor->user_fd, user);
	return 0;
}

/* By what was kept, or a pidfd, which may only be used from outside. */
static long join(u32 self, struct op *op, int type)
{
	struct actor *via = actor_at(op->arg);
	long fd = via->pidfd;
	long error, own = -1;

	if (load(&via->user_fd) >= 0)
		fd = type == CLONE_NEWUSER ? via->user_fd : via->ns_fd;
	else if (op->arg == (s32)self)
		fd = own = sys2(__NR_pidfd_open, sys0(__NR_getpid), 0);
	if (fd < 0)
		return op->arg == (s32)self ? fd : -EBADF;
	error = 0;
	if (type == CLONE_NEWUSER) /* it must be nobody else's */
		error = sys1(__NR_unshare, CLONE_FS);
	if (error == 0)
		error = sys2(__NR_setns, fd, type);
	if (own >= 0)
		sys1(__NR_close, own);
	return error;
}

static long unshare_user(u32 self, struct op *op)
{
	struct owner was;
	long error = become_owner(&was, (struct ids *)op_data(op));

	if (error < 0)
		return error;
	error = sys1(__NR_unshare, CLONE_NEWUSER);
	if (error < 0) {
		leave_owner(self, &was);
		return error;
	}
	/* inside, the ids of before have no name; set-ids comes later */
	return undumpable();
}

static noinline long write_number(const char *path, u32 number)
{
	char text[12];
	long fd, n, at = sizeof(text);

	do {
		text[--at] = '0' + number % 10;
		number /= 10;
	} while (number);
	fd = sys4(__NR_openat, AT_FDCWD, path,
		  O_WRONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return fd;
	n = sys3(__NR_write, fd, text + at, sizeof(text) - at);
	sys1(__NR_close, fd);
	return n < 0 ? n : 0;
}

static long ignore(struct op *op)
{
	u64 action[4] = { op->number ? 1 : 0 }; /* SIG_IGN, SIG_DFL */

	return sys4(__NR_rt_sigaction, op->arg, action, 0, 8);
}

/* A child that holds; arg is its number, count whether to let wait know. */
static long stop_child(struct op *op)
{
	long error = op->number ? signal_child(op) : 0;

	if (error < 0)
		return error;
	return await_child(op, WSTOPPED | (op->count ? 0 : WNOWAIT));
}

/*
 * A first birth that fails after its numbers were given out: there is nowhere
 * to store its pidfd. The namespace takes nobody from then on (free_pid,
 * kernel/pid.c), which more births find out.
 */
static long spoil(struct op *op)
{
	struct clone_args args = {
		.flags = CLONE_PIDFD,
		.pidfd = ~0ULL,
		.exit_signal = SIGCHLD,
	};
	long pid, want = -EFAULT;
	s32 i;

	if (op->count) {
		args.set_tid = (u64)op_data(op);
		args.set_tid_size = op->count;
	}
	for (i = 0; i < op->number; i++) {
		pid = sys2(__NR_clone3, &args, sizeof(args));
		if (pid == 0) /* it was born all the same */
			quit(1);
		if (pid != want)
			return pid < 0 ? pid : -ECANCELED;
		want = -ENOMEM;
	}
	return 0;
}

static noinline long step(u32 self, struct op *op)
{
	switch (op->code) {
	case OP_CLONE:
		return make_child(self, op);
	case OP_SETSID:
		return sys0(__NR_setsid);
	case OP_SETPGID:
		return sys2(__NR_setpgid, child_pid(op), op->number);
	case OP_SUBREAPER:
		return sys2(__NR_prctl, PR_SET_CHILD_SUBREAPER, op->number);
	case OP_REAP:
		return await_child(op, WEXITED);
	case OP_AWAIT:
		return await_child(op, WEXITED | WNOWAIT);
	case OP_JOIN_PID:
		return join(self, op, CLONE_NEWPID);
	case OP_JOIN_USER:
		return join(self, op, CLONE_NEWUSER);
	case OP_KEEP:
		return keep(self);
	case OP_UNSHARE_PID:
		return sys1(__NR_unshare, CLONE_NEWPID);
	case OP_UNSHARE_USER:
		return unshare_user(self, op);
	case OP_COMM:
		return sys2(__NR_prctl, PR_SET_NAME, op_data(op));
	case OP_SET_IDS:
		return set_ids(self, (struct ids *)op_data(op), op->number);
	case OP_IGNORE:
		return ignore(op);
	case OP_KILL:
		return signal_child(op);
	case OP_STOP:
		return stop_child(op);
	case OP_UNDUMPABLE:
		return undumpable();
	case OP_PDEATH:
		return sys2(__NR_prctl, PR_SET_PDEATHSIG, op->arg);
	case OP_CURSOR:
		return write_number("/proc/sys/kernel/ns_last_pid", op->number);
	case OP_PID_MAX:
		return write_number("/proc/sys/kernel/pid_max", op->number);
	case OP_SPOIL:
		return spoil(op);
	case OP_EXEC:
		return exec_again(self, op);
	case OP_NOP:
		return 0;
	case OP_EXIT_THREAD:
		return exit_thread(self, op);
	case OP_EXIT_GROUP:
		return exit_group(op);
	case OP_DIE:
		return die(op);
	}
	return -ENOSYS;
}

noreturn void run(u32 self)
{
	if (self == 0)
		stand_guard();
	if (self == PLAN->committer)
		arm(self);
	else if (actor_at(self)->beside)
		guard(self);
	go_on(self, actor_at(self)->first);
}

/* From operation i on. */
noreturn void go_on(u32 self, u32 i)
{
	struct actor *actor = actor_at(self);
	struct op *op;
	long error;

	for (;; i++) {
		op = op_at(i);
		store(&actor->at, i);
		wait_for(op);
		if (op->code == OP_HOLD)
			hold(self, op);
		if (op->code == OP_SERVE)
			serve(self, op);
		if (op->code == OP_STAY)
			stay(op);
		if (op->code == OP_PERISH) {
			publish(op, OP_DONE);
			park();
		}
		error = step(self, op);
		if (error < 0) {
			fail(self, i, error);
			park();
		}
		/* a change of credentials takes the signal away */
		if (actor->beside &&
		    (op->code == OP_UNSHARE_USER || op->code == OP_JOIN_USER))
			guard(self);
		publish(op, OP_DONE);
	}
}
