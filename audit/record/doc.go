// SPDX-License-Identifier: Apache-2.0

// Package record is what the auditor says, as JSON: docs/schema/audit.v1.json.
//
// Contract: plain data, made of what the other packages of audit know. Names
// that processes give themselves are theirs to choose: JSON escapes them, and
// bytes that are no text are replaced. Addresses of the kernel do not get out.
package record
