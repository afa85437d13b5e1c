// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/loader"
)

// namespaceFlags name the pid namespace that audit and check look at. Without
// any it is this process's own.
type namespaceFlags struct {
	ns, container string
	pid           int
}

func (n *namespaceFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&n.ns, "ns", "", "the pid `NAMESPACE`: its inode, pid:[N], or a path as /proc/1/ns/pid")
	flags.IntVar(&n.pid, "pid", 0, "the pid namespace of process `PID`")
	flags.StringVar(&n.container, "container", "", "the pid namespace of a container, by the `ID` in its cgroup path")
}

// target is what the loader is to look at, and the inode of the namespace.
func (n *namespaceFlags) target() (loader.Target, uint64, error) {
	machine := loader.Target{Scope: loader.Machine}
	own, err := inodeOf("/proc/self/ns/pid")
	if err != nil {
		return machine, 0, err
	}
	var inode uint64
	given := 0
	for _, is := range []bool{n.ns != "", n.pid != 0, n.container != ""} {
		if is {
			given++
		}
	}
	switch {
	case given > 1:
		return machine, 0, usageError{errors.New("--ns, --pid and --container exclude each other")}
	case n.ns != "":
		inode, err = parseNamespace(n.ns)
	case n.pid != 0:
		inode, err = inodeOf(fmt.Sprintf("/proc/%d/ns/pid", n.pid))
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("process %d: %w", n.pid, loader.ErrNoProcess)
		}
	case n.container != "":
		inode, err = ofContainer(n.container, own)
	default:
		inode = own
	}
	if err != nil || inode == own {
		return machine, own, err
	}
	init, err := initOf(inode)
	return loader.Target{PID: init, Scope: loader.Container}, inode, err
}

func inodeOf(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return st.Ino, nil
}

// parseNamespace reads what --ns takes.
func parseNamespace(s string) (uint64, error) {
	if strings.ContainsRune(s, '/') {
		return inodeOf(s)
	}
	number := s
	if inner, ok := strings.CutPrefix(s, "pid:["); ok {
		number = strings.TrimSuffix(inner, "]")
	}
	inode, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return 0, usageError{fmt.Errorf("--ns %q: neither an inode, nor pid:[N], nor a path", s)}
	}
	return inode, nil
}

// eachProcess calls do with every process that /proc shows, until it says that
// it has seen enough.
func eachProcess(do func(pid int) (enough bool)) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && do(pid) {
			break
		}
	}
	return nil
}

// initOf is the number here of the init of a pid namespace.
func initOf(inode uint64) (int, error) {
	found, tasks := 0, 0
	err := eachProcess(func(pid int) bool {
		if is, err := inodeOf(fmt.Sprintf("/proc/%d/ns/pid", pid)); err != nil || is != inode {
			return false
		}
		tasks++
		if numbers := nspid(pid); len(numbers) > 1 && numbers[len(numbers)-1] == "1" {
			found = pid
		}
		return found != 0
	})
	switch {
	case err != nil:
		return 0, err
	case found == 0 && tasks > 0:
		return 0, fmt.Errorf("pid namespace %d: %w: it has tasks, and its init has ended", inode, loader.ErrNoProcess)
	case found == 0:
		return 0, fmt.Errorf("pid namespace %d: %w: no process that can be seen from here lives in it", inode, loader.ErrNoProcess)
	}
	return found, nil
}

// nspid are the numbers of a process, the reader's namespace's first.
func nspid(pid int) []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "NSpid:"); ok {
			return strings.Fields(rest)
		}
	}
	return nil
}

// ofContainer is the pid namespace of the outermost process with a container's
// id in its cgroup path, which is not this process's namespace.
func ofContainer(id string, own uint64) (uint64, error) {
	const shortest = 4
	if len(id) < shortest || strings.ContainsRune(id, '/') {
		return 0, usageError{fmt.Errorf("--container %q: at least %d characters of an id are wanted", id, shortest)}
	}
	var inode uint64
	depth := 0
	err := eachProcess(func(pid int) bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		if err != nil || !inCgroup(string(b), id) {
			return false
		}
		is, err := inodeOf(fmt.Sprintf("/proc/%d/ns/pid", pid))
		if err != nil || is == own {
			return false
		}
		if n := len(nspid(pid)); inode == 0 || n < depth {
			inode, depth = is, n
		}
		return false
	})
	if err == nil && inode == 0 {
		err = fmt.Errorf("container %s: %w: no process has that in its cgroup path and a pid namespace other than this one", id, loader.ErrNoProcess)
	}
	return inode, err
}

// inCgroup reports whether a component of one of the paths in /proc/PID/cgroup
// is the id, or begins with it after what runtimes put before it ("docker-",
// "cri-containerd-", "libpod-").
func inCgroup(cgroups, id string) bool {
	for line := range strings.Lines(cgroups) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 {
			continue
		}
		if slices.ContainsFunc(strings.Split(filepath.Clean(parts[2]), "/"), func(c string) bool {
			return strings.HasPrefix(c, id) || strings.Contains(c, "-"+id)
		}) {
			return true
		}
	}
	return false
}
