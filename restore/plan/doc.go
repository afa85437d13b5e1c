// SPDX-License-Identifier: Apache-2.0

// Package plan decides how a forest is rebuilt: which task creates which, in
// which session and group it does so, which helpers come and go, and in what
// order.
//
// Contract: pure. A forest.Forest goes in; a Plan (one program for every
// actor) or a *Refusal (which task, which rule) comes out. No system call is
// made. A plan says nothing about timing: an operation runs when the ones
// before it in its actor's program and those it waits for are done, and any
// order that respects this must end in the same forest.
//
// The starting point is DumpForest/MakeForest of Laadan and Nieh (Transparent
// Checkpoint-Restart of Multiple Processes on Commodity Operating Systems,
// USENIX 2007) and its code in user-cr (2011).
package plan
