// SPDX-License-Identifier: Apache-2.0

// Package e2e holds the end-to-end tests: the command as a user runs it, on
// real forests and real containers, with the kernel of this machine.
//
// What a restore brought back is judged by internal/witness, which reads
// /proc, and never by the tool's own dump. A test that needs a privilege or a
// program of this machine fails where the machine should have had it; see
// internal/require and requireProgram.
package e2e
