// SPDX-License-Identifier: Apache-2.0

// Package history remembers where processes were born, and in which session and
// group: what no state of the kernel shows any more once a parent has been
// reaped.
//
// Contract: pure. A Tracker takes in events beside the state that follows them,
// and keeps a birth for each process and as much of its dead ancestors as tells
// them apart: fewer nodes than twice the processes and ghosts that there are. A
// File is that, written down for another program; Tell holds a File against a
// forest, and tells it only what the forest does not contradict.
package history
