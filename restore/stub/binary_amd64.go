// SPDX-License-Identifier: Apache-2.0

package stub

import _ "embed"

// Binary is the stub for this architecture; empty where there is none.
//
//go:embed stub_amd64
var Binary []byte
