// SPDX-License-Identifier: Apache-2.0

// Package privilege says what the kernel would let this process do, and what
// stands against it: capabilities, the user namespace, kernel lockdown, a
// system call filter.
//
// Contract: reads /proc/self, securityfs and capget(2), each time anew, and
// changes nothing. A refusal by the kernel is only EPERM; these are the reasons
// that there can be.
package privilege
