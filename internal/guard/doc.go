// SPDX-License-Identifier: Apache-2.0

// Package guard holds what a task may cost, in counts: system calls,
// allocations, bytes and instructions. They are the same on a busy machine as on an
// idle one, so a test may judge them; times are make bench's.
//
// Contract: one table for each kind, in costs_test.go, of what a task more adds. What is
// fixed cancels out, as everything is measured at two sizes. A limit leaves a quarter
// above what was measured when it was written, programs a tenth, sizes of images
// nothing. Who makes something cheaper lowers its limit, and who has to
// raise one says why in docs/performance.md.
package guard
