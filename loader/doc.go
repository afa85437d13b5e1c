// SPDX-License-Identifier: Apache-2.0

// Package loader looks at the pid objects of a target with the programs of
// package bpf and says what it saw as a collector.Snapshot.
//
// Contract: the only package that talks to the kernel for a dump. It neither
// stops nor signals nor traces the target, and reads nothing of it from /proc;
// Freeze is apart, and asked for by name. Memory is bounded by the ring and by
// the size of the target, and nothing is lost: a full ring makes the kernel wait
// with the next record, not drop it.
//
// What comes out is one pass, taken without locks: it can contradict itself
// when the target changed meanwhile. Changes says whether it did, as far as the
// watchers can tell; collector.Cut makes both into a consistent forest.
//
// Follow is the other way to look: a Stream of events about the tasks of a
// namespace as they happen. There a full ring does lose, and counts what it
// lost; package audit/follow makes up for it.
package loader
