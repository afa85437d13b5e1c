// SPDX-License-Identifier: Apache-2.0

// Package record is what the auditor says, as JSON: docs/schema/audit.v1.json.
//
// Contract: plain data, made of what the other packages of audit know. Names
// that processes give themselves are theirs to choose: they are escaped, as in all
// that shows one (forest.Escape). Addresses of the kernel do not get out.
package record
