// SPDX-License-Identifier: Apache-2.0

// Package hidden finds processes that some views of the machine show and others
// do not.
//
// Contract: a process is only reported if it was there, as the same one, before
// and after the view that did not show it, twice. So what comes and goes is no
// false alarm, however fast. The views are the namespace's idr and the kernel's
// tasks, as a snapshot shows them, against what /proc lists, what can be opened
// there, and what the system calls kill and pidfd_open know.
package hidden
