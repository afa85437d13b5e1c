/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Waiting and telling: futexes in the plan, the bell, ends of tasks. */
#include <linux/fcntl.h>
#include <asm/poll.h>
#include <linux/futex.h>
#include <linux/time_types.h>

#include "stub.h"

#define PF_EXITING 0x4 /* include/linux/sched.h */

/* The words are shared futexes: processes may have their own memory. */
void futex_wait(u32 *word, u32 value, unsigned int milliseconds)
{
	struct __kernel_timespec t = {
		.tv_sec = milliseconds / 1000,
		.tv_nsec = milliseconds % 1000 * 1000000L,
	};

	sys4(__NR_futex, word, FUTEX_WAIT, value, milliseconds ? &t : 0);
}

void futex_wake(u32 *word)
{
	sys3(__NR_futex, word, FUTEX_WAKE, 0x7fffffff);
}

void bell(void)
{
	u64 one = 1;

	sys3(__NR_write, FD_BELL, &one, 8);
}

void publish(struct op *op, u32 state)
{
	store(&op->state, state);
	if (op->mark & MARK_NOTIFY)
		futex_wake(&op->state);
	if (op->mark & MARK_BELL)
		bell();
}

/* The first failure is the one shown. */
void fail(u32 actor, u32 op, long error)
{
	struct failure *f = &PLAN->failure;
	u32 none = 0;

	if (!__atomic_compare_exchange_n(&f->state, &none, 1, 0,
					 __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return;
	f->actor = actor;
	f->op = op;
	f->error = (s32)-error;
	store(&f->state, 2);
	bell();
}

/* 1: the process of pidfd is a zombie or gone. */
int ended(int pidfd, int milliseconds)
{
	struct pollfd fd = { .fd = pidfd, .events = POLLIN };
	struct __kernel_timespec t = {
		.tv_sec = milliseconds / 1000,
		.tv_nsec = milliseconds % 1000 * 1000000L,
	};

	return sys5(__NR_ppoll, &fd, 1, milliseconds < 0 ? 0 : &t, 0, 0) == 1;
}

/*
 * Whether the task with this /proc stat file has handed on its children: it
 * is a zombie or gone, which exit_notify (kernel/exit.c) makes it afterwards.
 * For the end of a process, all of its threads. An init that its namespace
 * delays only has to be on its way (PF_EXITING): it sleeps.
 */
static noinline int gone(const char *path, int whole, int lingers)
{
	u32 flags = 0;
	char text[320];
	long fd, n, i, end = -1, fields = 0;

	fd = sys4(__NR_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return fd == -ENOENT || fd == -ESRCH;
	n = sys3(__NR_read, fd, text, sizeof(text));
	sys1(__NR_close, fd);
	if (n < 0)
		return n == -ESRCH;
	for (i = 0; i < n; i++)
		if (text[i] == ')')
			end = i;
	if (end < 0 || end + 2 >= n)
		return 0;
	for (i = end + 2; i < n && lingers && fields < 6; i++)
		if (text[i] == ' ')
			fields++;
	for (; i < n && lingers && text[i] >= '0' && text[i] <= '9'; i++)
		flags = flags * 10 + text[i] - '0';
	if (lingers)
		return (flags & PF_EXITING) != 0;
	if (text[end + 2] != 'Z' && text[end + 2] != 'X')
		return 0;
	if (!whole)
		return 1;
	/* state is field 3, the number of threads field 20 */
	for (i = end + 2; i < n && fields < 17; i++)
		if (text[i] == ' ')
			fields++;
	return i + 1 < n && (text[i] == '0' || text[i] == '1') &&
	       text[i + 1] == ' ';
}

/*
 * An ending cannot say that it is over, and what wakes waiters at a task's
 * exit (clear_child_tid) comes before its children have a new parent.
 */
static void wait_gone(struct op *op)
{
	struct __kernel_timespec t = { .tv_nsec = 20000 };
	const char *path = (const char *)op_data(op);

	while (!gone(path, op->code != OP_EXIT_THREAD, op->mark & MARK_LINGERS)) {
		sys2(__NR_nanosleep, &t, 0);
		if (t.tv_nsec < 5000000)
			t.tv_nsec *= 2;
	}
	store(&op->state, OP_DONE);
	futex_wake(&op->state);
}

void wait_for(struct op *op)
{
	u32 *after = op_after(op);
	u32 i, state;
	struct op *other;

	for (i = 0; i < op->nafter; i++) {
		other = op_at(after[i]);
		for (;;) {
			state = load(&other->state);
			if (state == OP_DONE)
				break;
			if (state == OP_LEAVING)
				wait_gone(other);
			else
				futex_wait(&other->state, state, 0);
		}
	}
}
