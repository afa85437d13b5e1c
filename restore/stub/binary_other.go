// SPDX-License-Identifier: Apache-2.0

//go:build !amd64 && !arm64

package stub

// Binary is the stub for this architecture; empty where there is none.
var Binary []byte
