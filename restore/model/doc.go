// SPDX-License-Identifier: Apache-2.0

// Package model is a small simulator of what the Linux kernel does with pids:
// the specification of which process forests are legal.
//
// Contract: pure. A Kernel is a machine; its methods are system calls made by
// one of its tasks, and return the errno that the kernel would. Every effect
// of a call (deaths, adoptions, signals) has happened when it returns. Forest
// exports what a dump would see, Execute carries out a plan.Plan and says in
// what forest it ends, Generate makes random legal histories whose end states
// are test inputs for the planner, the collector and the image codec.
//
// Functions are named after the kernel functions they mirror and cite the
// rule of the design's kernel-rules ("rule 13") that they implement. They
// follow Linux 6.18; "5.10:" in a comment marks where that one differs. The
// model is not trusted: it is compared with the real kernel operation by
// operation, and where they disagree the kernel is right.
//
// What is left out: ptrace, kernel threads, timing, resource limits, and
// everything that has no bearing on pid objects. Tasks have root's
// capabilities in their own user namespace until they change their uid; that those
// over files alone go with a uid for files that is not root's is left out, too.
package model
