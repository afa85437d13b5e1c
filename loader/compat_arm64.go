// SPDX-License-Identifier: Apache-2.0

package loader

import "github.com/pidgraft/pidgraft/bpf"

// compatSyscalls are the numbers of 32-bit ARM (arch/arm64/tools/syscall_32.tbl).
var compatSyscalls = bpf.AuditSyscalls{Setsid: 66, Setpgid: 57, Setns: 375, Unshare: 337, Prctl: 172}

// Functions that system calls begin in, without the call's name; these are the
// same for 32-bit programs.
const (
	callPrefix   = "__arm64_sys_"
	compatPrefix = ""
)
