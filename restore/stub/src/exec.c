/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A task of a committed forest leaves the stub for a program. */
#include <asm/signal.h>
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
