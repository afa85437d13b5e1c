// SPDX-License-Identifier: Apache-2.0

// Package forest is the shared model: what a dump of a process forest says,
// and what a restore must bring back.
//
// A forest is a set of pid objects (the kernel's struct pid), the pid
// namespaces they live in, the user namespaces that own those, and the tasks
// that use the objects as pid, thread group, process group and session. A pid
// object is not a number: it has one number in every namespace from the
// forest's root namespace down to its own.
//
// Contract: plain data. Nothing here makes a system call, keeps a kernel
// pointer or depends on the host the forest came from. Every stage of the
// pipeline (collector, image, restore) speaks this type; Validate is the one
// place that says which forests are possible at all.
package forest
