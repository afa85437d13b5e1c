// SPDX-License-Identifier: Apache-2.0

package witness

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/internal/procfile"
)

// seen is a task as /proc shows it, with the numbers of the reader's machine.
type seen struct {
	tid, tgid int
	status    map[string]string // fields of status
	stat      []string          // fields of stat, [0] is the state (field 3)
	code      string            // exit code: of a leader its process's, as wait reports it (before 5.17 its own)
	comm      string
	children  []int // tgids
	threads   []int // tids; of a leader
	pid       uint64
	forChild  uint64 // 0: has none, or an empty one
	user      uint64
}

// Fields of stat after the command, numbered as in proc_pid_stat(5).
const (
	statState      = 3
	statExitSignal = 38
	statExitCode   = 52
)

func (s *seen) field(n int) string { return s.stat[n-statState] }

func (s *seen) leads() bool { return s.tid == s.tgid }

// numbers are the fields of NSpid and its like.
func (s *seen) numbers(name string) []int {
	var numbers []int
	for _, word := range strings.Fields(s.status[name]) {
		n, _ := strconv.Atoi(word)
		numbers = append(numbers, n)
	}
	return numbers
}

func look(tgid, tid int) (*seen, error) {
	dir := fmt.Sprintf("/proc/%d/task/%d/", tgid, tid)
	s := &seen{tid: tid, tgid: tgid, status: map[string]string{}}
	text, err := procfile.Read(dir + "status")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		s.status[name] = strings.TrimSpace(value)
	}
	if s.stat, err = readStat(dir + "stat"); err != nil {
		return nil, err
	}
	s.code = s.field(statExitCode)
	if s.leads() {
		whole, err := readStat(fmt.Sprintf("/proc/%d/stat", tgid))
		if err != nil {
			return nil, err
		}
		s.code = whole[statExitCode-statState]
	}
	text, err = procfile.Read(dir + "comm")
	if err != nil {
		return nil, err
	}
	s.comm = string(bytes.TrimSuffix(text, []byte("\n")))
	if text, err = procfile.Read(dir + "children"); err != nil {
		return nil, err
	}
	for word := range strings.FieldsSeq(string(text)) {
		n, _ := strconv.Atoi(word)
		s.children = append(s.children, n)
	}
	return s, s.lookNamespaces(dir)
}

func readStat(path string) ([]string, error) {
	text, err := procfile.Read(path)
	if err != nil {
		return nil, err
	}
	// The command may hold anything, ")" included.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) <= statExitCode-statState {
		return nil, fmt.Errorf("%s has %d fields", path, len(fields)+statState-1)
	}
	return fields, nil
}

func (s *seen) lookNamespaces(dir string) (err error) {
	if s.pid, err = inode(dir + "ns/pid"); err != nil {
		return err
	}
	if s.user, err = inode(dir + "ns/user"); err != nil {
		return err
	}
	// A zombie has none, an empty one has no path (up to 6.18).
	s.forChild, err = inode(dir + "ns/pid_for_children")
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return err
}

// inode reads the namespace that a link of /proc names.
func inode(path string) (uint64, error) {
	link, err := os.Readlink(path)
	if err != nil {
		return 0, err
	}
	_, text, _ := strings.Cut(strings.TrimSuffix(link, "]"), "[")
	return strconv.ParseUint(text, 10, 64)
}

// climb gives the inodes of a namespace and of those above it, as far as the
// reader can see, and closes fd.
func climb(fd int) ([]uint64, error) {
	var chain []uint64
	for {
		var st unix.Stat_t
		err := unix.Fstat(fd, &st)
		if err != nil {
			unix.Close(fd)
			return nil, err
		}
		chain = append(chain, st.Ino)
		up, err := unix.IoctlRetInt(fd, unix.NS_GET_PARENT)
		unix.Close(fd)
		if errors.Is(err, unix.EPERM) { // nothing above, or out of reach
			return chain, nil
		}
		if err != nil {
			return nil, fmt.Errorf("NS_GET_PARENT: %w", err)
		}
		fd = up
	}
}

// ownerOf is the user namespace that owns the namespace at path, and those
// above it.
func ownerOf(path string) ([]uint64, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	fd, err := unix.IoctlRetInt(int(file.Fd()), unix.NS_GET_USERNS)
	if err != nil {
		return nil, fmt.Errorf("%s: NS_GET_USERNS: %w", path, err)
	}
	return climb(fd)
}

// tasks lists the threads of a process in their order, or all processes.
func tasks(dir string) ([]int, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1) // unsorted: the kernel's order
	if err != nil {
		return nil, err
	}
	var ids []int
	for _, name := range names {
		if n, err := strconv.Atoi(filepath.Base(name)); err == nil {
			ids = append(ids, n)
		}
	}
	return ids, nil
}
