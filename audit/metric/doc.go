// SPDX-License-Identifier: Apache-2.0

// Package metric is what an audit counts, for Prometheus and for OpenTelemetry.
//
// Contract: All lists each metric once, with its name, its unit and how it is read
// from an overview. Names say what is counted: numbers, objects, tasks or
// processes. Labels are the inode of a namespace, its container and its pod, and
// words of the auditor's own; no pid, no name that a process gave itself. There
// are as many series as an overview has namespaces, which is bounded, and those
// of a namespace that has ended are gone.
package metric
