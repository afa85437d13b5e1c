// SPDX-License-Identifier: Apache-2.0

package require

import (
	"errors"
	"os"

	"github.com/pidgraft/pidgraft/internal/privilege"
)

// InitialPIDNamespace is for tests that go down to the kernel's last level: how
// deep another namespace is cannot be seen from within.
var InitialPIDNamespace = Requirement{
	Name: "the initial pid namespace",
	Unless: []State{Elsewhere("the test runs in another one", func() bool {
		return inInitialPIDNamespace() != nil
	})},
	Probe: inInitialPIDNamespace,
}

func inInitialPIDNamespace() error {
	initial, err := privilege.InitialPidNamespace()
	if err == nil && !initial {
		err = errors.New("this is another")
	}
	return err
}

// BTF is the kernel's own description of its types.
var BTF = Requirement{
	Name:   "the kernel's BTF",
	Unless: []State{Without("CONFIG_DEBUG_INFO_BTF")},
	Probe: func() error {
		_, err := os.Stat("/sys/kernel/btf/vmlinux")
		return err
	},
}
