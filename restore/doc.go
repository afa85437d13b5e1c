// SPDX-License-Identifier: Apache-2.0

// Package restore carries out a plan: it makes the tasks of a forest on this
// machine, number for number, all of them or none.
//
// Contract: Run takes a forest, the plan.Plan made from it and Options. It
// writes the plan into shared memory, starts the stub (restore/stub), follows
// its progress, writes id maps, asks Options.Verify, and commits. Until the
// commit, an error, a cancelled context or the death of any process involved
// leaves nothing of the new forest; from the commit on it lives by itself.
// docs/design/restore-run.md has the protocol.
//
// This package makes the system calls; what to do and in which order is
// decided by restore/plan alone.
package restore
