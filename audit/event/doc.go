// SPDX-License-Identifier: Apache-2.0

// Package event is what the auditor's kernel side says: that something happened
// to a task, and how the task is now.
//
// Contract: plain data and its encoding. An Event carries no difference but a
// state, read after its place in the stream was taken. Two consequences, on
// which all of package audit rests: the last event about a task includes
// whatever the earlier ones announced, and an event too many does no harm.
// Identities are kernel addresses, as in collector.Snapshot; between Birth and
// Free of a task its address is its own.
package event
