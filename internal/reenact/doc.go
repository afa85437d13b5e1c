// SPDX-License-Identifier: Apache-2.0

// Package reenact makes the histories of the kernel model with real tasks, and
// compares what comes of them.
//
// A Stage is the real counterpart of a model.Kernel: it makes one model.Step
// after the other with the puppets of internal/testforest, and Compare holds
// what /proc shows, read by internal/witness, against the model's forest. What
// /proc does not show the tasks are asked for: subreaper flag, parent-death
// signal, id cursor, pid_max.
//
// Lines and Parse are a step as a line of a script, in the words of testforest
// where it is a single operation there. So a failure prints as a script, and a
// script runs on both the kernel and the model (testdata, and TestScripts).
//
// TestKernel is the differential test of the model (docs/model.md); it runs in
// pid namespaces of its own, with a /proc in which there is nothing else.
package reenact
