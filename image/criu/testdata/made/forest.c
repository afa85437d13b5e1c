// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <fcntl.h>

static void name(const char *s) { prctl(PR_SET_NAME, s); }
static void hold(void) { for (;;) pause(); }
static void *thread(void *s) { name(s); hold(); return 0; }
static int ready[2];
static void done(void) { char c = 'x'; if (write(ready[1], &c, 1) != 1) abort(); close(ready[0]); close(ready[1]); }
static void wait_for(int n) { char c; while (n--) if (read(ready[0], &c, 1) != 1) abort(); }

int main(int argc, char **argv)
{
	pthread_t t;
	int n = 0, sub = argc > 1;

	if (sub) { setsid(); name("job"); }
	else name("init");
	close(0); close(1); close(2);
	open("/dev/null", O_RDWR); dup(0); dup(0);
	if (pipe(ready)) abort();
	/* a session with a thread and a child */
	if (!fork()) {
		setsid(); name("web");
		if (pthread_create(&t, 0, thread, "io") || pthread_create(&t, 0, thread, "gc")) abort();
		if (!fork()) { name("worker"); done(); hold(); }
		done(); hold();
	}
	n += 2; wait_for(2);
	/* a group that its leader has left behind */
	if (!fork()) {
		setpgid(0, 0); name("job");
		if (!fork()) { name("part"); done(); hold(); }
		_exit(0);
	}
	wait_for(1);
	while (waitpid(-1, 0, WNOHANG) == 0) usleep(1000);
	/* a session that its leader has left behind; in a container the init adopts */
	if (!sub) {
		if (!fork()) {
			setsid(); name("agent");
			if (!fork()) { name("agent"); done(); hold(); }
			_exit(0);
		}
		wait_for(1);
		while (waitpid(-1, 0, WNOHANG) == 0) usleep(1000);
	}
	/* stopped */
	pid_t s = fork();
	if (!s) { setpgid(0, 0); name("stopped"); done(); hold(); }
	wait_for(1);
	kill(s, SIGSTOP); waitpid(s, 0, WUNTRACED);
	/* ended by exit and by a signal, and not waited for */
	if (!fork()) { name("backup"); _exit(3); }
	pid_t k = fork();
	if (!k) { name("killed"); hold(); }
	usleep(50000); kill(k, SIGKILL);
	/* a subreaper */
	if (!fork()) { prctl(PR_SET_CHILD_SUBREAPER, 1); name("engine"); if (!fork()) { name("shim"); done(); hold(); } done(); hold(); }
	wait_for(2);
	close(ready[0]); close(ready[1]);
	signal(SIGCHLD, SIG_DFL);
	hold();
}
