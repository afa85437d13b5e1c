/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A task of a committed forest leaves the stub for a program; or one of a plan
 * runs the stub anew, for what only that changes.
 */
#include <asm/signal.h>
#include <linux/fcntl.h>
#include <linux/resource.h>
#include <linux/sched.h>
#include <linux/time_types.h>

#include "stub.h"

noreturn static void give_up(const char *what, long n, long error)
{
	sys3(__NR_write, 2, what, n);
	quit(error == -ENOENT ? 127 : 126);
}

#define GIVE_UP(what, error) give_up(what, sizeof(what) - 1, error)

/*
 * What came while signals were blocked was for the restore (the exit signal
 * of a zombie, say), and would now end the program before it begins.
 */
static void drop_pending(void)
{
	struct __kernel_timespec now = { 0 };
	u64 all = ~0ULL;

	while (sys4(__NR_rt_sigtimedwait, &all, 0, &now, 8) > 0)
		;
}

noreturn void exec_program(struct program *program)
{
	u64 none = 0;
	long error;

	/* its working directory and umask are its own from here on */
	error = sys1(__NR_unshare, CLONE_FS);
	if (error < 0)
		GIVE_UP("pidgraft: unshare before exec failed\n", error);
	sys4(__NR_prlimit64, 0, RLIMIT_NOFILE, PLAN->nofile, 0);
	sys4(__NR_prlimit64, 0, RLIMIT_CORE, PLAN->core, 0);
	if (program->set_ids) {
		error = set_ids(0, &program->ids, 0);
		if (error < 0)
			GIVE_UP("pidgraft: set ids before exec failed\n",
				error);
	}
	drop_pending();
	sys4(__NR_rt_sigprocmask, SIG_SETMASK, &none, 0, 8);
	error = sys3(__NR_execve, PLAN->exec_path, PLAN->exec_argv,
		     program->envp);
	GIVE_UP("pidgraft: exec failed\n", error);
}

static char *digits(char *end, u32 number)
{
	*end = 0;
	do {
		*--end = '0' + number % 10;
		number /= 10;
	} while (number);
	return end;
}

static u32 value(const char *text)
{
	u32 number = 0;

	for (; *text; text++)
		number = number * 10 + *text - '0';
	return number;
}

/*
 * Ends what a parent's and a child's clone said of exit signals (self_exec_id,
 * kernel-rules 15). Whoever does it has memory and a table of files of its own
 * from then on: of that of the others it takes the plan and the bell, so
 * that nothing later in its program may need a descriptor.
 */
long exec_again(u32 self, struct op *op)
{
	char text[2][12];
	char *argv[4] = { "", digits(text[0] + 11, self),
			  digits(text[1] + 11, op - op_at(0)), 0 };
	long error = sys1(__NR_unshare, CLONE_FILES | CLONE_FS);

	if (error < 0)
		return error;
	error = sys3(__NR_fcntl, FD_PLAN, F_SETFD, 0);
	if (error < 0)
		return error;
	error = sys3(__NR_fcntl, FD_BELL, F_SETFD, 0);
	if (error < 0)
		return error;
	return sys3(__NR_execve, "/proc/self/exe", argv, argv + 3);
}

noreturn void come_again(char **argv)
{
	u32 self = value(argv[0]), i = value(argv[1]);
	long error = map_plan();

	if (error < 0)
		park(); /* the restorer sees that nothing moves */
	error = undumpable();
	if (error >= 0)
		error = sys3(__NR_fcntl, FD_PLAN, F_SETFD, FD_CLOEXEC);
	if (error >= 0)
		error = sys3(__NR_fcntl, FD_BELL, F_SETFD, FD_CLOEXEC);
	if (error < 0) {
		fail(self, i, error);
		park();
	}
	/* a reader of the report waits for the end of all that have its pipe */
	if (!(PLAN->flags & PLAN_EXEC))
		sys3(__NR_close_range, 0, 2, 0);
	publish(op_at(i), OP_DONE);
	go_on(self, i + 1);
}
