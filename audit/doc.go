// SPDX-License-Identifier: Apache-2.0

// Package audit follows all pid objects of a namespace and says what happens to
// them and what is wrong with them, as records.
//
// Contract: the parts are in packages of their own (event, state, follow,
// finding, budget, entry, hidden, record; source is the only one that makes
// system calls). Here they are put together: an Auditor is told by a
// follow.Follower what happens, and emits records. docs/design/audit.md says
// what can be relied on.
package audit
