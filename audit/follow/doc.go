// SPDX-License-Identifier: Apache-2.0

// Package follow keeps a state true to the kernel: it takes a snapshot, applies
// the events since, and when events were lost takes another one and says what
// was wrong meanwhile. docs/design/audit.md has the protocol and why it holds.
//
// Contract: no system calls; the Source makes them. Nothing is lost in silence:
// whatever the counters of the Source say is missing is handed to the Handler
// as a Loss before any state that suffers from it is called complete again, and
// what only a snapshot brought to light as Recovered.
package follow
