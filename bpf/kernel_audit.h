/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * As kernel.h, for what only the auditor reads: apart, so that a change for the
 * one object leaves the other as it is, byte for byte.
 */
#ifndef PIDGRAFT_KERNEL_AUDIT_H
#define PIDGRAFT_KERNEL_AUDIT_H

#include "kernel.h"

enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_RB_FORCE_WAKEUP = 2,
	BPF_RB_AVAIL_DATA = 0,
	BPF_RB_RING_SIZE = 1,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct pt_regs___amd64_arguments {
	unsigned long di;
};

struct pt_regs___arm64_arguments {
	u64 orig_x0;
};

#pragma clang attribute pop

/* The first argument of a system call that has returned: on arm64 the result
 * has taken the place of the register. */
static __always_inline u64 syscall_first_argument(u64 regs)
{
	struct pt_regs___amd64_arguments *amd64 = (void *)regs;
	struct pt_regs___arm64_arguments *arm64 = (void *)regs;

	if (bpf_core_field_exists(amd64->di))
		return probe(amd64, di);
	if (bpf_core_field_exists(arm64->orig_x0))
		return probe(arm64, orig_x0);
	return 0;
}

/*
 * The first or second argument of a function that a trampoline is on, as a number:
 * it is a pointer of which the verifier knows the type, and would not pass to a
 * global function.
 */
static __always_inline u64 argument(u64 *ctx, u32 n)
{
	u64 number = 0;
#ifdef LOCKED_DOWN
	/* 5.17. What is written to the stack is not forgotten to be a pointer, and
	 * nothing may be read from there by number. */
	bpf_get_func_arg(ctx, n, &number);
#else
	/* Written, and read back as memory. */
	volatile u64 slot = n ? ctx[1] : ctx[0];

	probe_bytes(&number, sizeof(number), (u64)&slot);
#endif
	return number;
}

/* As signal_subreaper, where the verifier does not know the type. */
static __always_inline bool probe_subreaper(u64 signal)
{
	struct signal_struct *s = (void *)signal;

	return BPF_CORE_READ_BITFIELD_PROBED(s, is_child_subreaper);
}

#endif
