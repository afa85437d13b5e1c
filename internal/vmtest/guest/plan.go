// SPDX-License-Identifier: Apache-2.0

// Package guest is what the host of a test guest and its init agree on: the
// plan that lies in the initramfs, and the lines by which the init tells on the
// serial console how far it is.
//
// The init links it, so it must not import cilium/ebpf, whose initialisation
// reads /proc before there is one.
package guest

import "time"

// PlanPath is where the initramfs has the plan, as JSON.
const PlanPath = "/vmtest.json"

// Plan is what a guest has to do.
type Plan struct {
	Run     string        // -test.run of every package, empty for all
	Short   bool          // -test.short
	Timeout time.Duration // -test.timeout of every package
	Env     []string      // as of os.Environ
	Tests   []Test
}

// Test is the test binary of a package.
type Test struct {
	Package string // as a person writes it, ./restore
	Dir     string // where it runs
	Binary  string
}

// What the init prints, each at the start of a line of its own. Only Exit says
// that a guest came to its end: QEMU's exit status is 0 after a panic, too.
const (
	Started = "VMTEST-INIT" // VMTEST-INIT RELEASE
	Begin   = "VMTEST-RUN"  // VMTEST-RUN PACKAGE
	Done    = "VMTEST-DONE" // VMTEST-DONE PACKAGE STATUS SECONDS
	Exit    = "VMTEST-EXIT" // VMTEST-EXIT FAILED, the number of packages
)
