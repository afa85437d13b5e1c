// SPDX-License-Identifier: Apache-2.0

// Package state holds every pid object of a namespace as far as a snapshot and
// the events since have told: who carries it, whose process it is, and who uses
// it as group and session, each way round.
//
// Contract: pure. Whatever is put in, it ends in a state without dangling
// references; memory is proportional to the live objects. Nothing is deduced
// but what the kernel guarantees: an object is freed when its last user leaves
// it, an address or a number that comes to mean something else says that its
// old meaning is over, and an object has one carrier. What such a deduction
// leaves in doubt is named by Suspects, to be read again.
//
// A State is for one goroutine.
package state
