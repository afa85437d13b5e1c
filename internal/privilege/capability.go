// SPDX-License-Identifier: Apache-2.0

package privilege

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Capability is a CAP_ constant of linux/capability.h.
type Capability int

var names = [...]string{
	"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
	"LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
	"SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
	"SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
	"MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
	"CHECKPOINT_RESTORE",
}

func (c Capability) String() string {
	if c < 0 || int(c) >= len(names) {
		return fmt.Sprintf("CAP_%d", int(c))
	}
	return "CAP_" + names[c]
}

// Set is a set of capabilities.
type Set uint64

// Effective are the capabilities of the calling thread that count, which are
// those of the process unless it has changed single threads. Of a failure to
// ask nothing good is to be expected: it is the empty set.
func Effective() Set {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&header, &data[0]) != nil {
		return 0
	}
	return Set(data[0].Effective) | Set(data[1].Effective)<<32
}

// Has reports whether c is in s.
func (s Set) Has(c Capability) bool { return s&(1<<c) != 0 }

// List are the members of s in the order of their numbers.
func (s Set) List() []Capability {
	var list []Capability
	for c := range Capability(64) {
		if s.Has(c) {
			list = append(list, c)
		}
	}
	return list
}

// Missing are those of wanted that are not in s.
func (s Set) Missing(wanted ...Capability) []Capability {
	var missing []Capability
	for _, c := range wanted {
		if !s.Has(c) {
			missing = append(missing, c)
		}
	}
	return missing
}

// MissingForBPF are the capabilities that loading and attaching the programs
// of a dump takes and that s lacks: CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN
// in place of either (bpf_capable and perfmon_capable, linux/capability.h).
func (s Set) MissingForBPF() []Capability {
	if s.Has(unix.CAP_SYS_ADMIN) {
		return nil
	}
	return s.Missing(unix.CAP_BPF, unix.CAP_PERFMON)
}

// Join writes capabilities as words: "CAP_BPF and CAP_PERFMON".
func Join(list []Capability) string {
	words := make([]string, len(list))
	for i, c := range list {
		words[i] = c.String()
	}
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
	return strings.Join(words, "")
}
