// SPDX-License-Identifier: Apache-2.0

// Package stub holds the freestanding program that every restored task runs,
// and the shape of the plan that it reads from shared memory.
//
// Contract: Binary is a static executable for this architecture, built from
// the C files in src (see README.md). It is started with the plan's
// memfd as descriptor 3, a pipe that it lives by as 4 and an eventfd as 5
// (FDPlan and so on). The types here are struct for struct those of plan.h;
// a test compares them with a table in the binary. Nothing here makes a
// system call.
package stub

//go:generate make -C src
