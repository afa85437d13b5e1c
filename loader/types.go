// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf/btf"
)

// ErrTypes: a file does not hold the types of the running kernel.
var ErrTypes = errors.New("not the BTF of this kernel")

// Types are the types of the running kernel, out of a file. They may be shared
// by any number of Loaders.
type Types struct {
	spec *btf.Spec
	file string
}

// ReadTypes reads the BTF of the running kernel from a file, for where
// /sys/kernel/btf/vmlinux is not to be seen: raw, as that is, or in the section
// .BTF of an ELF file, as a vmlinux is.
//
// Errors: ErrTypes, with what is wrong with the file.
func ReadTypes(file string) (*Types, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	spec, err := parseTypes(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", file, ErrTypes, err)
	}
	return &Types{spec, file}, nil
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
