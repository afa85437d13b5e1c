// SPDX-License-Identifier: Apache-2.0

package require

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
)

// Trampolines are BPF programs on kernel functions (fentry, fexit).
var Trampolines = Requirement{
	Name:   "the BPF trampolines",
	Since:  "5.5",
	Unless: []State{Elsewhere("its policy forbids them", func() bool { return tryTrampoline() != nil })},
	Probe:  tryTrampoline,
}

func tryTrampoline() error {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.Tracing, AttachType: ebpf.AttachTraceFExit, AttachTo: "attach_pid", License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return err
	}
	defer p.Close()
	l, err := link.AttachTracing(link.TracingOptions{Program: p})
	if err != nil {
		return err
	}
	return l.Close()
}
