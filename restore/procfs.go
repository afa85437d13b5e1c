// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// pidOfFdinfo reads the number that fdinfo of a pidfd gives, in the pid
// namespace of the /proc that is read; -1 there is a process that is gone.
func pidOfFdinfo(text string) (int, error) {
	for line := range strings.Lines(text) {
		value, ok := strings.CutPrefix(line, "Pid:")
		if !ok {
			continue
		}
		pid, err := strconv.Atoi(strings.TrimSpace(value))
		if err == nil && pid <= 0 {
			return 0, unix.ESRCH
		}
		return pid, err
	}
	return 0, errors.New("is not of a pidfd")
}

// taskGone reports whether the task with this /proc stat file has ended and
// handed on its children: it is a zombie or not there. whole asks the same of
// all threads of its process.
func taskGone(path string, whole, lingers bool) (bool, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	// comm may contain anything; what follows has no parenthesis
	_, rest, ok := cutLast(string(text), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 18 {
		return false, fmt.Errorf("%s: not a stat file", path)
	}
	const state, taskFlags, threads = 0, 6, 17
	if lingers {
		flags, err := strconv.ParseUint(fields[taskFlags], 10, 32)
		return flags&pfExiting != 0, err
	}
	if fields[state] != "Z" && fields[state] != "X" {
		return false, nil
	}
	return !whole || fields[threads] == "0" || fields[threads] == "1", nil
}

// pfExiting is PF_EXITING (include/linux/sched.h): in do_exit.
const pfExiting = 0x4

func cutLast(s, sep string) (before, after string, ok bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// pidfdEnded reports whether the process of a pidfd is a zombie or gone.
func pidfdEnded(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, _ := unix.Poll(fds, 0)
	return n == 1
}

// isFirst reports whether the process of a pidfd is number 1 of a namespace
// right below this one.
func isFirst(pidfd *os.File) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", pidfd.Fd()))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "NSpid:"); ok {
			numbers := strings.Fields(value)
			return len(numbers) == 2 && numbers[1] == "1"
		}
	}
	return false
}
