// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// emptyIterator is an iterator over tasks that does nothing with them.
func emptyIterator() (*link.Iter, error) {
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "empty", Type: ebpf.Tracing, AttachType: ebpf.AttachTraceIter, AttachTo: "task",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		License:      "Dual BSD/GPL",
	})
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	defer prog.Close()
	return link.AttachIter(link.IterOptions{Program: prog})
}

// iterate times one pass of it over all tasks of the machine. It is loaded before.
func iterate() (s sample, err error) {
	iter, err := emptyIterator()
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, iter.Close()) }()
	return inside(func() error {
		file, err := iter.Open()
		if err != nil {
			return err
		}
		defer file.Close()
		var buf [1]byte
		for {
			// EAGAIN comes after a million tasks.
			switch _, err := file.Read(buf[:]); {
			case errors.Is(err, io.EOF):
				return nil
			case err != nil && !errors.Is(err, unix.EAGAIN):
				return fmt.Errorf("read: %w", err)
			}
		}
	})
}
