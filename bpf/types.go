// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"

	"github.com/cilium/ebpf/btf"
)

// PidsTypes are the types of the object that LoadPids returns. To read these alone
// is a small part of the work.
func PidsTypes() (*btf.Spec, error) { return btf.LoadSpecFromReader(bytes.NewReader(_PidsBytes)) }
