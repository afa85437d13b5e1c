// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/audit"
	"github.com/pidgraft/pidgraft/internal/privilege"
	"github.com/pidgraft/pidgraft/loader"
)

// namespaceFlags name the pid namespaces that audit and check look at, with all
// below them. Without any it is this process's own.
type namespaceFlags struct {
	ns, container []string
	pid           []int
}

func (n *namespaceFlags) add(flags *pflag.FlagSet) {
	flags.StringArrayVar(&n.ns, "ns", nil, "the pid `NAMESPACE`: its inode, pid:[N], or a path as /proc/1/ns/pid; more than once for several")
	flags.IntSliceVar(&n.pid, "pid", nil, "the pid namespace of process `PID`; likewise")
	flags.StringArrayVar(&n.container, "container", nil, "the pid namespace of a container, by its `ID` or the beginning of it; likewise")
}

// chosen is what is looked at: one namespace, and if that is more than was asked
// for, the ones that were.
type chosen struct {
	target loader.Target
	inode  uint64 // of the one
	among  []lineage
}

// lineage is a pid namespace with its ancestors up to this process's own, which is
// the last. The descriptor keeps its inode from coming to mean another one.
type lineage struct {
	inodes []uint64
	held   *os.File
}

func (l lineage) inode() uint64 { return l.inodes[0] }

func (c *chosen) close() error {
	var errs []error
	for _, l := range c.among {
		errs = append(errs, l.held.Close())
	}
	c.among = nil
	return errors.Join(errs...)
}

// set is what records are made of.
func (c *chosen) set() audit.Chosen {
	set := make(audit.Chosen)
	for _, l := range c.among {
		set[uint32(l.inode())] = true
	}
	return set
}

// choose finds the namespaces. Several are followed in the closest one that holds
// them all: each event is made once, however many there are.
func (n *namespaceFlags) choose() (_ *chosen, err error) {
	own, err := inodeOf("/proc/self/ns/pid")
	if err != nil {
		return nil, err
	}
	inodes, err := n.inodes(own)
	if err != nil {
		return nil, err
	}
	c := &chosen{inode: own}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	switch {
	case len(inodes) == 1:
		c.inode = inodes[0]
	case len(inodes) > 1 && !slices.Contains(inodes, own):
		for _, inode := range inodes {
			l, err := lineageOf(inode, own)
			if err != nil {
				return c, err
			}
			c.among = append(c.among, l)
		}
		c.inode = closest(c.among)
		if slices.ContainsFunc(c.among, func(l lineage) bool { return l.inode() == c.inode }) {
			// One of them holds the others.
			if err := c.close(); err != nil {
				return c, err
			}
		}
	}
	if c.inode == own {
		c.target = loader.Target{Scope: loader.Machine}
		return c, nil
	}
	init, err := initOf(c.inode)
	c.target = loader.Target{PID: init, Scope: loader.Container}
	return c, err
}

// inodes are those of the namespaces that were asked for, each once.
func (n *namespaceFlags) inodes(own uint64) ([]uint64, error) {
	var all []uint64
	add := func(inode uint64, err error) error {
		if err == nil && !slices.Contains(all, inode) {
			all = append(all, inode)
		}
		return err
	}
	for _, s := range n.ns {
		if err := add(parseNamespace(s)); err != nil {
			return nil, err
		}
	}
	for _, pid := range n.pid {
		inode, err := inodeOf(fmt.Sprintf("/proc/%d/ns/pid", pid))
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("process %d: %w", pid, loader.ErrNoProcess)
		}
		if err := add(inode, err); err != nil {
			return nil, err
		}
	}
	for _, id := range n.container {
		if err := add(ofContainer(id, own)); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// lineageOf opens a pid namespace that some process lives in.
//
// Errors: loader.ErrNoProcess, or that it does not lie below this process's own.
func lineageOf(inode, own uint64) (l lineage, err error) {
	pid, err := initOf(inode)
	if err != nil {
		return l, err
	}
	l.held, err = os.Open(fmt.Sprintf("/proc/%d/ns/pid", pid))
	if err != nil {
		return l, err
	}
	defer func() {
		if err != nil {
			l.held.Close()
		}
	}()
	at, err := unix.Dup(int(l.held.Fd()))
	for ; err == nil; at, err = above(at) {
		var st unix.Stat_t
		if err := unix.Fstat(at, &st); err != nil {
			return l, fmt.Errorf("pid namespace %d: %w", inode, err)
		}
		l.inodes = append(l.inodes, st.Ino)
		if l.inode() != inode {
			return l, fmt.Errorf("pid namespace %d: %w: its init has just ended", inode, loader.ErrNoProcess)
		}
		if st.Ino == own {
			return l, unix.Close(at)
		}
	}
	return l, fmt.Errorf("pid namespace %d: the one above %d: %w", inode, l.inodes, err)
}

// above closes the descriptor of a namespace and opens the one above.
func above(fd int) (int, error) {
	parent, err := unix.IoctlRetInt(fd, unix.NS_GET_PARENT)
	unix.Close(fd)
	return parent, err
}

// closest is the innermost namespace that holds all of these.
func closest(all []lineage) uint64 {
	for _, inode := range all[0].inodes {
		if !slices.ContainsFunc(all[1:], func(l lineage) bool { return !slices.Contains(l.inodes, inode) }) {
			return inode
		}
	}
	return all[0].inodes[len(all[0].inodes)-1]
}

// inodeOf is the inode of the namespace that is at a path.
func inodeOf(path string) (uint64, error) {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	if err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		// Of a link that may not be followed 5.10 shows, without an error, the
		// directory that it is in.
		err = unix.EACCES
		if !strings.HasPrefix(path, "/proc/") {
			err = unix.EISDIR
		}
	}
	switch {
	case err == nil:
		return st.Ino, nil
	case errors.Is(err, fs.ErrPermission) && strings.HasPrefix(path, "/proc/") && !privilege.Effective().Has(unix.CAP_SYS_PTRACE):
		return 0, fmt.Errorf("%w: to see the namespaces of another user's process takes CAP_SYS_PTRACE, which this one lacks",
			&fs.PathError{Op: "stat", Path: path, Err: err})
	}
	return 0, &fs.PathError{Op: "stat", Path: path, Err: err}
}

// unseen counts processes of which the namespace could not be seen for want of a
// capability. Who has it and yet does not see one is not to see it, whatever he does.
type unseen int

// in reports whether a process lives in a pid namespace.
func (u *unseen) in(pid int, inode uint64) bool {
	is, err := inodeOf(fmt.Sprintf("/proc/%d/ns/pid", pid))
	if errors.Is(err, fs.ErrPermission) && !privilege.Effective().Has(unix.CAP_SYS_PTRACE) {
		*u++
	}
	return err == nil && is == inode
}

// or is err, unless it may be wrong as not all could be seen.
func (u unseen) or(err error) error {
	if u == 0 {
		return err
	}
	return fmt.Errorf("%v; but of %d processes the namespace cannot be seen, which takes CAP_SYS_PTRACE: %w", err, int(u), fs.ErrPermission)
}

// isPidNamespace reports whether a path is one: inodes of other files, and of
// namespaces of other kinds, may be numbers of pid namespaces, too. A file that
// cannot be opened is none.
func isPidNamespace(path string) bool {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil || st.Type != unix.NSFS_MAGIC {
		return false
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	return err == nil && kind == unix.CLONE_NEWPID
}

// parseNamespace reads what --ns takes.
func parseNamespace(s string) (uint64, error) {
	if strings.ContainsRune(s, '/') {
		inode, err := inodeOf(s)
		if err == nil && !isPidNamespace(s) {
			err = usageError{fmt.Errorf("%s is no pid namespace", s)}
		}
		return inode, err
	}
	number := s
	if inner, ok := strings.CutPrefix(s, "pid:["); ok {
		if inner, ok = strings.CutSuffix(inner, "]"); ok {
			number = inner
		}
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
	var hidden unseen
	err := eachProcess(func(pid int) bool {
		if !hidden.in(pid, inode) {
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
		return 0, hidden.or(fmt.Errorf("pid namespace %d: %w: no process that can be seen from here lives in it", inode, loader.ErrNoProcess))
	}
	return found, nil
}

// numberOf is the number here of the process that is nr in a pid namespace.
func numberOf(nr int, inode uint64) (int, error) {
	if nr == 1 {
		return initOf(inode)
	}
	found := 0
	var hidden unseen
	err := eachProcess(func(pid int) bool {
		if !hidden.in(pid, inode) {
			return false
		}
		if numbers := nspid(pid); len(numbers) > 0 && numbers[len(numbers)-1] == strconv.Itoa(nr) {
			found = pid
		}
		return found != 0
	})
	if err == nil && found == 0 {
		err = hidden.or(fmt.Errorf("%d in pid namespace %d: %w", nr, inode, loader.ErrNoProcess))
	}
	return found, err
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
