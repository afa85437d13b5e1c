/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The least that making N tasks with chosen numbers can cost: an init of a
 * new pid namespace calls clone3 with CLONE_VM and set_tid in a loop; the
 * children sleep. Prints the nanoseconds from main to the last clone3.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STACK 4096

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* The child sleeps for ever without touching its stack. */
static long sleeper(struct clone_args *args)
{
#if defined(__x86_64__)
	long ret;

	__asm__ volatile("syscall\n\ttest %%rax, %%rax\n\tjnz 1f\n"
			 "0:\tmov %3, %%eax\n\tsyscall\n\tjmp 0b\n1:"
			 : "=a"(ret)
			 : "0"(SYS_clone3), "D"(args), "i"(SYS_pause),
			   "S"(sizeof(*args))
			 : "rcx", "r11", "memory");
	return ret;
#elif defined(__aarch64__)
	register long x0 __asm__("x0") = (long)args;
	register long x1 __asm__("x1") = sizeof(*args);
	register long x8 __asm__("x8") = SYS_clone3;

	__asm__ volatile("svc #0\n\tcbnz x0, 1f\n"
			 "0:\tmov x0, xzr\n\tmov x1, xzr\n\tmov x2, xzr\n"
			 "\tmov x3, xzr\n\tmov x8, %3\n\tsvc #0\n\tb 0b\n1:"
			 : "+r"(x0) : "r"(x1), "r"(x8), "i"(SYS_ppoll)
			 : "memory", "x2", "x3");
	return x0;
#endif
}

int main(int argc, char **argv)
{
	long long start = now();
	int n = argc > 1 ? atoi(argv[1]) : 10000;
	int i, status;
	pid_t one = 1, tid;
	char *stacks = mmap(NULL, (size_t)n * STACK, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct clone_args init = {
		.flags = CLONE_NEWPID, .exit_signal = SIGCHLD,
		.set_tid = (unsigned long)&one, .set_tid_size = 1,
	};
	pid_t pid;

	if (stacks == MAP_FAILED)
		return 1;
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
		struct clone_args args = {
			.flags = CLONE_VM, .exit_signal = SIGCHLD,
			.stack = (unsigned long)stacks + (size_t)i * STACK,
			.stack_size = STACK,
			.set_tid = (unsigned long)&tid, .set_tid_size = 1,
		};
		long ret;

		tid = i + 2;
		ret = sleeper(&args);
		if (ret < 0) {
			fprintf(stderr, "clone3 %d: %s\n", tid, strerror(-ret));
			_exit(1);
		}
	}
	printf("%lld\n", now() - start);
	fflush(stdout);
	_exit(0);
}
