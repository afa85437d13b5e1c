// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A forest in place grows up in a cgroup of its own, below this process's: the
// coordinator makes it, kills it or moves the forest out of it (stub,
// place.c). Here it is found a place, and removed when the coordinator could
// not.

const cgroupHint = "a restore in place kills by it what it must undo: mount cgroup2 writable, on Linux 5.14 or later, or restore into a new pid namespace"

// newCgroup is where the cgroup of a restore will be: nothing is made yet.
func newCgroup() (string, error) {
	dir, err := ownCgroup()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, fmt.Sprintf("pidgraft-%d-%08x", os.Getpid(), rand.Uint32())), nil
}

// ownCgroup is the directory of this process's cgroup, version 2.
func ownCgroup() (string, error) {
	cannot := func(what string) error { return &CannotRunError{what, cgroupHint} }
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	cgroups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	own, ok := unifiedOf(string(cgroups))
	if !ok {
		return "", cannot("cgroup v2")
	}
	dir, ok := mountedAt(string(mounts), own)
	if !ok {
		return "", cannot("a mount of cgroup v2 that shows this process's cgroup " + own)
	}
	// With what is effective: access(2) asks of who is not root as of one without
	// capabilities. Permission is a matter of these (needs).
	err = unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK, unix.AT_EACCESS)
	if err != nil && !errors.Is(err, unix.EACCES) {
		return "", cannot("write access to " + dir)
	}
	if lacksKill(dir) {
		return "", cannot("cgroup.kill")
	}
	return dir, nil
}

// isRoots reports whether root may make something in a directory without any
// capability.
func isRoots(dir string) bool {
	var s unix.Stat_t
	return unix.Stat(dir, &s) == nil && s.Uid == 0 && s.Mode&0o200 != 0
}

// lacksKill reports whether a cgroup is that of a kernel without cgroup.kill, which
// every cgroup but the uppermost has from 5.14 on. The uppermost has no type either.
func lacksKill(dir string) bool {
	return hasFile(dir, "cgroup.procs") && hasFile(dir, "cgroup.type") && !hasFile(dir, "cgroup.kill")
}

func hasFile(dir, name string) bool {
	_, err := os.Lstat(filepath.Join(dir, name))
	return err == nil
}

// unifiedOf is the cgroup of version 2 in a text of /proc/PID/cgroup.
func unifiedOf(text string) (string, bool) {
	for line := range strings.Lines(text) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			return path, true
		}
	}
	return "", false
}

// mountedAt is the directory of a cgroup, by a text of /proc/PID/mountinfo.
func mountedAt(text, cgroup string) (string, bool) {
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		// ID PARENT DEV ROOT MOUNT OPTIONS [TAGS] - TYPE SOURCE OPTIONS
		before, after, _ := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(before)
		if len(fields) < 6 || !strings.HasPrefix(after, "cgroup2 ") {
			continue
		}
		root, mount := unescape(fields[3]), unescape(fields[4])
		if strings.HasPrefix(cgroup, "/..") || strings.HasPrefix(root, "/..") {
			continue // outside of this cgroup namespace
		}
		rest, ok := strings.CutPrefix(cgroup, strings.TrimSuffix(root, "/"))
		if ok && (rest == "" || rest[0] == '/') {
			return filepath.Join(mount, rest), true
		}
	}
	return "", false
}

// unescape undoes mangle (fs/seq_file.c): octal for what would split a field.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// inCgroup reports whether a process is in the cgroup of this restore.
func inCgroup(pid int, dir string) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return false
	}
	own, _ := unifiedOf(string(text))
	return filepath.Base(own) == filepath.Base(dir)
}

// killCgroup ends all that is in a cgroup and removes it; who waits for its
// members is somebody else. It is no error if it is gone.
func killCgroup(dir string, limit <-chan time.Time) error {
	for {
		err := os.Remove(dir)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		_ = os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0)
		select {
		case <-time.After(time.Millisecond):
		case <-limit:
			return fmt.Errorf("%w: what is in it does not end", err)
		}
	}
}

// cgroupGone waits for the coordinator, or its guard, to remove a cgroup.
func cgroupGone(dir string, limit time.Duration) {
	for end := time.Now().Add(limit); hasFile(dir, "") && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}
