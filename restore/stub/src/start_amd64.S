/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Entry, system calls, and clone3 onto a new stack. */
#include <asm/unistd.h>

	.text
	.globl	_start
_start:
	xorl	%ebp, %ebp
	movq	%rsp, %rdi
	andq	$-16, %rsp
	call	start
	hlt

/* long sys(long nr, long a, long b, long c, long d, long e) */
	.globl	sys
sys:
	movq	%rdi, %rax
	movq	%rsi, %rdi
	movq	%rdx, %rsi
	movq	%rcx, %rdx
	movq	%r8, %r10
	movq	%r9, %r8
	xorl	%r9d, %r9d
	syscall
	ret

/*
 * long clone_run(struct clone_args *args, unsigned long size, u32 self)
 * The child calls run(self) on the stack in args; the kernel keeps rdx.
 */
	.globl	clone_run
clone_run:
	movl	$__NR_clone3, %eax
	syscall
	testq	%rax, %rax
	jz	1f
	ret
1:	xorl	%ebp, %ebp
	movl	%edx, %edi
	call	run
	hlt

	.section .note.GNU-stack, "", @progbits
