/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A forest in the restorer's own pid namespace has no init whose end would be
 * that of all. It grows up in a cgroup instead, which can be killed as a whole
 * (cgroup.kill, Linux 5.14), and is moved out of it when it lives. The
 * coordinator sees to both; a guard beside it does if the coordinator is
 * killed. Neither is in the cgroup.
 */
#include <asm/signal.h>
#include <linux/fcntl.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/time_types.h>
#include <linux/wait.h>

#include "stub.h"

int in_place(void)
{
	return PLAN->flags & PLAN_IN_PLACE;
}

static const char *cgroup_path(void)
{
	return (const char *)PLAN->cgroup;
}

static long open_dir(long at, const char *path)
{
	return sys4(__NR_openat, at, path,
		    O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
}

long make_cgroup(void)
{
	long fd = sys3(__NR_mkdirat, AT_FDCWD, cgroup_path(), 0755);

	if (fd < 0)
		return fd;
	fd = open_dir(AT_FDCWD, cgroup_path());
	if (fd < 0)
		return fd;
	PLAN->cgroup_fd = fd;
	fd = sys4(__NR_openat, PLAN->cgroup_fd, "cgroup.kill",
		  O_WRONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return fd;
	sys1(__NR_close, fd);
	return 0;
}

static long write_text(long dir, const char *name, const char *text, long n)
{
	long fd = sys4(__NR_openat, dir, name, O_WRONLY | O_CLOEXEC, 0);
	long error;

	if (fd < 0)
		return fd;
	error = sys3(__NR_write, fd, text, n);
	sys1(__NR_close, fd);
	return error;
}

/* Moves the first processes of the cgroup to its parent; how many. */
static noinline long move_some(long dir, long parent)
{
	char text[256];
	long fd, n, i, from = 0, moved = 0;

	fd = sys4(__NR_openat, dir, "cgroup.procs", O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return 0;
	n = sys3(__NR_read, fd, text, sizeof(text));
	sys1(__NR_close, fd);
	for (i = 0; i < n; i++) {
		if (text[i] != '\n')
			continue;
		if (write_text(parent, "cgroup.procs", text + from, i - from) > 0)
			moved++;
		from = i + 1;
	}
	return moved;
}

/* Whether process pid is in the cgroup: that number may be anybody's. */
static noinline int is_member(long dir, s32 pid)
{
	char text[256];
	long fd, n, i;
	s32 number = 0;
	int found = 0;

	fd = sys4(__NR_openat, dir, "cgroup.procs", O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return 0;
	while (!found && (n = sys3(__NR_read, fd, text, sizeof(text))) > 0) {
		for (i = 0; i < n && !found; i++) {
			if (text[i] != '\n') {
				number = number * 10 + text[i] - '0';
				continue;
			}
			found = number == pid;
			number = 0;
		}
	}
	sys1(__NR_close, fd);
	return found;
}

/* What a killed forest leaves comes to the coordinator, a subreaper. */
static void reap_killed(void)
{
	s32 status = 0;
	long pid;

	while ((pid = sys4(__NR_wait4, -1, &status, WNOHANG | __WALL, 0)) > 0) {
		if (pid != actor_at(PLAN->init)->pid)
			continue;
		PLAN->init_status = status;
		store(&PLAN->init_ended, 1);
	}
}

/*
 * Ends the cgroup: moves out those in it, if the forest lives, or kills them.
 * A cgroup that a living forest cannot leave stays.
 */
void clear_cgroup(int lives)
{
	struct __kernel_timespec t = { .tv_nsec = 1000000 };
	long dir = open_dir(AT_FDCWD, cgroup_path());
	long parent, error;
	int idle = 0;

	if (dir < 0)
		return;
	parent = open_dir(dir, "..");
	while (!lives || idle < 1000) {
		if (!lives) {
			write_text(dir, "cgroup.kill", "1", 1);
			reap_killed();
		} else if (move_some(dir, parent)) {
			idle = 0;
			continue;
		}
		error = sys3(__NR_unlinkat, AT_FDCWD, cgroup_path(),
			     AT_REMOVEDIR);
		if (error == 0 || error == -ENOENT)
			break;
		sys2(__NR_nanosleep, &t, 0);
		idle++;
	}
	sys1(__NR_close, parent);
	sys1(__NR_close, dir);
}

/* After the decision: whether it comes to the report, which the holder makes. */
static int reported(void)
{
	long dir = open_dir(AT_FDCWD, cgroup_path());
	u32 now;

	for (;;) {
		now = load(&PLAN->commit);
		if (now == COMMIT_DONE || now == COMMIT_NONE)
			break;
		if (!is_member(dir, actor_at(PLAN->init)->pid)) {
			now = load(&PLAN->commit);
			break;
		}
		futex_wait(&PLAN->commit, now, 10);
	}
	sys1(__NR_close, dir);
	return now == COMMIT_DONE;
}

/* Until the coordinator has gone: it kills its guard when all is settled. */
noreturn void stand_guard(void)
{
	int pidfd = PLAN->self_pidfd;

	if (pidfd > 0)
		sys3(__NR_close_range, 0, pidfd - 1, 0);
	sys3(__NR_close_range, pidfd + 1, ~0U, 0);
	sys2(__NR_prctl, PR_SET_NAME, "pidgraft-guard");
	while (!ended(pidfd, -1))
		;
	clear_cgroup(reported());
	quit(0);
}

/* With memory and descriptors of its own; its stack is that of actor 0. */
long make_guard(void)
{
	struct clone_args args = { 0 };
	long pid;

	args.flags = CLONE_PIDFD;
	args.pidfd = (u64)&PLAN->guard_pidfd;
	args.exit_signal = SIGCHLD;
	args.stack = STACKS_ADDR;
	args.stack_size = STACK_SIZE;
	pid = clone_run(&args, sizeof(args), 0);
	return pid < 0 ? pid : 0;
}

void dismiss_guard(void)
{
	sys4(__NR_pidfd_send_signal, PLAN->guard_pidfd, SIGKILL, 0, 0);
	while (sys5(__NR_waitid, P_PIDFD, PLAN->guard_pidfd, 0,
		    WEXITED | __WALL, 0) == -EINTR)
		;
}
