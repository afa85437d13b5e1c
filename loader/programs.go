// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/bpf"
	"github.com/pidgraft/pidgraft/internal/privilege"
)

// syscalls are the numbers that this architecture gives to the system calls
// that watch_syscall counts: one object serves all architectures.
var syscalls = map[string]uint32{
	bpf.PidsVarNrSetsid:  unix.SYS_SETSID,
	bpf.PidsVarNrSetpgid: unix.SYS_SETPGID,
	bpf.PidsVarNrSetns:   unix.SYS_SETNS,
	bpf.PidsVarNrUnshare: unix.SYS_UNSHARE,
	bpf.PidsVarNrPrctl:   unix.SYS_PRCTL,
}

// lockdown is replaced by tests. Confidentiality, which refuses programs that
// probe the kernel's memory, has an object of its own: see LOCKED_DOWN in
// bpf/kernel.h.
var lockdown = privilege.Lockdown

const confidentiality = "confidentiality"

// programsOf are the programs that find and look at a target.
func programsOf(scope Scope) []string {
	names := []string{bpf.PidsProgFind}
	if scope != Container {
		names = append(names, bpf.PidsProgTasks)
	}
	if scope != Subtree {
		names = append(names, bpf.PidsProgWalkIdr)
	}
	return names
}

// prepare does all that does not depend on the target, but for a guess at which
// programs will be used. ringBytes is a power of two, at least a page, or 0 for
// the default. watch attaches the watchers already.
func (l *Loader) prepare(target Target, ringBytes uint32, watch bool) (err error) {
	if err := l.makeMaps(target.Types, ringBytes); err != nil {
		return err
	}
	watching := make(chan error, 1)
	go func() {
		var err error
		if !target.Unwatched {
			err = l.needWatchers(watch)
		}
		watching <- err
	}()
	err = l.need(programsOf(l.guess())...)
	if watchErr := <-watching; err == nil {
		err = watchErr
	}
	if err != nil {
		return err
	}
	if l.ring, err = ringbuf.NewReader(l.coll.Maps[bpf.PidsMapRing]); err != nil {
		return explain("open the ring buffer", err)
	}
	return nil
}

// makeMaps makes the maps and reads the kernel's types, unless types has them: side
// by side, as each takes a few milliseconds.
func (l *Loader) makeMaps(types *Types, ringBytes uint32) (err error) {
	l.cast = newCastNumbers()
	load := bpf.LoadPids
	var cut func() (*btf.Spec, error)
	if lockdown() == confidentiality {
		load = bpf.LoadLocked // which takes the whole
	} else if types == nil {
		cut = beginExcerpt(bpf.PidsTypes, l.cast)
		defer cut()
	}
	if l.spec, err = load(); err != nil {
		return err
	}
	if ringBytes != 0 {
		l.spec.Maps[bpf.PidsMapRing].MaxEntries = ringBytes
		l.spec.Maps[bpf.PidsMapSecondRing].MaxEntries = ringBytes
	}
	for name, nr := range syscalls {
		if err := l.spec.Variables[name].Set(nr); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	if l.coll, err = loadMaps(l.spec); err != nil {
		return err
	}
	if l.types == nil {
		l.types = btf.NewCache()
	}
	l.kernel, err = kernelTypes(l.spec, types, l.types, l.cast, cut)
	return err
}

// loadMaps makes the maps and the variables in them.
func loadMaps(spec *ebpf.CollectionSpec) (*ebpf.Collection, error) {
	maps := spec.Copy()
	maps.Programs = nil
	return loadCollection(maps, ebpf.CollectionOptions{})
}

// need loads programs that are not loaded yet: no others, as each costs up to a
// few milliseconds, and side by side, as what the verifier does for one does not
// wait for another. Programs that read an idr may be missing afterwards: walkErr
// says why.
func (l *Loader) need(names ...string) error {
	names = slices.DeleteFunc(names, func(name string) bool {
		return l.coll.Programs[name] != nil || l.walkErr != nil && readsIDR(name)
	})
	progs, errs := make([]*ebpf.Program, len(names)), make([]error, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() { progs[i], errs[i] = l.loadProgram(name, l.coll.Maps) })
	}
	all.Wait()
	var err error
	for i, name := range names {
		switch {
		case errs[i] == nil:
			l.coll.Programs[name] = progs[i]
		case readsIDR(name) && !errors.Is(errs[i], ErrNotPermitted):
			l.walkErr = errs[i]
		case err == nil:
			err = errs[i]
		}
	}
	return err
}

func readsIDR(name string) bool { return name == bpf.PidsProgWalkIdr || name == bpf.PidsProgFind }

// needTasks makes the task iterator ready.
func (l *Loader) needTasks() (err error) {
	if l.iter != nil {
		return nil
	}
	if err := l.need(bpf.PidsProgTasks); err != nil {
		return err
	}
	l.iter, err = link.AttachIter(link.IterOptions{Program: l.coll.Programs[bpf.PidsProgTasks]})
	if err != nil {
		return explain("attach the task iterator", err)
	}
	return nil
}

// loadProgram loads one program on these maps.
func (l *Loader) loadProgram(name string, maps map[string]*ebpf.Map) (*ebpf.Program, error) {
	if name == bpf.PidsProgTasks {
		if err := l.canIterate(); err != nil {
			return nil, err
		}
	}
	p, marked, err := l.loadProgramWith(l.cast, name, maps)
	if err != nil && marked && l.cast.complete() {
		p, _, err = l.loadProgramWith(nil, name, maps)
	}
	return p, err
}

// loadProgramWith loads a program with these numbers in place of its marks, and says
// whether it has any.
func (l *Loader) loadProgramWith(numbers castNumbers, name string, maps map[string]*ebpf.Map) (_ *ebpf.Program, marked bool, err error) {
	one := *l.spec
	one.Programs = map[string]*ebpf.ProgramSpec{name: l.spec.Programs[name]}
	one.Variables = nil
	spec := one.Copy()
	marked = replaceMarks(spec.Programs[name], numbers)
	loaded, err := loadCollection(spec, ebpf.CollectionOptions{
		MapReplacements: maps,
		// For finding what a program attaches to.
		Cache: l.types,
		// Said explicitly, or the types of all modules are read as well.
		Programs: ebpf.ProgramOptions{KernelTypes: l.kernel},
	})
	if err != nil {
		return nil, marked, err
	}
	defer loaded.Close()
	return loaded.DetachProgram(name), marked, nil
}

func loadCollection(spec *ebpf.CollectionSpec, opts ebpf.CollectionOptions) (*ebpf.Collection, error) {
	coll, err := ebpf.NewCollectionWithOptions(spec, opts)
	// Before 5.11 BPF memory is charged to RLIMIT_MEMLOCK, and too little of
	// it is EPERM too.
	if errors.Is(err, unix.EPERM) {
		if rlimit.RemoveMemlock() != nil {
			return nil, tooLittleMemory("load the BPF programs", err)
		}
		coll, err = ebpf.NewCollectionWithOptions(spec, opts)
	}
	if err != nil {
		return nil, explain("load the BPF programs", err)
	}
	return coll, nil
}

// canIterate: the iterator is loaded by the number of its type, for which the
// library asks the kernel's own file; and a kernel without BTF has no iterators.
func (l *Loader) canIterate() error {
	if _, err := allTypes(l.types); err != nil {
		return fmt.Errorf("iterate over tasks, which a subtree takes: %w", err)
	}
	return nil
}
