// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/image"
)

// output is where an image goes: a file that appears whole or not at all, or
// standard output.
type output struct {
	path  string // "-": standard output
	force bool
}

// check finds out early what would stop the image from being written.
func (o *output) check() error {
	if o.path == "-" {
		if isTerminal(os.Stdout) {
			return usageError{errors.New("an image is not for a terminal: name a file with -o, or redirect")}
		}
		return nil
	}
	info, err := os.Lstat(o.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		_, err = os.Stat(filepath.Dir(o.path))
		return err
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return usageError{fmt.Errorf("%s is no regular file, which alone can be replaced; use -o - and a redirection", o.path)}
	case !o.force:
		return &fs.PathError{Op: "write", Path: o.path, Err: fs.ErrExist}
	}
	return nil
}

// draft makes ready all that can be before it is known whether an image is
// wanted: for a file all but its name.
func (o *output) draft(encoded []byte) (*draft, error) {
	if o.path == "-" {
		return &draft{encoded: encoded}, nil
	}
	return newDraft(o.path, 0o600, func(w io.Writer) error {
		_, err := w.Write(encoded)
		return err
	})
}

// abort tells whoever reads an image from standard output that none will come.
func (o *output) abort(why error) {
	if o.path == "-" && !isTerminal(os.Stdout) {
		_ = image.WriteAbort(os.Stdout, why.Error())
	}
}

// writeFile makes a file that appears whole or not at all: see draft. Without
// force a file that came up meanwhile stays.
func writeFile(path string, mode fs.FileMode, force bool, write func(io.Writer) error) error {
	d, err := newDraft(path, mode, write)
	if err != nil {
		return err
	}
	defer d.discard()
	return d.publish(force)
}

// draft is a file without a name, all of which is on the disk: whatever happens
// before it has one, SIGKILL included, leaves nothing. Where a file system cannot
// do that, it has a temporary name beside its own meanwhile. Or it is what is to
// be written to standard output.
type draft struct {
	path    string
	file    *os.File
	named   bool // by a temporary name
	encoded []byte
}

func newDraft(path string, mode fs.FileMode, write func(io.Writer) error) (_ *draft, err error) {
	d := &draft{path: path}
	if d.file, d.named, err = createTemp(filepath.Dir(path), filepath.Base(path)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			d.discard()
		}
	}()
	if err := write(d.file); err != nil {
		return nil, err
	}
	if err := d.file.Chmod(mode); err != nil {
		return nil, err
	}
	return d, d.file.Sync()
}

// publish gives the file its name.
func (d *draft) publish(force bool) (err error) {
	if d.file == nil {
		_, err := os.Stdout.Write(d.encoded)
		return err
	}
	if d.named {
		err = rename(d.file.Name(), d.path, force)
	} else {
		err = link(d.file, d.path, force)
	}
	if err != nil {
		return err
	}
	d.named = false
	return syncDir(filepath.Dir(d.path))
}

// discard frees the draft, and removes it if it was not published.
func (d *draft) discard() {
	if d.file == nil {
		return
	}
	_ = d.file.Close()
	if d.named {
		_ = os.Remove(d.file.Name())
	}
}

// createTemp makes a file in dir, without a name if the file system can.
func createTemp(dir, base string) (f *os.File, named bool, err error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), filepath.Join(dir, base)), false, nil
	}
	f, err = os.CreateTemp(dir, "."+base+".*")
	return f, true, err
}

// link gives a file without a name its own. A name that is taken cannot be
// linked over: the file gets another one for a moment, to be renamed.
func link(f *os.File, path string, force bool) error {
	from := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	err := unix.Linkat(unix.AT_FDCWD, from, unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
	if err == nil {
		return nil
	}
	if !force || !errors.Is(err, unix.EEXIST) {
		return &fs.PathError{Op: "link", Path: path, Err: err}
	}
	between := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%d", filepath.Base(path), os.Getpid()))
	if err := unix.Linkat(unix.AT_FDCWD, from, unix.AT_FDCWD, between, unix.AT_SYMLINK_FOLLOW); err != nil {
		return &fs.PathError{Op: "link", Path: between, Err: err}
	}
	if err := os.Rename(between, path); err != nil {
		_ = os.Remove(between)
		return err
	}
	return nil
}

// rename gives a file its name. Not every file system knows RENAME_NOREPLACE;
// a hard link does not replace either.
func rename(from, to string, force bool) error {
	if force {
		return os.Rename(from, to)
	}
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		if err = os.Link(from, to); err == nil {
			return os.Remove(from)
		}
		return err
	}
	if err != nil {
		return &fs.PathError{Op: "rename", Path: to, Err: err}
	}
	return nil
}

// syncDir makes a new name last. A file system that cannot is not an error.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
