// SPDX-License-Identifier: Apache-2.0

// Package bpf holds the BPF programs that look at pid objects, and what
// bpf2go makes of them: LoadPids returns the object, ready to be loaded.
//
// The programs only look. They are: find, which finds the target; walk_idr, a
// walk over the pid objects of a namespace and, for a container, over the tasks
// that have them; tasks, an iterator over tasks; terminals and files, which find
// who else holds pid objects; and the watch programs, which count what happens to
// the target meanwhile. kernel.h has every difference between
// kernels, record.h what the programs write, target.h which tasks belong.
//
// LoadAudit is the object of the auditor: programs that send an event whenever
// something happens to a task (hooks.h, event.h; docs/design/audit.md). It shares
// kernel.h and target.h and nothing else; what it alone reads of the kernel is
// in kernel_audit.h.
//
// The same sources make a second object of each, LoadLocked and LoadLockedAudit, for
// kernels that are locked down to confidentiality: see LOCKED_DOWN in kernel.h.
//
// Contract: package loader is the only user. One little-endian object serves
// amd64 and arm64: no header of the machine that compiles is included, and what
// depends on the architecture is found out when the object is loaded.
//
// Generating needs clang 14, llvm-strip 14 and libbpf-dev 1.1 (Debian 12);
// building does not.
package bpf

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -go-package bpf -cc clang-14 -target bpfel -cflags "-O2 -Wall -Wextra -Wno-unused-parameter -Werror" Pids pids.bpf.c
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -go-package bpf -cc clang-14 -target bpfel -no-global-types -cflags "-O2 -Wall -Wextra -Wno-unused-parameter -Werror -DLOCKED_DOWN" Locked pids.bpf.c
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -go-package bpf -cc clang-14 -target bpfel -cflags "-O2 -Wall -Wextra -Wno-unused-parameter -Werror" Audit audit.bpf.c
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -go-package bpf -cc clang-14 -target bpfel -no-global-types -cflags "-O2 -Wall -Wextra -Wno-unused-parameter -Werror -DLOCKED_DOWN" LockedAudit audit.bpf.c
