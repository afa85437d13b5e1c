// SPDX-License-Identifier: Apache-2.0

// Package view shows plans: as a story that a person can follow, as an account
// of one task, and as JSON for programs.
//
// Contract: pure. A plan.Plan and the forest.Forest that it was made for go in,
// text comes out; bytes of untrusted processes are escaped. A plan need not be
// a good one, but must be whole: operations and actors that it refers to are
// there.
package view
