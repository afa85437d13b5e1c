// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/internal/privilege"
)

var (
	// ErrNoProcess: there is no such process, or it ended meanwhile.
	ErrNoProcess = errors.New("no such process")
	// ErrNotVisible: the process exists, but the task iterator does not show it.
	ErrNotVisible = errors.New("not shown by the task iterator")
	// ErrNotInit: a container was asked for, and the process is not the init
	// of a pid namespace below the caller's.
	ErrNotInit = errors.New("not the init of a pid namespace of its own")
	// ErrSelf: the target is, or contains, the process that asks.
	ErrSelf = errors.New("the target is or contains this process itself")
	// ErrNotPermitted: the kernel refuses; the error is a *PermissionError.
	ErrNotPermitted = errors.New("not permitted")
	// ErrNoBTF: the kernel does not describe its types.
	ErrNoBTF = errors.New("the kernel has no BTF (CONFIG_DEBUG_INFO_BTF, /sys/kernel/btf/vmlinux)")
	// ErrUnsupported: the kernel lacks something else that is needed.
	ErrUnsupported = errors.New("not supported by this kernel")
)

// PermissionError is a refusal by the kernel, with what is known about why:
// the kernel itself only says EPERM.
type PermissionError struct {
	Op       string   // what was tried
	Missing  []string // capabilities that are needed and not held
	UserNS   bool     // in a user namespace other than the initial one, where they do not count
	Lockdown string   // kernel lockdown: none, integrity, confidentiality; "" if unknown
	Seccomp  bool     // a system call filter is in force
	Release  string   // uname -r
	Err      error
}

func (e *PermissionError) Error() string {
	var why []string
	if len(e.Missing) > 0 {
		why = append(why, "this process lacks "+strings.Join(e.Missing, " and ")+e.instead())
	}
	if e.UserNS {
		why = append(why, "it is in a user namespace, whose capabilities do not count for BPF")
	}
	if e.Lockdown == confidentiality {
		why = append(why, "kernel lockdown is "+e.Lockdown)
	}
	if e.Seccomp {
		why = append(why, "a seccomp filter is in force")
	}
	if len(why) == 0 {
		why = append(why, fmt.Sprintf("capabilities are held, lockdown is %s: %v", orUnknown(e.Lockdown), e.Err))
	}
	return fmt.Sprintf("%s: %v: %s (kernel %s)", e.Op, ErrNotPermitted, strings.Join(why, "; "), e.Release)
}

// instead is what does as well as the capabilities that are missing.
func (e *PermissionError) instead() string {
	switch {
	case slices.Contains(e.Missing, privilege.Capability(unix.CAP_DAC_OVERRIDE).String()):
		return " (or ownership of the file)"
	case slices.Contains(e.Missing, privilege.Capability(unix.CAP_SYS_RESOURCE).String()):
		return " (or a higher limit of locked memory, ulimit -l: before 5.11 BPF memory is charged to it)"
	}
	return " (or CAP_SYS_ADMIN instead)"
}

func (e *PermissionError) Unwrap() []error { return []error{ErrNotPermitted, e.Err} }

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// hasOwnTypes reports whether the kernel says of itself what it has.
func hasOwnTypes() bool {
	_, err := os.Stat(kernelBTF)
	return err == nil
}

// explain turns what a failed load or attach returned into an error of this
// package. Only after a failure is it worth asking why.
func explain(op string, err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES) && len(missing()) > 0:
		return notPermitted(op, err)
	case errors.Is(err, ebpf.ErrNotSupported) && lockdown() == confidentiality && !hasOwnTypes():
		return fmt.Errorf("%s: %w: kernel lockdown is %s: programs read by bpf_rdonly_cast then, which is found by the kernel's own BTF, and there is no %s: %w",
			op, ErrUnsupported, confidentiality, kernelBTF, err)
	case errors.Is(err, ebpf.ErrNotSupported) && lockdown() == confidentiality:
		return fmt.Errorf("%s: %w: kernel lockdown is %s, and before Linux 6.2 (this is %s) there is no bpf_rdonly_cast, by which programs may read then: %w",
			op, ErrUnsupported, confidentiality, release(), err)
	case errors.Is(err, ebpf.ErrNotSupported):
		return fmt.Errorf("%s: %w (kernel %s; 5.10 is the oldest that is known to work): %w", op, ErrUnsupported, release(), err)
	}
	return fmt.Errorf("%s (kernel %s): %w", op, release(), err)
}

// tooLittleMemory explains EPERM on a kernel that charges BPF memory to
// RLIMIT_MEMLOCK, which this process may not raise.
func tooLittleMemory(op string, err error) error {
	e := notPermitted(op, err)
	if e.Missing == nil {
		e.Missing = []string{privilege.Capability(unix.CAP_SYS_RESOURCE).String()}
	}
	return e
}

// noAccess explains a file that could not be opened.
func noAccess(op string, err error) error {
	const override = privilege.Capability(unix.CAP_DAC_OVERRIDE)
	if !errors.Is(err, unix.EACCES) || privilege.Effective().Has(override) {
		return fmt.Errorf("%s: %w", op, err)
	}
	e := notPermitted(op, err)
	e.Missing = []string{override.String()}
	return e
}

func notPermitted(op string, err error) *PermissionError {
	initial, nsErr := privilege.InitialUserNamespace()
	return &PermissionError{
		Op:       op,
		Missing:  missing(),
		UserNS:   !initial && nsErr == nil,
		Lockdown: lockdown(),
		Seccomp:  privilege.Filtered(),
		Release:  release(),
		Err:      err,
	}
}

// missing are the capabilities for want of which the kernel may have refused.
func missing() []string {
	var names []string
	for _, c := range privilege.Effective().MissingForBPF() {
		names = append(names, c.String())
	}
	return names
}

func release() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}
