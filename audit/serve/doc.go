// SPDX-License-Identifier: Apache-2.0

// Package serve shows an audit over HTTP: metrics for Prometheus, health, and a
// page that follows it.
//
// Contract: who publishes never waits for who looks. There is nothing to be asked
// for but what is there, and nothing that changes anything. Without an address
// it is for this machine only, and says nothing to pages of other names that a
// browser takes for it. Names that processes give themselves leave as JSON, and
// the page takes them for text.
package serve
