/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Ends that only a namespace's init needs. It ignores what it sends itself, so
 * it ends by what the kernel forces upon it (force_sig_info_to_task,
 * kernel/signal.c), or as reboot(2) inside a namespace ends its init.
 */
#include <asm/signal.h>
#include <linux/fcntl.h>
#include <linux/filter.h>
#include <linux/memfd.h>
#include <linux/mman.h>
#include <linux/prctl.h>
#include <linux/reboot.h>
#include <linux/seccomp.h>

#include "stub.h"

/*
 * Whether this is number 1 of a namespace below that of the /proc that all
 * see. In that of the machine the same call would reboot the machine.
 */
static int in_namespace(void)
{
	char path[16] = { 0 };
	long n = sys4(__NR_readlinkat, AT_FDCWD, "/proc/thread-self", path,
		      sizeof(path) - 1);

	return sys0(__NR_getpid) == 1 && sys0(__NR_getppid) == 0 && n > 2 &&
	       !(path[0] == '1' && path[1] == '/');
}

static long reboot(int cmd)
{
	if (!in_namespace())
		return -EPERM;
	return sys4(__NR_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, cmd,
		    0);
}

/* A page of a file that has none. Its memory is of no use to anybody else. */
static long bus_error(void)
{
	long at, fd = sys2(__NR_memfd_create, "", MFD_CLOEXEC);

	if (fd < 0)
		return fd;
	at = sys5(__NR_mmap, 0, 4096, PROT_READ, MAP_SHARED, fd);
	if (at < 0)
		return at;
	return *(const volatile int *)at;
}

/* Every system call is one too many from here on. */
static long bad_call(void)
{
	struct sock_filter kill = BPF_STMT(BPF_RET | BPF_K,
					   SECCOMP_RET_KILL_PROCESS);
	struct sock_fprog program = { .len = 1, .filter = &kill };
	long error = sys5(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);

	if (error < 0)
		return error;
	error = sys3(__NR_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER,
		     &program);
	if (error < 0)
		return error;
	return sys0(__NR_getpid);
}

long die_as_init(int sig)
{
	const volatile int *nowhere = 0;

	switch (sig) {
	case SIGHUP:
		return reboot(LINUX_REBOOT_CMD_RESTART);
	case SIGINT:
		return reboot(LINUX_REBOOT_CMD_HALT);
	case SIGSYS:
		return bad_call();
	case SIGBUS:
		return bus_error();
	case SIGSEGV:
		__asm__ volatile("" : "+r"(nowhere));
		return *nowhere;
#ifdef __x86_64__
	case SIGILL:
		__asm__ volatile("ud2");
		break;
	case SIGTRAP:
		__asm__ volatile("int3");
		break;
	case SIGFPE:
		__asm__ volatile("divl %0" : : "r"(0) : "eax", "edx");
		break;
#else
	case SIGILL:
		__asm__ volatile(".inst 0");
		break;
	case SIGTRAP:
		__asm__ volatile("brk #0");
		break;
#endif
	}
	return -ENOSYS;
}
