// SPDX-License-Identifier: Apache-2.0

// Package witness reads a process forest from /proc, and compares two.
//
// It is the tests' independent witness: it shares no code, no types and no
// source of facts with the dump, so what both got wrong in the same way would
// have to be wrong in the kernel. It reads NSpid, NStgid, NSpgid and NSsid,
// parents, threads and children with their order, states, exit codes, names,
// ids and the namespaces with their owners and id maps.
//
// What /proc does not show it cannot witness: subreaper flags, parent-death
// signals, the id cursor, and ghosts other than as a group or session that
// somebody has and nobody leads.
//
// It needs root (exit codes and namespaces of others are hidden otherwise)
// and CONFIG_PROC_CHILDREN, which every distribution sets.
package witness
