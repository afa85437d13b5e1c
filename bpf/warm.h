/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * A walk waits for memory most of the time: of a task it reads some twenty cache
 * lines, which nobody has used for long. Calls of bpf_probe_read_kernel are so
 * many instructions that a processor has few of their loads under way at once.
 * So, before a leaf is read, plain loads touch what will be read of all its tasks;
 * what they give is not used, but for addresses to touch.
 *
 * Plain loads at any address take bpf_rdonly_cast (6.2; a fault gives zero), whose
 * number only the kernel's own BTF has. The loader puts it, and that of the type,
 * in place of the two marks below (loader/warm.go), or 0 for NR_WARM where there
 * is none: then nothing is touched.
 */
#ifndef PIDGRAFT_WARM_H
#define PIDGRAFT_WARM_H

#ifndef LOCKED_DOWN

#define CALL_CAST 0x696463
#define NR_TYPE 0x70696464
#define NR_WARM 0x70696465

static struct uid_gid_extent *(*const cast)(u64 address, u64 type) = (void *)CALL_CAST;

/* 64 bits at any address, in two: the type has no member as large. */
static __always_inline u64 warm(u64 address)
{
	volatile struct uid_gid_extent *e = cast(address, NR_TYPE);
	u64 low = e->first, high = e->lower_first;

	return high << 32 | low;
}

static __always_inline void touch(u64 address)
{
	volatile struct uid_gid_extent *e = cast(address, NR_TYPE);

	(void)e->first;
}

static __always_inline void touch_lines(u64 address, u64 size)
{
	for (u64 i = 0; i < size; i += 64)
		touch(address + i);
	touch(address + size - 4);
}

static __always_inline bool can_warm(void)
{
	u64 can;

	asm volatile("%0 = %1" : "=r"(can) : "i"(NR_WARM));
	return can;
}

/* What task.h reads of a pid object's task. */
__noinline int warm_task(u64 id)
{
	struct task_struct *t;
	struct signal_struct *s;
	struct cred *c;
	u64 link;

	/* A verifier of old looks at global functions that nobody calls, too. */
	if (!can_warm())
		return 0;
	touch(address((struct pid *)id, level));
	touch(pid_upid(id, 0));
	link = warm(address((struct pid *)id, tasks[PIDTYPE_PID].first));
	if (!link)
		return 0;
	t = (void *)task_of_link(link);
	touch(address(t, flags));
	touch(address(t, start_boottime));
	s = (void *)warm(address(t, signal));
	c = (void *)warm(address(t, real_cred));
	touch_lines(address(t, real_cred), IDENTITY_VIEW);
	touch_lines(address(t, exit_state), RELATIONS_VIEW);
	touch_lines(address(s, nr_threads), PROCESS_VIEW);
	touch(address(s, pids));
	touch(address(c, uid));
	touch(address(c, user_ns));
	return 0;
}

#else

static __always_inline int warm_task(u64 id)
{
	return 0;
}

static __always_inline bool can_warm(void)
{
	return 0;
}

#endif
#endif
