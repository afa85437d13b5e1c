// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
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
		why = append(why, "this process lacks "+strings.Join(e.Missing, " and ")+" (or CAP_SYS_ADMIN instead)")
	}
	if e.UserNS {
		why = append(why, "it is in a user namespace, whose capabilities do not count for BPF")
	}
	if e.Lockdown == "confidentiality" {
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

func (e *PermissionError) Unwrap() []error { return []error{ErrNotPermitted, e.Err} }

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// explain turns what a failed load or attach returned into an error of this
// package. Only after a failure is it worth asking why.
func explain(op string, err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES) && len(missing()) > 0:
		return &PermissionError{
			Op:       op,
			Missing:  missing(),
			UserNS:   inUserNamespace(),
			Lockdown: lockdown(),
			Seccomp:  statusField("Seccomp") == "2",
			Release:  release(),
			Err:      err,
		}
	case errors.Is(err, ebpf.ErrNotSupported):
		return fmt.Errorf("%s: %w (kernel %s; 5.10 is the oldest that is known to work): %w", op, ErrUnsupported, release(), err)
	}
	return fmt.Errorf("%s (kernel %s): %w", op, release(), err)
}

// missing are the capabilities that loading and attaching take (CAP_BPF and
// CAP_PERFMON since 5.8, or CAP_SYS_ADMIN for both) and are not effective.
func missing() []string {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&header, &data[0]) != nil {
		return nil
	}
	has := func(c int) bool { return data[c/32].Effective&(1<<(c%32)) != 0 }
	if has(unix.CAP_SYS_ADMIN) {
		return nil
	}
	var names []string
	if !has(unix.CAP_BPF) {
		names = append(names, "CAP_BPF")
	}
	if !has(unix.CAP_PERFMON) {
		names = append(names, "CAP_PERFMON")
	}
	return names
}

// inUserNamespace: only the initial user namespace maps all ids to themselves.
func inUserNamespace() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(b)), " ") != "0 0 4294967295"
}

// lockdown is the word in brackets of "none [integrity] confidentiality".
func lockdown() string {
	b, err := os.ReadFile("/sys/kernel/security/lockdown")
	if err != nil {
		return ""
	}
	_, after, _ := strings.Cut(string(b), "[")
	word, _, _ := strings.Cut(after, "]")
	return word
}

// statusField is a field of /proc/self/status.
func statusField(name string) string {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

func release() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}
