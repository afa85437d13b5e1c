/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What making N tasks costs without choosing numbers or sharing memory: an
 * init of a new pid namespace calls fork in a loop; the children sleep.
 * Prints the nanoseconds from main to the last fork.
 */
#define _GNU_SOURCE
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv)
{
	long long start = now();
	int n = argc > 1 ? atoi(argv[1]) : 10000;
	struct clone_args init = { .flags = CLONE_NEWPID, .exit_signal = SIGCHLD };
	int i, status;
	pid_t pid;

	pid = syscall(SYS_clone3, &init, sizeof(init));
	if (pid < 0) {
		perror("clone3 of the init");
		return 1;
	}
	if (pid > 0) {
		waitpid(pid, &status, 0);
		return status != 0;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (i = 0; i < n; i++) {
		switch (fork()) {
		case -1:
			perror("fork");
			_exit(1);
		case 0:
			for (;;)
				pause();
		}
	}
	printf("%lld\n", now() - start);
	fflush(stdout);
	_exit(0);
}
