// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/restore/stub"
)

// shared is the plan in the memory that the stub sees, too. Fields that the
// stub sets are read with the methods here.
type shared struct {
	file   *os.File
	mem    []byte
	plan   *stub.Plan
	actors []stub.Actor
	ops    []stub.Op
}

// share writes the program into a new memfd, sealed against a change of size
// (which would be a SIGBUS for every task).
func share(g *program) (*shared, error) {
	actors, ops := uint64(len(g.plan.Actors)), uint64(g.nops)
	actorsAt := uint64(unsafe.Sizeof(stub.Plan{}))
	opsAt := actorsAt + actors*uint64(unsafe.Sizeof(stub.Actor{}))
	dataAt := opsAt + ops*uint64(unsafe.Sizeof(stub.Op{}))

	hdr := new(stub.Plan)
	outActors, outOps := make([]stub.Actor, actors), make([]stub.Op, ops)
	rest := g.encode(hdr, outActors, outOps, dataAt)
	page := uint64(os.Getpagesize())
	hdr.Size = (dataAt + uint64(len(rest)) + page - 1) &^ (page - 1)
	hdr.Actors, hdr.Ops = actorsAt, opsAt
	if hdr.Size/4 > 1<<32 {
		return nil, fmt.Errorf("a plan of %d bytes is too large", hdr.Size)
	}

	m, err := newShared(hdr.Size)
	if err != nil {
		return nil, fmt.Errorf("memory for a plan of %d tasks (%d bytes): %w", actors, hdr.Size, err)
	}
	base := unsafe.Pointer(&m.mem[0])
	m.plan = (*stub.Plan)(base)
	m.actors = unsafe.Slice((*stub.Actor)(unsafe.Add(base, actorsAt)), actors)
	m.ops = unsafe.Slice((*stub.Op)(unsafe.Add(base, opsAt)), ops)
	*m.plan = *hdr
	copy(m.actors, outActors)
	copy(m.ops, outOps)
	copy(m.mem[dataAt:], rest)
	return m, nil
}

func newShared(size uint64) (*shared, error) {
	fd, err := unix.MemfdCreate("pidgraft-plan", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	m := &shared{file: os.NewFile(uintptr(fd), "plan")}
	if err := m.file.Truncate(int64(size)); err != nil {
		m.close()
		return nil, err
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL); err != nil {
		m.close()
		return nil, fmt.Errorf("seal: %w", err)
	}
	m.mem, err = unix.Mmap(fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		m.close()
		return nil, fmt.Errorf("mmap: %w", err)
	}
	return m, nil
}

func (m *shared) close() {
	if m.mem != nil {
		_ = unix.Munmap(m.mem)
		m.mem = nil
	}
	_ = m.file.Close()
}

func (m *shared) committed() bool { return atomic.LoadUint32(&m.plan.Commit) == stub.CommitDone }
func (m *shared) held() uint32    { return atomic.LoadUint32(&m.plan.Held) }

func (m *shared) state(op uint32) uint32 { return atomic.LoadUint32(&m.ops[op].State) }
func (m *shared) pid(actor int) int      { return int(atomic.LoadInt32(&m.actors[actor].Pid)) }
func (m *shared) pidfd(actor int) int    { return int(atomic.LoadInt32(&m.actors[actor].Pidfd)) }
func (m *shared) at(actor int) uint32    { return atomic.LoadUint32(&m.actors[actor].At) }
func (m *shared) failure() *stub.Failure { return failureOf(&m.plan.Failure) }
func failureOf(f *stub.Failure) *stub.Failure {
	if atomic.LoadUint32(&f.State) != stub.FailureWritten {
		return nil
	}
	return f
}

// finish marks an operation of the restorer as done, for whoever waits.
func (m *shared) finish(op uint32) {
	word := &m.ops[op].State
	atomic.StoreUint32(word, stub.Done)
	// the futex is shared: the waiters may have another memory
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWake, 1<<31-1, 0, 0, 0)
}

const futexWake = 1 // FUTEX_WAKE

// trace is the /proc stat file of the task that ended with op.
func (m *shared) trace(op uint32) string {
	at := (uint64(m.ops[op].Data) + uint64(m.ops[op].NAfter)) * 4
	return unix.ByteSliceToString(m.mem[at : at+stub.TraceSize])
}

// report puts down what the first task is to write at the commit.
func (m *shared) report(line []byte) {
	copy(m.mem[m.plan.Report:], line)
	atomic.StoreUint32(&m.plan.ReportLen, uint32(len(line)))
}

// progress sums up how far all operations are; it changes with any of them.
func (m *shared) progress() uint64 {
	var sum uint64
	for i := range m.ops {
		sum += uint64(m.state(uint32(i)))
	}
	return sum
}
