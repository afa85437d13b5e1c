// SPDX-License-Identifier: Apache-2.0

package loader

import "github.com/pidgraft/pidgraft/bpf"

// compatSyscalls are the numbers of i386 (arch/x86/entry/syscalls/syscall_32.tbl).
var compatSyscalls = bpf.AuditSyscalls{Setsid: 66, Setpgid: 57, Setns: 346, Unshare: 310, Prctl: 172}

// Functions that system calls begin in, without the call's name: of 64-bit
// programs, and of 32-bit ones.
const (
	callPrefix   = "__x64_sys_"
	compatPrefix = "__ia32_sys_"
)
