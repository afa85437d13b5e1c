// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/bpf"
)

// watchers are the programs that count what happens to the target, by the raw
// tracepoint that each is for.
var watchers = map[string]string{
	bpf.PidsProgWatchNewtask: "task_newtask",
	bpf.PidsProgWatchExec:    "sched_process_exec",
	bpf.PidsProgWatchExit:    "sched_process_exit",
	bpf.PidsProgWatchSyscall: "sys_exit",
}

// syscalls are the numbers that this architecture gives to the system calls
// that watch_syscall counts: one object serves all architectures.
var syscalls = map[string]uint32{
	bpf.PidsVarNrSetsid:  unix.SYS_SETSID,
	bpf.PidsVarNrSetpgid: unix.SYS_SETPGID,
	bpf.PidsVarNrSetns:   unix.SYS_SETNS,
	bpf.PidsVarNrUnshare: unix.SYS_UNSHARE,
	bpf.PidsVarNrPrctl:   unix.SYS_PRCTL,
}

// wanted says what to load.
type wanted struct {
	walk, watch bool
	ringBytes   uint32 // a power of two, at least a page; 0 for the default
}

func (w wanted) programs() []string {
	names := []string{bpf.PidsProgTasks}
	if w.walk {
		names = append(names, bpf.PidsProgWalkIdr)
	}
	if w.watch {
		for name := range watchers {
			names = append(names, name)
		}
	}
	return names
}

// load loads the programs that are wanted and no others: each costs a few
// milliseconds. If only the walk cannot be had, walkErr says why.
func load(w wanted) (coll *ebpf.Collection, walkErr, err error) {
	spec, err := bpf.LoadPids()
	if err != nil {
		return nil, nil, err
	}
	if w.ringBytes != 0 {
		spec.Maps[bpf.PidsMapRing].MaxEntries = w.ringBytes
	}
	for name, nr := range syscalls {
		if err := spec.Variables[name].Set(nr); err != nil {
			return nil, nil, fmt.Errorf("set %s: %w", name, err)
		}
	}
	types := btf.NewCache()
	if err := readTypes(types); err != nil {
		return nil, nil, err
	}
	coll, err = loadPrograms(spec, types, w.programs())
	if err == nil || !w.walk || errors.Is(err, ErrNotPermitted) {
		return coll, nil, err
	}
	walkErr = err
	w.walk = false
	coll, err = loadPrograms(spec, types, w.programs())
	return coll, walkErr, err
}

func loadPrograms(spec *ebpf.CollectionSpec, types *btf.Cache, names []string) (*ebpf.Collection, error) {
	kernel, err := types.Kernel()
	if err != nil {
		return nil, err
	}
	spec = spec.Copy()
	for name := range spec.Programs {
		if !slices.Contains(names, name) {
			delete(spec.Programs, name)
		}
	}
	opts := ebpf.CollectionOptions{
		// For finding what a program attaches to.
		Cache: types,
		// Said explicitly, or the types of all modules are read as well.
		Programs: ebpf.ProgramOptions{KernelTypes: kernel},
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, opts)
	// Before 5.11 BPF memory is charged to RLIMIT_MEMLOCK, and too little of
	// it is EPERM too.
	if errors.Is(err, unix.EPERM) && rlimit.RemoveMemlock() == nil {
		coll, err = ebpf.NewCollectionWithOptions(spec, opts)
	}
	if err != nil {
		return nil, explain("load the BPF programs", err)
	}
	return coll, nil
}

// readTypes reads the BTF of the running kernel. It is the largest part of
// loading (10 of 35 ms for 130,000 types), so it is done once.
func readTypes(types *btf.Cache) error {
	_, err := types.Kernel()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("kernel %s: %w", release(), ErrNoBTF)
	}
	return explain("read the kernel's BTF", err)
}
