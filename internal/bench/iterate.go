// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// emptyIterator is an iterator over tasks that does nothing with them.
var emptyIterator = sync.OnceValues(func() (*link.Iter, error) {
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
})

// iterate times one pass of it over all tasks of the machine.
func iterate() (time.Duration, error) {
	iter, err := emptyIterator()
	if err != nil {
		return 0, err
	}
	start := time.Now()
	file, err := iter.Open()
	if err != nil {
		return 0, err
	}
	defer file.Close()
	var buf [1]byte
	for {
		// EAGAIN comes after a million tasks.
		switch _, err := file.Read(buf[:]); {
		case errors.Is(err, io.EOF):
			return time.Since(start), nil
		case err != nil && !errors.Is(err, unix.EAGAIN):
			return 0, fmt.Errorf("read: %w", err)
		}
	}
}
