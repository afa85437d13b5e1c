// SPDX-License-Identifier: Apache-2.0

package privilege

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// InitialUserNamespace reports whether this process is in the initial user
// namespace: only that maps all ids to themselves. A kernel without user
// namespaces has no other.
func InitialUserNamespace() (bool, error) {
	text, err := os.ReadFile("/proc/self/uid_map")
	if os.IsNotExist(err) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return strings.Join(strings.Fields(string(text)), " ") == "0 0 4294967295", nil
}

// initialPidNamespace is its nsfs inode (PROC_PID_INIT_INO,
// include/linux/proc_ns.h).
const initialPidNamespace = 0xEFFFFFFC

// InitialPidNamespace reports whether this process is in the outermost pid
// namespace.
func InitialPidNamespace() (bool, error) {
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/pid", &st); err != nil {
		return false, &os.PathError{Op: "stat", Path: "/proc/self/ns/pid", Err: err}
	}
	return st.Ino == initialPidNamespace, nil
}

// Lockdown is the kernel's lockdown: none, integrity or confidentiality; "" if
// it cannot be seen, or the kernel has none. It is the word in brackets of
// "none [integrity] confidentiality".
func Lockdown() string {
	text, err := os.ReadFile("/sys/kernel/security/lockdown")
	if err != nil {
		return ""
	}
	_, after, _ := strings.Cut(string(text), "[")
	word, _, _ := strings.Cut(after, "]")
	return word
}

// Filtered reports whether a seccomp filter is in force: mode 2 of
// proc_pid_status(5).
func Filtered() bool { return statusField("Seccomp") == "2" }

// NoNewPrivs reports whether no program that is run can give privileges
// (prctl(2), PR_SET_NO_NEW_PRIVS).
func NoNewPrivs() bool { return statusField("NoNewPrivs") == "1" }

// statusField is a field of /proc/self/status.
func statusField(name string) string {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}
