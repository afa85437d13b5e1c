// SPDX-License-Identifier: Apache-2.0

// Package source is where package follow gets its events and snapshots: from the
// running kernel (Live), or from a log of what a kernel once said (Log).
package source
