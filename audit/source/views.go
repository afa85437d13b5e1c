// SPDX-License-Identifier: Apache-2.0

package source

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/audit/hidden"
)

// Proc is how the running machine shows its processes, through a mounted proc
// file system and by system calls.
type Proc struct {
	dir   *os.File
	mount uint64 // that dir was opened through
}

var _ hidden.Views = (*Proc)(nil)

// OpenProc opens a proc file system of this process's pid namespace.
//
// Errors: that it is none.
func OpenProc(dir string) (*Proc, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	mount, err := mountOf(int(f.Fd()))
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: which mount it is: %w", dir, err)
	}
	p := &Proc{f, mount}
	if _, ok := p.Open(int32(os.Getpid())); !ok {
		f.Close()
		return nil, fmt.Errorf("%s: it does not show process %d, which is this one: not a proc file system of this pid namespace", dir, os.Getpid())
	}
	return p, nil
}

// Close closes it.
func (p *Proc) Close() error { return p.dir.Close() }

// List reads the directory.
func (p *Proc) List() (map[int32]bool, error) {
	// A descriptor of its own: the position is the file's.
	fd, err := unix.Openat(int(p.dir.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.dir.Name(), err)
	}
	dir := os.NewFile(uintptr(fd), p.dir.Name())
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	listed := make(map[int32]bool, len(names))
	for _, name := range names {
		if nr, err := strconv.ParseInt(name, 10, 32); err == nil {
			listed[int32(nr)] = true
		}
	}
	return listed, nil
}

// Open follows /proc/N. A file system that is mounted over it is not followed,
// and whether it is N that it leads to is seen from what it says of itself.
func (p *Proc) Open(nr int32) (start uint64, ok bool) {
	fd, err := p.open(nr, "stat")
	if err != nil {
		return 0, false
	}
	defer unix.Close(fd)
	var buf [1024]byte
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		return 0, false
	}
	return parseStat(buf[:n], nr)
}

// open opens a file of a process, if nothing is mounted over either. openat2 would
// do it in one call; to services with RestrictSUIDSGID=, which DynamicUser= implies,
// systemd forbids it.
func (p *Proc) open(nr int32, name string) (int, error) {
	dir, err := p.below(int(p.dir.Fd()), strconv.Itoa(int(nr)), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	return p.below(dir, name, unix.O_RDONLY)
}

// below opens what is in a directory, and no link, of the same mount.
func (p *Proc) below(dir int, name string, flags int) (int, error) {
	fd, err := unix.Openat(dir, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	mount, err := mountOf(fd)
	if err == nil && mount != p.mount {
		err = unix.EXDEV
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// mountOf is the mount that a file was opened through (statx, 5.8).
func mountOf(fd int) (uint64, error) {
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st); err != nil {
		return 0, err
	}
	if st.Mask&unix.STATX_MNT_ID == 0 {
		return 0, unix.ENOTSUP
	}
	return st.Mnt_id, nil
}

// parseStat reads the start time of process nr (proc_pid_stat(5), field 22). The
// name in it may hold anything but is closed by the last parenthesis.
func parseStat(stat []byte, nr int32) (start uint64, ok bool) {
	end := bytes.LastIndexByte(stat, ')')
	first, _, _ := bytes.Cut(stat, []byte(" "))
	if end < 0 || string(first) != strconv.Itoa(int(nr)) {
		return 0, false
	}
	fields := bytes.Fields(stat[end+1:])
	const startTime = 22 - 3 // the state, field 3, is the first
	if len(fields) <= startTime {
		return 0, false
	}
	start, err := strconv.ParseUint(string(fields[startTime]), 10, 64)
	return start, err == nil
}

// Kill sends signal 0.
func (p *Proc) Kill(nr int32) bool {
	// Who may not be signalled is there.
	return !errors.Is(unix.Kill(int(nr), 0), unix.ESRCH)
}

// PidfdOpen opens a pidfd.
func (p *Proc) PidfdOpen(nr int32) bool {
	fd, err := unix.PidfdOpen(int(nr), 0)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}
