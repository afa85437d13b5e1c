// SPDX-License-Identifier: Apache-2.0

package testforest

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	nrSlots   = 4096
	slotsAddr = 0x2000000000 // where a puppet has the slots
	spawnCall = -1           // slot.nr: clone3 with a child that serves a slot
	faultCall = -2           // slot.nr: a fault that forces a signal
	sleeper   = -1           // slot of a child that serves none
)

// patience is how long a task may take for anything before a test gives up.
const patience = 20 * time.Second

// slot is struct slot of puppet.c.
type slot struct {
	posted atomic.Uint32
	done   atomic.Uint32
	nr     int64
	args   [6]int64
	result int64
	data   [440]byte
}

const slotSize = 512

var _ [slotSize]byte = [unsafe.Sizeof(slot{})]byte{}

// slots is the memory shared with the puppets of one forest.
type slots struct {
	file *os.File
	mem  []byte
}

func newSlots() (*slots, error) {
	fd, err := unix.MemfdCreate("testforest", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	size := nrSlots * slotSize
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("ftruncate: %w", err)
	}
	mem, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("mmap: %w", err)
	}
	return &slots{file: os.NewFile(uintptr(fd), "slots"), mem: mem}, nil
}

func (s *slots) close() {
	unix.Munmap(s.mem)
	s.file.Close()
}

func (s *slots) slot(n int) *slot {
	return (*slot)(unsafe.Pointer(&s.mem[n*slotSize]))
}

// dataAddr is the address of slot n's data in a puppet.
func dataAddr(n int) int64 {
	return slotsAddr + int64(n)*slotSize + int64(unsafe.Offsetof(slot{}.data))
}

// post asks the task of the slot for a call without waiting for it.
func (s *slot) post(nr int64, args ...int64) {
	s.nr = nr
	s.args = [6]int64{}
	copy(s.args[:], args)
	s.posted.Add(1)
	futex(&s.posted, futexWake, 1, nil)
}

// Operations of futex(2), linux/futex.h: on memory shared between processes.
const (
	futexWait = 0
	futexWake = 1
)

func futex(word *atomic.Uint32, op, val uintptr, timeout *unix.Timespec) {
	// The result is not needed: every caller looks at the word again.
	unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), op, val,
		uintptr(unsafe.Pointer(timeout)), 0, 0)
}

// wait waits until the call that was posted has been made. Every now and then
// it asks whether the task can still make it.
func (s *slot) wait(alive func() bool) (int64, error) {
	pause := unix.NsecToTimespec(int64(50 * time.Millisecond))
	for deadline := time.Now().Add(patience); ; {
		done := s.done.Load()
		if done == s.posted.Load() {
			break
		}
		futex(&s.done, futexWait, uintptr(done), &pause)
		if s.done.Load() != done {
			continue
		}
		if !alive() {
			return 0, errors.New("the task ended before it could make the call")
		}
		if time.Now().After(deadline) {
			return 0, errors.New("the task does not make the call")
		}
	}
	if r := s.result; r < 0 && r > -4096 {
		return r, unix.Errno(-r)
	}
	return s.result, nil
}
