// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// Marks in the programs that the loader replaces (bpf/warm.h).
const (
	markCallCast = 0x696463   // a call of bpf_rdonly_cast
	markType     = 0x70696464 // the number of the type that it casts to
	markWarm     = 0x70696465 // whether there is the function
)

// What stands in for the marks, by its name in the kernel's BTF.
const (
	castFunction = "bpf_rdonly_cast"
	castType     = "uid_gid_extent"
)

// castNumbers are the numbers that a kernel's BTF has for castFunction and
// castType; without both, programs do not warm what they will read.
type castNumbers map[string]uint32

func newCastNumbers() castNumbers { return castNumbers{castFunction: 0, castType: 0} }

// findIn looks for them in the whole of the running kernel's BTF.
func (n castNumbers) findIn(spec *btf.Spec) {
	var function *btf.Func
	if spec.TypeByName(castFunction, &function) == nil {
		n.add(spec, castFunction, function)
	}
	var extent *btf.Struct
	if spec.TypeByName(castType, &extent) == nil {
		n.add(spec, castType, extent)
	}
}

func (n castNumbers) add(spec *btf.Spec, name string, typ btf.Type) {
	if id, err := spec.TypeID(typ); err == nil {
		n[name] = uint32(id)
	}
}

func (n castNumbers) complete() bool { return n[castFunction] != 0 && n[castType] != 0 }

// replaceMarks makes a program use what has these numbers, or not. It reports
// whether there were marks.
func replaceMarks(program *ebpf.ProgramSpec, n castNumbers) bool {
	found := false
	for i := range program.Instructions {
		ins := &program.Instructions[i]
		switch {
		case ins.OpCode.JumpOp() == asm.Call && ins.Src == asm.R0 && ins.Constant == markCallCast:
			found = true
			if n.complete() {
				ins.Src, ins.Constant = asm.PseudoKfuncCall, int64(n[castFunction])
			} else { // where nobody comes, but a verifier of old wants to know it
				*ins = asm.Mov.Imm(asm.R0, 0).WithMetadata(ins.Metadata)
			}
		case ins.OpCode.ALUOp() == asm.Mov && ins.Constant == markType:
			ins.Constant = int64(n[castType])
		case ins.OpCode.ALUOp() == asm.Mov && ins.Constant == markWarm:
			ins.Constant = 0
			if n.complete() {
				ins.Constant = 1
			}
		}
	}
	return found
}
