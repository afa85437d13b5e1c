// SPDX-License-Identifier: Apache-2.0

// Package foresttest makes forests for tests: Random ones by letting a small
// simulation of the kernel run random legal histories, Sample with one of
// every kind of thing, and Wide of any size.
//
// Contract: pure, deterministic in its draws, and what it makes is legal by
// the project's kernel rules, not by asking forest.Validate, so that each is a
// check of the other. The simulation knows only what a forest says; it is not
// restore/model, which is the specification and is checked against machines.
package foresttest
