// SPDX-License-Identifier: Apache-2.0

// Package collector turns what the kernel showed of its pid objects into a
// forest.
//
// Contract: pure. A Snapshot (one pass over the target, as the loader's BPF
// programs reported it) goes in; a forest.Forest, or an error that names the
// task, the number and the rule, comes out. The rules are those of "c/r:
// checkpoint and restart pids objects" (linux-cr, 2011) with the corrections
// of its review. No system call is made and nothing of the host is read.
package collector
