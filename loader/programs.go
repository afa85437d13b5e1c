// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"os"
	"sync"

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
	types       *Types // nil: those of /sys/kernel/btf/vmlinux
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
	// Making the maps takes a few milliseconds too, and no types.
	made := make(chan error, 1)
	go func() {
		var err error
		coll, err = loadMaps(spec)
		made <- err
	}()
	types := btf.NewCache()
	kernel, err := w.kernelTypes(types)
	if mapsErr := <-made; err == nil {
		err = mapsErr
	}
	if err == nil {
		walkErr, err = loadPrograms(coll, spec, kernel, types, w.programs())
	}
	if err != nil {
		if coll != nil {
			coll.Close()
		}
		return nil, nil, err
	}
	return coll, walkErr, nil
}

// loadMaps makes the maps and the variables in them.
func loadMaps(spec *ebpf.CollectionSpec) (*ebpf.Collection, error) {
	maps := spec.Copy()
	maps.Programs = nil
	return loadCollection(maps, ebpf.CollectionOptions{})
}

// loadPrograms adds programs to coll, which has their maps. What the verifier
// does for one does not wait for another.
func loadPrograms(coll *ebpf.Collection, spec *ebpf.CollectionSpec, kernel *btf.Spec, types *btf.Cache, names []string) (walkErr, err error) {
	progs, errs := make([]*ebpf.Program, len(names)), make([]error, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() { progs[i], errs[i] = loadProgram(coll, spec, kernel, types, name) })
	}
	all.Wait()
	for i, name := range names {
		switch {
		case errs[i] == nil:
			coll.Programs[name] = progs[i]
		case name == bpf.PidsProgWalkIdr && !errors.Is(errs[i], ErrNotPermitted):
			walkErr = errs[i]
		case err == nil:
			err = errs[i]
		}
	}
	return walkErr, err
}

// loadProgram loads one program on the maps of coll.
func loadProgram(coll *ebpf.Collection, spec *ebpf.CollectionSpec, kernel *btf.Spec, types *btf.Cache, name string) (*ebpf.Program, error) {
	one := *spec
	one.Programs = map[string]*ebpf.ProgramSpec{name: spec.Programs[name]}
	one.Variables = nil
	loaded, err := loadCollection(one.Copy(), ebpf.CollectionOptions{
		MapReplacements: coll.Maps,
		// For finding what a program attaches to.
		Cache: types,
		// Said explicitly, or the types of all modules are read as well.
		Programs: ebpf.ProgramOptions{KernelTypes: kernel},
	})
	if err != nil {
		return nil, err
	}
	defer loaded.Close()
	return loaded.DetachProgram(name), nil
}

func loadCollection(spec *ebpf.CollectionSpec, opts ebpf.CollectionOptions) (*ebpf.Collection, error) {
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

// kernelTypes are the types that the programs are fitted to. Reading those of
// the running kernel is the largest part of loading (10 of 35 ms for 130,000
// types), so it is done once.
func (w wanted) kernelTypes(types *btf.Cache) (*btf.Spec, error) {
	if w.types != nil {
		return w.types.spec, nil
	}
	spec, err := types.Kernel()
	switch {
	case err == nil:
		return spec, nil
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("kernel %s: %w", release(), ErrNoBTF)
	}
	return nil, explain("read the kernel's BTF", err)
}
