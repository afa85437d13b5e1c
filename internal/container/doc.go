// SPDX-License-Identifier: Apache-2.0

// Package container runs real software for the tests and the demo: a runc
// container with a busybox root file system, whose shell runs jobs, daemons,
// sessions and bubblewrap sandboxes.
//
// It needs runc, bwrap and a static busybox, as Debian packages them, and
// root. A container ends with the process that started it: its shell reads
// from a pipe that only this process holds open.
package container
