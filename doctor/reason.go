// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/internal/privilege"
	"github.com/pidgraft/pidgraft/loader"
	"github.com/pidgraft/pidgraft/restore"
)

// failure is an attempt's own word on why it failed.
type failure struct {
	reason         Reason
	detail, remedy string
}

func (f *failure) Error() string { return f.detail }

// why turns what became of an attempt into a reason. The kernel's own word is an
// errno; what may be behind it is looked for in the order in which the kernel
// asks.
func (p *probe) why(err error) failure {
	var own *failure
	var denied *loader.PermissionError
	var cannot *restore.CannotRunError
	switch {
	case errors.As(err, &own):
		return *own
	case errors.As(err, &cannot):
		reason := Setting
		if strings.HasPrefix(cannot.Missing, "CAP_") {
			reason = Capability
		}
		return failure{reason, cannot.Missing + " is missing", sentence(cannot.Hint)}
	case errors.As(err, &denied) && len(denied.Missing) > 0:
		return failure{Capability, "without " + strings.Join(denied.Missing, " and "), sentence(denied.Error())}
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES), errors.Is(err, loader.ErrNotPermitted):
		return p.forbidden(err)
	case p.lockdown && (errors.Is(err, unix.EINVAL) || errors.Is(err, ebpf.ErrNotSupported)) && privilege.Lockdown() != "integrity":
		return lockedDown()
	case errors.Is(err, unix.ENOSYS) && privilege.Filtered():
		return filtered(err)
	case errors.Is(err, unix.ENOSPC):
		return failure{Setting, "there may be no more of them: " + short(err), moreNamespaces}
	case errors.Is(err, unix.EAGAIN):
		return failure{Setting, "there may be no more tasks: " + short(err),
			"Raise sysctl kernel.threads-max and kernel.pid_max, pids.max of the cgroup, or ulimit -u."}
	case errors.Is(err, unix.EROFS):
		return failure{Setting, short(err), "Mount it writable, or run outside of the container."}
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL), errors.Is(err, unix.E2BIG),
		errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, os.ErrNotExist), errors.Is(err, loader.ErrUnsupported),
		errors.Is(err, loader.ErrNoBTF):
		return p.absent(err)
	}
	return failure{Refused, short(err), "The kernel refused for none of the usual reasons; please report it with this output."}
}

const moreNamespaces = "Raise sysctl user.max_pid_namespaces and user.max_user_namespaces; they nest 32 deep."

// forbidden is about EPERM.
func (p *probe) forbidden(err error) failure {
	initial, nsErr := privilege.InitialUserNamespace()
	switch missing := p.missing(); {
	case missing != nil:
		names := privilege.Join(missing)
		return failure{Capability, "without " + names,
			fmt.Sprintf("Run as root, or with %s (setpriv, systemd's AmbientCapabilities=, a container's --cap-add).", names)}
	case nsErr == nil && !initial:
		return failure{UserNamespace, "capabilities of a user namespace do not count for this",
			"Run as root outside of the rootless container."}
	case p.lockdown && privilege.Lockdown() == "confidentiality":
		return lockedDown()
	case privilege.Filtered():
		return filtered(err)
	}
	return failure{Refused, short(err) + ", though the capabilities are held",
		"A security module or a restriction of the vendor forbids it; ask whoever runs this kernel."}
}

// lockedDown is about lockdown=confidentiality. It cannot be seen where
// securityfs is not mounted, but nothing else takes the helpers away that read
// memory.
func lockedDown() failure {
	detail := "kernel lockdown is confidentiality"
	if privilege.Lockdown() == "" {
		detail = "the helper is forbidden, as by lockdown=confidentiality"
	}
	remedy := "Boot without lockdown=confidentiality"
	if !hasCast() {
		remedy += ", or a kernel from 6.2 on"
	}
	return failure{Lockdown, detail, remedy + "."}
}

func filtered(err error) failure {
	return failure{Seccomp, "the filter of this container forbids it: " + short(err),
		"Run outside of the container, or with a profile that allows it (docker: --security-opt seccomp=unconfined)."}
}

// absent is about something that the kernel does not know.
func (p *probe) absent(err error) failure {
	for _, option := range p.kconfig {
		if config := kconfig(); config != nil && config[option] == "" {
			return failure{Kconfig, "built without " + option, "Use a kernel that is built with " + option + "."}
		}
	}
	switch {
	case p.since != "" && !atLeast(p.since):
		return failure{KernelTooOld, "it came with Linux " + p.since, "Use Linux " + p.since + " or later."}
	case len(p.kconfig) > 0:
		options := strings.Join(p.kconfig, " and ")
		return failure{Kconfig, short(err), "Use a kernel that is built with " + options + "."}
	}
	return failure{Refused, short(err), "This kernel does not do it; please report it with this output."}
}

// missing are the capabilities that the attempt takes and that are not held.
func (p *probe) missing() []privilege.Capability {
	held := privilege.Effective()
	if p.bpf {
		return held.MissingForBPF()
	}
	if p.numbers && (held.Has(unix.CAP_SYS_ADMIN) || held.Has(unix.CAP_CHECKPOINT_RESTORE)) {
		return nil
	}
	return held.Missing(p.capabilities...)
}

// short is an error on one line: the errno, if there is one, without the
// library's guesses and a verifier's log.
func short(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	return text
}

func sentence(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:] + "."
}
