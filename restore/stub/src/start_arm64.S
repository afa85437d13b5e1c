/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Entry, system calls, and clone3 onto a new stack. */
#include <asm/unistd.h>

	.text
	.globl	_start
_start:
	mov	x29, xzr
	mov	x30, xzr
	mov	x0, sp
	bl	start
	brk	#0

/* long sys(long nr, long a, long b, long c, long d, long e) */
	.globl	sys
sys:
	mov	x8, x0
	mov	x0, x1
	mov	x1, x2
	mov	x2, x3
	mov	x3, x4
	mov	x4, x5
	mov	x5, xzr
	svc	#0
	ret

/*
 * long clone_run(struct clone_args *args, unsigned long size, u32 self)
 * The child calls run(self) on the stack in args; the kernel keeps x2.
 */
	.globl	clone_run
clone_run:
	mov	x8, #__NR_clone3
	svc	#0
	cbz	x0, 1f
	ret
1:	mov	x29, xzr
	mov	x30, xzr
	mov	w0, w2
	bl	run
	brk	#0

	.section .note.GNU-stack, "", %progbits
