// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/restore/stub"
)

// pidfile is the file that says the number of the root. It has no name until the
// forest lives whatever happens to this process, and its first task reports
// nothing before (await_pidfile in stub/src/hold.c): so it is there if and only
// if the forest was reported. Where a file system has no files without a name, it
// has another meanwhile, which a killed restorer leaves.
type pidfile struct {
	path  string
	file  *os.File
	named bool // by a temporary name
	there bool // by its own
}

func newPidfile(path string) (*pidfile, error) {
	dir, base := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	p := &pidfile{path: path}
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		p.file = os.NewFile(uintptr(fd), path)
	} else if p.file, err = os.CreateTemp(dir, "."+base+".*"); err != nil {
		return nil, fmt.Errorf("pidfile: %w", err)
	}
	p.named = fd < 0
	if err := p.file.Chmod(0o644); err != nil {
		return nil, errors.Join(fmt.Errorf("pidfile: %w", err), p.close())
	}
	return p, nil
}

// kind is what the stub must know of it.
func (p *pidfile) kind() uint32 {
	switch {
	case p == nil:
		return 0
	case p.named:
		return stub.PidfileRenamed
	}
	return stub.PidfileLinked
}

func (p *pidfile) write(pid int) error {
	if p == nil {
		return nil
	}
	if _, err := fmt.Fprintln(p.file, pid); err != nil {
		return fmt.Errorf("pidfile: %w", err)
	}
	return nil
}

// publish gives the file its name, which may be another's. That is removed
// first: with a third name between, links would not tell whether this has
// happened.
func (p *pidfile) publish() error {
	var err error
	if p.named {
		err = os.Rename(p.file.Name(), p.path)
	} else {
		from := fmt.Sprintf("/proc/self/fd/%d", p.file.Fd())
		for range 10 { // others may make one, too
			err = unix.Linkat(unix.AT_FDCWD, from, unix.AT_FDCWD, p.path, unix.AT_SYMLINK_FOLLOW)
			if !errors.Is(err, unix.EEXIST) {
				break
			}
			if err = unix.Unlink(p.path); err != nil && !errors.Is(err, unix.ENOENT) {
				break
			}
		}
	}
	if err != nil {
		return fmt.Errorf("pidfile: %w", &fs.PathError{Op: "link", Path: p.path, Err: err})
	}
	p.named, p.there = false, true
	return nil
}

// remove takes back what publish did.
func (p *pidfile) remove() error {
	if p == nil || !p.there {
		return nil
	}
	p.there = false
	if err := os.Remove(p.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (p *pidfile) close() error {
	if p == nil {
		return nil
	}
	err := p.file.Close()
	if p.named {
		err = errors.Join(err, os.Remove(p.file.Name()))
	}
	return err
}

// leaves reports whether nobody's death ends the forest any more.
func (m *shared) leaves() bool { return atomic.LoadUint32(&m.plan.Commit) >= stub.CommitLeave }

// named tells the first task that the pidfile is there.
func (m *shared) named() {
	word := &m.plan.Named
	atomic.StoreUint32(word, 1)
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWake, 1, 0, 0, 0)
}
