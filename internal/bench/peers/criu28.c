/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The system calls by which CRIU 4.2 finds, task by task, what a process
 * tree is, before it looks at memory or files: 28 for a task, one more if it
 * has children. Which ones is known from its sources (criu/seize.c,
 * proc_parse.c, namespaces.c). Nothing is done with what they return, and
 * what CRIU asks of a task through its parasite is left out.
 *
 * usage: criu28 PID
 *
 * Seizes the task PID and all below it, lets them go again and prints the
 * nanoseconds that took, without the start of this program.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char buf[1 << 20], path[64];
static long calls;
static int *queue, head, tail, room;

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void die(const char *what)
{
	fprintf(stderr, "criu28: %s %s: %m\n", what, path);
	exit(1);
}

static long must(long ret, const char *what)
{
	calls++;
	if (ret < 0)
		die(what);
	return ret;
}

static void push(int pid)
{
	if (tail == room) {
		room = room ? 2 * room : 1024;
		queue = realloc(queue, room * sizeof(*queue));
		if (!queue)
			die("realloc");
	}
	queue[tail++] = pid;
}

/* Reads a file as CRIU does, once or to the end; keeps what is in it. */
static void file(int dir, const char *name, int with_stat, int with_eof)
{
	struct stat st;
	long n, have = 0;
	int fd = must(openat(dir, name, O_RDONLY), name);

	if (with_stat)
		must(fstat(fd, &st), "fstat");
	do {
		n = must(read(fd, buf + have, sizeof(buf) - 1 - have), name);
		have += n;
	} while (n && with_eof);
	buf[have] = 0;
	must(close(fd), "close");
}

static void children(int dir, int pid)
{
	char name[32], *at = buf;

	snprintf(name, sizeof(name), "task/%d/children", pid);
	file(dir, name, 1, 1);
	for (;;) {
		char *end;
		long child = strtol(at, &end, 10);

		if (end == at)
			return;
		push(child);
		at = end;
	}
}

static void threads(int dir)
{
	struct stat st;
	int fd = must(openat(dir, "task", O_RDONLY | O_DIRECTORY), "task");

	must(fstat(fd, &st), "fstat");
	while (must(syscall(SYS_getdents64, fd, buf, sizeof(buf)), "getdents64"))
		;
	must(close(fd), "close");
}

static void task(int pid)
{
	struct stat st;
	siginfo_t si;
	int status, dir;

	snprintf(path, sizeof(path), "/proc/%d", pid);
	must(ptrace(PTRACE_SEIZE, pid, 0, 0), "seize");
	must(ptrace(PTRACE_INTERRUPT, pid, 0, 0), "interrupt");
	must(wait4(pid, &status, __WALL, NULL), "wait4");
	dir = must(open(path, O_RDONLY | O_DIRECTORY), "open");
	file(dir, "status", 0, 1);			/* 4 */
	must(ptrace(PTRACE_GETSIGINFO, pid, 0, &si), "getsiginfo");
	must(ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD),
	     "setoptions");
	children(dir, pid);				/* 4 or 5 */
	threads(dir);					/* 5 */
	file(dir, "stat", 0, 0);			/* 3 */
	must(fstatat(dir, "ns/pid", &st, 0), "ns/pid");
	file(dir, "loginuid", 0, 0);			/* 3 */
	must(close(dir), "close");
}

int main(int argc, char **argv)
{
	long long start = now();

	if (argc != 2) {
		fprintf(stderr, "usage: criu28 PID\n");
		return 2;
	}
	push(atoi(argv[1]));
	while (head < tail)
		task(queue[head++]);
	while (head > 0) {
		snprintf(path, sizeof(path), "%d", queue[--head]);
		must(ptrace(PTRACE_DETACH, queue[head], 0, 0), "detach");
	}
	if (calls < 28L * tail) {
		fprintf(stderr, "criu28: %ld calls for %d tasks\n", calls, tail);
		return 1;
	}
	printf("%lld\n", now() - start);
	return 0;
}
