// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"

	"github.com/cilium/ebpf/btf"

	"github.com/pidgraft/pidgraft/bpf"
)

// ErrTypes: a file does not hold the types of the running kernel.
var ErrTypes = errors.New("not the BTF of this kernel")

// Types are the types of the running kernel, out of a file. They may be shared
// by any number of Loaders.
type Types struct{ spec *btf.Spec }

// Spec is the library's form of them; nil of none.
func (t *Types) Spec() *btf.Spec {
	if t == nil {
		return nil
	}
	return t.spec
}

// ReadTypes reads the BTF of the running kernel from a file, for where
// /sys/kernel/btf/vmlinux is not to be seen: raw, as that is, or in the section
// .BTF of an ELF file, as a vmlinux is. A container can be dumped with them; the
// task iterator, which a subtree takes, needs the kernel's own.
//
// Errors: ErrTypes, with what is wrong with the file.
func ReadTypes(file string) (*Types, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	spec, err := parseTypes(data)
	if err == nil {
		err = checkTypes(spec, runningTypes())
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", file, ErrTypes, err)
	}
	return &Types{spec}, nil
}

// parseTypes is strict about the byte order, which a kernel shares with the
// machine.
func parseTypes(data []byte) (*btf.Spec, error) {
	switch {
	case bytes.HasPrefix(data, []byte("\x7fELF")):
		const dataAt, little = 5, 1 // e_ident[EI_DATA], elf(5)
		if len(data) > dataAt && data[dataAt] != little {
			return nil, errors.New("it is for machines of the other byte order")
		}
	case bytes.HasPrefix(data, []byte{0xeb, 0x9f}):
		return nil, errors.New("it is for machines of the other byte order")
	case !bytes.HasPrefix(data, []byte{0x9f, 0xeb}):
		return nil, errors.New("it begins neither as BTF nor as an ELF file does")
	}
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(data))
	if errors.Is(err, btf.ErrNotFound) {
		return nil, errors.New("an ELF file without a section .BTF")
	}
	return spec, err
}

// runningTypes are those of the running kernel, if it shows them, in its file or
// to CAP_SYS_ADMIN; nil if not.
func runningTypes() *btf.Spec {
	spec, err := btf.LoadKernelSpec()
	if err == nil {
		return spec
	}
	handle, err := btf.FindHandle(func(info *btf.HandleInfo) bool { return info.IsVmlinux() })
	if err != nil {
		return nil
	}
	defer handle.Close()
	if spec, err = handle.Spec(nil); err != nil {
		return nil
	}
	return spec
}

// optional are the fields that kernels may lack: bpf/kernel.h does without.
var optional = map[string]bool{
	"task_struct.__state": true, "pid_namespace.pid_max": true, "tty_struct.ctrl": true,
}

// checkTypes holds types against what the programs read (which their own BTF
// says), and against the running kernel's, if those are known: with another
// layout the programs would read something else.
func checkTypes(types, running *btf.Spec) error {
	programs, err := bpf.LoadPids()
	if err != nil {
		return err
	}
	var task *btf.Struct
	if err := programs.Types.TypeByName("task_struct", &task); err != nil {
		return err
	}
	for _, own := range structsOf(task) {
		var theirs, actual *btf.Struct
		if err := types.TypeByName(own.Name, &theirs); err != nil {
			return fmt.Errorf("it has no struct %s", own.Name)
		}
		fields := fieldsOf(theirs.Members, 0)
		for name := range fieldsOf(own.Members, 0) {
			if _, ok := fields[name]; !ok && !optional[own.Name+"."+name] {
				return fmt.Errorf("its struct %s has no field %s", own.Name, name)
			}
		}
		if running == nil || running.TypeByName(own.Name, &actual) != nil {
			continue
		}
		for name, at := range fieldsOf(actual.Members, 0) {
			if _, read := fieldsOf(own.Members, 0)[name]; read && fields[name] != at {
				return fmt.Errorf("field %s of its struct %s is not where this kernel (%s) has it", name, own.Name, release())
			}
		}
	}
	return nil
}

// structsOf are the named structs that can be reached from t.
func structsOf(t *btf.Struct) []*btf.Struct {
	var found []*btf.Struct
	seen := map[string]bool{}
	var visit func(btf.Type)
	visit = func(t btf.Type) {
		switch t := btf.UnderlyingType(t).(type) {
		case *btf.Pointer:
			visit(t.Target)
		case *btf.Array:
			visit(t.Type)
		case *btf.Union:
			for _, m := range t.Members {
				visit(m.Type)
			}
		case *btf.Struct:
			if t.Name != "" {
				if seen[t.Name] {
					return
				}
				seen[t.Name] = true
				found = append(found, t)
			}
			for _, m := range t.Members {
				visit(m.Type)
			}
		}
	}
	visit(t)
	return found
}

// fieldsOf are the offsets of fields by name, those of anonymous members
// included.
func fieldsOf(members []btf.Member, base btf.Bits) map[string]btf.Bits {
	fields := map[string]btf.Bits{}
	for _, m := range members {
		if m.Name != "" {
			fields[m.Name] = base + m.Offset
			continue
		}
		switch t := btf.UnderlyingType(m.Type).(type) {
		case *btf.Struct:
			maps.Copy(fields, fieldsOf(t.Members, base+m.Offset))
		case *btf.Union:
			maps.Copy(fields, fieldsOf(t.Members, base+m.Offset))
		}
	}
	return fields
}
