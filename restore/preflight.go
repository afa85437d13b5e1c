// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"unsafe"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/internal/privilege"
	"github.com/pidgraft/pidgraft/restore/plan"
)

// Preflight looks, before anything is made, for what would stop the plan on
// this machine: privileges, the kernel, levels, the range of numbers; in place
// also a cgroup to grow in, and every number that is taken (a TakenError). The
// other errors are CannotRunErrors, joined.
func Preflight(f *forest.Forest, p *plan.Plan, opts Options) error {
	return errors.Join(
		checkPlace(),
		checkCapabilities(needs(f, p, opts)),
		checkClone3(),
		checkLevels(f, p),
		checkNumbers(p, opts.Types),
		checkShell(opts),
		checkHere(p),
		checkFree(p),
	)
}

// checkPlace wants the initial user namespace, since only there can ids of
// every kind be given to tasks, and a /proc that shows this process.
func checkPlace() error {
	self, err := os.Readlink("/proc/self")
	if err != nil || self != strconv.Itoa(os.Getpid()) {
		return &CannotRunError{"a /proc of this pid namespace", "mount -t proc proc /proc"}
	}
	initial, err := privilege.InitialUserNamespace()
	if err == nil && !initial {
		return &CannotRunError{"the initial user namespace", "run as root outside of rootless containers"}
	}
	return err
}

// checkClone3 asks clone3 for more numbers than there are levels: EINVAL if
// it knows set_tid (5.5), E2BIG if it does not, and nothing is made.
func checkClone3() error {
	var args struct {
		flags, pidfd, childTid, parentTid, exitSignal, stack, stackSize, tls uint64
		setTid, setTidSize                                                   uint64
	}
	args.setTid = uint64(uintptr(unsafe.Pointer(&args)))
	args.setTidSize = 1 << 16
	_, _, errno := unix.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args), 0)
	switch errno {
	case unix.EINVAL:
		return nil
	case unix.EPERM:
		return &CannotRunError{"clone3", "a seccomp filter forbids it: run outside of the container, or with seccomp=unconfined"}
	default:
		return &CannotRunError{"clone3 with set_tid", "Linux 5.10 or later is needed, and no seccomp filter against clone3"}
	}
}

// checkLevels: own level, one or two more for new namespaces, and the forest's
// must be 32 at most (kernel-rules 2). How deep this process is cannot be seen
// from inside; not being in the initial namespace it is one level at least.
func checkLevels(f *forest.Forest, p *plan.Plan) error {
	own, deepest, levels := 0, 1, 0
	switch {
	case inPlace(p):
		deepest = 0
	case f.Mode == forest.Container && p.Root != plan.Init:
		deepest = 2 // one around that of a root that has ended
	}
	initial, err := privilege.InitialPidNamespace()
	if err != nil {
		return err
	}
	if !initial {
		own = 1
	}
	for i := range f.Namespaces {
		levels = max(levels, f.Namespaces[i].Level)
	}
	deepest += levels
	if own+deepest <= forest.MaxDepth {
		return nil
	}
	return &CannotRunError{
		fmt.Sprintf("room for %d levels of pid namespaces below this one", deepest),
		fmt.Sprintf("the kernel has %d, and this process is at level %d: restore from further out", forest.MaxDepth, own),
	}
}

// checkNumbers compares the numbers to be named with what pid_max allows, and
// the count of tasks with what this namespace can hold.
func checkNumbers(p *plan.Plan, types *btf.Spec) error {
	own, err := ownPidMax()
	if err != nil {
		return err
	}
	if len(p.Actors) >= own {
		return &CannotRunError{
			fmt.Sprintf("numbers for %d tasks in this pid namespace", len(p.Actors)),
			fmt.Sprintf("its pid_max is %d: raise sysctl kernel.pid_max", own),
		}
	}
	largest, writes := demands(p)
	if int(largest) < own && !writes {
		return nil
	}
	each, err := PidMaxEach(types)
	switch {
	case err != nil:
		return err
	case writes && !each:
		return &CannotRunError{"a pid_max per namespace",
			"the image has one; on this kernel writing it would change the whole machine: Linux 6.14 or later is needed"}
	case !each:
		return &CannotRunError{
			fmt.Sprintf("a pid_max above %d", largest),
			fmt.Sprintf("it is %d: raise sysctl kernel.pid_max", own),
		}
	}
	return nil
}

// demands are the largest number that p names and whether it writes a pid_max.
func demands(p *plan.Plan) (largest int32, writes bool) {
	for a := range p.Actors {
		for i := range p.Actors[a].Ops {
			op := &p.Actors[a].Ops[i]
			writes = writes || op.Code == plan.PidMax
			for _, n := range op.Numbers {
				largest = max(largest, n)
			}
		}
	}
	return largest, writes
}

// PidMaxEach reports whether every pid namespace of this kernel has a pid_max of
// its own, which is the kernel's limit at first (about 6.14:
// pid_namespace.pid_max). types are those of this kernel; nil: it is asked. An
// error is a CannotRunError if they are not to be had.
func PidMaxEach(types *btf.Spec) (bool, error) {
	if types == nil {
		var err error
		if types, err = btf.LoadKernelSpec(); err != nil {
			return false, &CannotRunError{"the kernel's BTF",
				"it tells whether pid_max is per namespace, which numbers above this one's pid_max need: " + err.Error()}
		}
	}
	var ns *btf.Struct
	if err := types.TypeByName("pid_namespace", &ns); err != nil {
		return false, fmt.Errorf("BTF of struct pid_namespace: %w", err)
	}
	for _, m := range ns.Members {
		if m.Name == "pid_max" {
			return true, nil
		}
	}
	return false, nil
}

func checkShell(opts Options) error {
	if opts.Exec == "" {
		return nil
	}
	if err := unix.Access(shell, unix.X_OK); err != nil {
		return &CannotRunError{shell, "it runs the command that was given: " + err.Error()}
	}
	return nil
}
