/* SPDX-License-Identifier: Apache-2.0 */
/*
 * puppet: a task that does the system calls it is told to, and nothing else.
 *
 * Every task of a test forest, process or thread, runs serve() on a slot of
 * its own in memory shared with the test. The test writes a system call into
 * the slot and wakes the task; the task makes the call and publishes what it
 * returned. Only clone3 needs help from here, for the child's stack.
 *
 * There is no C library in it: tasks that share memory would share its state.
 */
#include <asm/signal.h>
#include <asm/unistd.h>
#include <linux/errno.h>
#include <linux/futex.h>
#include <linux/mman.h>
#include <linux/poll.h>
#include <linux/sched.h>
#include <linux/types.h>

#define SPAWN -1L		/* slot.nr: clone3, the child serves slot args[2] */
#define FAULT -2L		/* slot.nr: be forced to take signal args[0] */
#define SLEEPER -1L		/* args[2]: the child serves none and sleeps */

#define FD_MEM 3		/* the slots */
#define FD_LIFE 4		/* read end of a pipe that the test holds open */

#define NR_SLOTS 4096
#define SLOTS_ADDR 0x2000000000UL
#define STACK_SIZE 16384UL

struct slot {
	__u32 posted;		/* futex: calls asked for so far */
	__u32 done;		/* futex: calls made so far */
	__s64 nr;
	__s64 args[6];
	__s64 result;
	__u8 data[440];		/* what arguments point to */
};
_Static_assert(sizeof(struct slot) == 512, "slot.go knows this layout");

static struct slot *const slots = (struct slot *)SLOTS_ADDR;

long spawn_raw(struct clone_args *args, unsigned long size,
	       void (*fn)(long), long arg);

#if defined(__x86_64__)
__asm__(".text\n"
	".globl spawn_raw\n"
	"spawn_raw:\n"
	"	mov	%rcx, %r8\n"
	"	mov	$435, %eax\n"
	"	syscall\n"
	"	test	%rax, %rax\n"
	"	jnz	1f\n"
	"	xor	%ebp, %ebp\n"
	"	mov	%r8, %rdi\n"
	"	call	*%rdx\n"
	"	hlt\n"
	"1:	ret\n"
	".globl _start\n"
	"_start:\n"
	"	xor	%ebp, %ebp\n"
	"	mov	%rsp, %rdi\n"
	"	and	$-16, %rsp\n"
	"	call	start\n"
	"	hlt\n");

static long call(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}
#elif defined(__aarch64__)
__asm__(".text\n"
	".globl spawn_raw\n"
	"spawn_raw:\n"
	"	mov	x9, x2\n"
	"	mov	x10, x3\n"
	"	mov	x8, #435\n"
	"	svc	#0\n"
	"	cbz	x0, 1f\n"
	"	ret\n"
	"1:	mov	x29, xzr\n"
	"	mov	x0, x10\n"
	"	blr	x9\n"
	"	brk	#0\n"
	".globl _start\n"
	"_start:\n"
	"	mov	x29, xzr\n"
	"	mov	x0, sp\n"
	"	bl	start\n"
	"	brk	#0\n");

static long call(long nr, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc #0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}
#else
#error "no system call convention for this architecture"
#endif

static void die(int code)
{
	call(__NR_exit_group, code, 0, 0, 0, 0, 0);
	__builtin_trap();
}

/* Whether the test has ended: it alone holds the pipe's other end. */
static int test_is_gone(void)
{
	struct pollfd p = { .fd = FD_LIFE, .events = POLLIN };
	struct { long sec, nsec; } now = { 0, 0 };

	return call(__NR_ppoll, (long)&p, 1, (long)&now, 0, 0, 0) == 1 &&
	       (p.revents & (POLLHUP | POLLNVAL));
}

static void serve(long n);

/*
 * args: clone flags, exit signal, slot of the child, length of set_tid in data,
 * where to put a pidfd: nowhere makes the kernel fail late, with EFAULT, after
 * numbers were given out.
 */
static long spawn(struct slot *s)
{
	struct clone_args args = {
		.flags = s->args[0],
		.exit_signal = s->args[1],
		.stack_size = STACK_SIZE,
		.set_tid = s->args[3] ? (__u64)s->data : 0,
		.set_tid_size = s->args[3],
		.pidfd = s->args[4],
	};
	long stack, ret;

	stack = call(__NR_mmap, 0, STACK_SIZE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (stack < 0 && stack > -4096)
		return stack;
	args.stack = stack;
	ret = spawn_raw(&args, sizeof(args), serve, s->args[2]);
	if (ret < 0 || !(s->args[0] & CLONE_VM))
		call(__NR_munmap, stack, STACK_SIZE, 0, 0, 0, 0);
	return ret;
}

static void publish(struct slot *s, __s64 result, __u32 seen)
{
	s->result = result;
	__atomic_store_n(&s->done, seen, __ATOMIC_SEQ_CST);
	call(__NR_futex, (long)&s->done, FUTEX_WAKE, 1, 0, 0, 0);
}

static void wait_for_call(struct slot *s, __u32 seen)
{
	struct { long sec, nsec; } second = { 1, 0 };

	while (__atomic_load_n(&s->posted, __ATOMIC_SEQ_CST) == seen) {
		if (call(__NR_futex, (long)&s->posted, FUTEX_WAIT, seen,
			 (long)&second, 0, 0) == -ETIMEDOUT && test_is_gone())
			die(1);
	}
}

static void sleep_on(void)
{
	for (;;)
		call(__NR_ppoll, 0, 0, 0, 0, 0, 0);
}

/* What no init can ignore. */
static long fault(long sig)
{
	switch (sig) {
	case SIGSEGV:
		*(volatile int *)(SLOTS_ADDR / 2) = 0; /* nothing is there */
		break;
#if defined(__x86_64__)
	case SIGILL:
		__asm__ volatile("ud2");
		break;
	case SIGTRAP:
		__asm__ volatile("int3");
		break;
#elif defined(__aarch64__)
	case SIGILL:
		__asm__ volatile(".inst 0");
		break;
	case SIGTRAP:
		__asm__ volatile("brk #0");
		break;
#endif
	}
	return -EINVAL;
}

static void serve(long n)
{
	struct slot *s;
	__u32 seen;
	__s64 ret;

	if (n == SLEEPER)
		sleep_on();
	s = &slots[n];
	seen = __atomic_load_n(&s->done, __ATOMIC_SEQ_CST);
	for (;;) {
		wait_for_call(s, seen);
		seen++;
		if (s->nr == SPAWN)
			ret = spawn(s);
		else if (s->nr == FAULT)
			ret = fault(s->args[0]);
		else
			ret = call(s->nr, s->args[0], s->args[1], s->args[2],
				   s->args[3], s->args[4], s->args[5]);
		publish(s, ret, seen);
	}
}

/* puppet SLOT: started by the test, or by the execve of a task on that slot. */
void start(long *sp)
{
	long argc = sp[0], n = 0, ret;
	char **argv = (char **)(sp + 1);
	char *p;

	if (argc != 2)
		die(2);
	for (p = argv[1]; *p; p++)
		n = n * 10 + *p - '0';
	if (n < 0 || n >= NR_SLOTS)
		die(2);
	ret = call(__NR_mmap, SLOTS_ADDR, NR_SLOTS * sizeof(struct slot),
		   PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, FD_MEM, 0);
	if (ret != (long)SLOTS_ADDR)
		die(3);
	publish(&slots[n], 0, slots[n].posted);
	serve(n);
}
