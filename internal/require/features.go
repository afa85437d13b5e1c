// SPDX-License-Identifier: Apache-2.0

package require

import (
	"errors"
	"os"
	"os/exec"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/rlimit"

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

// Program is an installed program, which a package of Debian has; scripts/test-deps
// installs it. In guests there are only those that containers take.
func Program(name, debian string) Requirement {
	return Requirement{
		Name:   "the program " + name + " (Debian's package " + debian + "; scripts/test-deps)",
		Unless: []State{{Name: "it is a guest, with the programs that containers take", Holds: InGuest}},
		Probe: func() error {
			_, err := exec.LookPath(name)
			return err
		},
	}
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

// ProbeReads is that BPF programs may read any address of the kernel.
var ProbeReads = Requirement{
	Name:   "the BPF helper bpf_probe_read_kernel",
	Since:  "5.5",
	Unless: []State{Lockdown("confidentiality")},
	Probe: func() error {
		// Before 5.11 a program is charged to what may be locked.
		if err := rlimit.RemoveMemlock(); err != nil {
			return err
		}
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Type: ebpf.RawTracepoint, License: "GPL",
			Instructions: asm.Instructions{
				asm.Mov.Reg(asm.R1, asm.RFP),
				asm.Add.Imm(asm.R1, -8),
				asm.Mov.Imm(asm.R2, 8),
				asm.Mov.Imm(asm.R3, 0),
				asm.FnProbeReadKernel.Call(),
				asm.Mov.Imm(asm.R0, 0),
				asm.Return(),
			},
		})
		if err != nil {
			return err
		}
		return p.Close()
	},
}

// Sources is the tree that the tests are from, with its documents. In guests there
// is no more of it than test data.
var Sources = Requirement{
	Name:   "the source tree",
	Unless: []State{{Name: "it is a guest, with test data only", Holds: InGuest}},
	Probe: func() error {
		var err error
		for _, top := range []string{"..", "../.."} {
			if _, err = os.Stat(top + "/go.mod"); err == nil {
				break
			}
		}
		return err
	},
}

// CgroupKill is what a restore in place undoes by.
var CgroupKill = Requirement{
	Name:  "cgroup.kill",
	Since: "5.14",
	Probe: func() error {
		var err error
		for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
			if _, err = os.Stat(root + "/cgroup.procs"); err != nil {
				continue
			}
			var dir string // the uppermost cgroup has no such file
			if dir, err = os.MkdirTemp(root, "pidgraft-require-"); err != nil {
				return err
			}
			defer os.Remove(dir)
			_, err = os.Stat(dir + "/cgroup.kill")
			return err
		}
		return err
	},
}

// ReadOnlyCast is what programs read by under lockdown of confidentiality.
var ReadOnlyCast = Requirement{
	Name:  "the kfunc bpf_rdonly_cast",
	Since: "6.2",
	Probe: func() error {
		types, err := btf.LoadKernelSpec()
		if err != nil {
			return err
		}
		var f *btf.Func
		return types.TypeByName("bpf_rdonly_cast", &f)
	},
}
