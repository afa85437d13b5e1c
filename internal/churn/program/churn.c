/* SPDX-License-Identifier: Apache-2.0 */
/*
 * churn: an init of a pid namespace in which something goes on.
 *
 *	churn births RATE	so many children a second that exit at once
 *	churn random SEED TASKS RATE PACE
 *				about so many tasks that do what tasks can do to
 *				pids, at random, each once in 11 ms times PACE;
 *				beside them, so many births
 *
 * Both end when standard input does. No init here ever joins a process group: one
 * led from its own namespace could never be torn down.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <sched.h>
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

#define FD_SHARED 9
#define MAX_DEPTH 3
#define MAX_CHILDREN 16
#define STACK (64 * 1024)

/* One in eight dies each time around, and as many may be born. */
struct shared {
	int born;	/* since the first init came around */
	int most;
	int pace;
};

static struct shared *shared;
static unsigned int seed;
static int self_init;	/* an init never execs: what it is would be forgotten */
static int depth;	/* of pid namespaces below the first init */
static pid_t children[MAX_CHILDREN];
static int is_init[MAX_CHILDREN];

static void die(const char *what)
{
	perror(what);
	_exit(111);
}

static void nap(long ns)
{
	struct timespec t = { ns / 1000000000, ns % 1000000000 };

	nanosleep(&t, NULL);
}

static int leave(void *unused)
{
	syscall(SYS_exit, 0);
	return 0;
}

/* Whether whoever started this is still there. */
static int wanted(void)
{
	struct pollfd p = { .fd = 0, .events = POLLIN };

	return poll(&p, 1, 0) == 0;
}

static void births(long rate)
{
	char *stack = malloc(STACK);
	struct timespec begin, now;
	long done = 0, due;

	if (!stack || signal(SIGCHLD, SIG_IGN) == SIG_ERR)
		die("births");
	clock_gettime(CLOCK_MONOTONIC, &begin);
	while (wanted()) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		due = (now.tv_sec - begin.tv_sec) * rate + (now.tv_nsec - begin.tv_nsec) / 1000 * rate / 1000000;
		for (; done < due; done++)
			if (clone(leave, stack + STACK, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL) < 0)
				die("clone");
		nap(1000000);
	}
}

static unsigned int roll(unsigned int n)
{
	return rand_r(&seed) % n;
}

static void live(int init);

static int slot(void)
{
	for (int i = 0; i < MAX_CHILDREN; i++)
		if (!children[i])
			return i;
	return -1;
}

/* A child that lives on its own; in the new namespace, if there is one for
 * children, as its init or an entrant. */
static void bear(int init)
{
	int at = slot();
	pid_t pid;

	if (at < 0 || __atomic_add_fetch(&shared->born, 1, __ATOMIC_RELAXED) > shared->most / 8 + 1)
		return;
	pid = fork();
	if (pid == 0) {
		seed = seed * 31 + getpid() + init;
		memset(children, 0, sizeof(children));
		depth += init;
		live(init);
	}
	if (pid > 0) {
		children[at] = pid;
		is_init[at] = init;
	}
}

static char *again[] = { "churn", "again", NULL, NULL, NULL };

static void exec_again(void)
{
	static char a[16], b[16];

	snprintf(a, sizeof(a), "%u", seed);
	snprintf(b, sizeof(b), "%d", depth);
	again[2] = a;
	again[3] = b;
	execv("/proc/self/exe", again);
}

static int run_thread(void *arg)
{
	long what = (long)arg;

	nap((1 + what % 20) * 1000000);
	if (what % 7 == 0 && !self_init)
		exec_again();
	syscall(SYS_exit, 0);
	return 0;
}

static void thread(void)
{
	/* Never given back: the thread may still stand on it. */
	char *stack;

	stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (stack == MAP_FAILED)
		return;
	clone(run_thread, stack + STACK,
	      CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM,
	      (void *)(long)roll(1000));
}

/* Joins the namespace of a child that is an init, bears one there, and comes
 * back. */
static void enter(void)
{
	int own = syscall(SYS_pidfd_open, getpid(), 0);

	for (int i = 0; i < MAX_CHILDREN && own >= 0; i++) {
		int fd;

		if (!children[i] || !is_init[i])
			continue;
		fd = syscall(SYS_pidfd_open, children[i], 0);
		if (fd >= 0 && setns(fd, CLONE_NEWPID) == 0) {
			bear(0);
			setns(own, CLONE_NEWPID);
		}
		if (fd >= 0)
			close(fd);
		break;
	}
	if (own >= 0)
		close(own);
}

static void nest(void)
{
	int own = syscall(SYS_pidfd_open, getpid(), 0);

	if (own >= 0 && depth < MAX_DEPTH && unshare(CLONE_NEWPID) == 0) {
		bear(1);
		setns(own, CLONE_NEWPID);
	}
	if (own >= 0)
		close(own);
}

static void reap(void)
{
	pid_t pid;

	while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) {
		for (int i = 0; i < MAX_CHILDREN; i++)
			if (children[i] == pid)
				children[i] = 0;
	}
}

/* Of the children that are no inits. */
static pid_t some_child(void)
{
	int i = roll(MAX_CHILDREN);

	return is_init[i] ? 0 : children[i];
}

static void act(int init)
{
	pid_t child;

	switch (roll(16)) {
	case 0: case 1: case 2: case 3:
		return bear(0);
	case 4: case 5:
		return thread();
	case 6:
		setsid();
		return;
	case 7:
		if (!init)
			setpgid(0, 0);
		return;
	case 8: case 9:
		child = some_child();
		if (child)
			setpgid(child, roll(2) ? child : getpgrp());
		return;
	case 10:
		return nest();
	case 11:
		return enter();
	case 12:
		child = some_child();
		if (child)
			kill(child, SIGKILL);
		return;
	case 13:
		if (!init)
			exec_again();
		return;
	case 14:
		prctl(PR_SET_CHILD_SUBREAPER, roll(2));
		return;
	case 15:
		if ((!init || depth) && !roll(3))
			_exit(roll(256));
	}
}

/* What everybody does, until the end. The first init only ends when it is told
 * to. */
static void live(int init)
{
	int first = init && !depth;

	self_init = init;
	for (;;) {
		nap((1 + roll(20)) * 1000000L * shared->pace);
		if (roll(3))
			reap();
		if (first) {
			if (!wanted())
				_exit(0);
			__atomic_store_n(&shared->born, 0, __ATOMIC_RELAXED);
			bear(0);
		}
		act(init);
	}
}

static void make_shared(int most, int pace)
{
	int fd = memfd_create("churn", 0);

	if (fd < 0 || ftruncate(fd, sizeof(*shared)) || dup2(fd, FD_SHARED) < 0)
		die("memfd");
	close(fd);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, FD_SHARED, 0);
	if (shared == MAP_FAILED)
		die("mmap");
	shared->most = most;
	shared->pace = pace;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "births")) {
		births(atol(argv[2]));
		return 0;
	}
	if (argc == 6 && !strcmp(argv[1], "random")) {
		seed = atol(argv[2]);
		make_shared(atoi(argv[3]), atoi(argv[5]));
		if (atol(argv[4]) && fork() == 0) {
			births(atol(argv[4]));
			return 0;
		}
		live(1);
	}
	if (argc == 4 && !strcmp(argv[1], "again")) {
		seed = atol(argv[2]) + 1;
		depth = atoi(argv[3]);
		shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, FD_SHARED, 0);
		if (shared == MAP_FAILED)
			die("mmap");
		/* An init never gets here. */
		live(0);
	}
	fprintf(stderr, "usage: churn births RATE | churn random SEED TASKS RATE PACE\n");
	return 2;
}
