// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// archive writes an initramfs: a cpio archive in the "newc" format that
// Documentation/driver-api/early-userspace/buffer-format.rst describes. What
// is written first is kept, and directories come by themselves.
type archive struct {
	w    *bufio.Writer
	n    int64
	ino  int
	seen map[string]bool
	err  error
}

// File types of a mode in the archive, linux/stat.h.
const (
	typeDir  = 0o040000
	typeFile = 0o100000
	typeLink = 0o120000
	typeChar = 0o020000
)

func newArchive(w io.Writer) *archive {
	return &archive{w: bufio.NewWriterSize(w, 1<<20), seen: map[string]bool{"/": true}}
}

func (a *archive) dir(name string) { a.entry(name, typeDir|0o755, 0, 0, nil) }

func (a *archive) link(name, target string) { a.entry(name, typeLink|0o777, 0, 0, []byte(target)) }

func (a *archive) device(name string, major, minor int) {
	a.entry(name, typeChar|0o600, major, minor, nil)
}

func (a *archive) file(name string, mode fs.FileMode, data []byte) {
	a.entry(name, typeFile|int(mode.Perm()), 0, 0, data)
}

// has reports whether there is such a file or directory already.
func (a *archive) has(name string) bool { return a.seen[path.Clean(name)] }

// copy adds a file of the host, following links.
func (a *archive) copy(name, from string) {
	if a.err != nil || a.has(name) {
		return
	}
	data, err := os.ReadFile(from)
	if err == nil {
		var info fs.FileInfo
		if info, err = os.Stat(from); err == nil {
			a.file(name, info.Mode(), data)
			return
		}
	}
	a.err = err
}

// tree adds all files below a directory of the host.
func (a *archive) tree(name, from string) {
	err := filepath.WalkDir(from, func(file string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(from, file)
		if err == nil {
			a.copy(path.Join(name, filepath.ToSlash(rel)), file)
		}
		return err
	})
	if a.err == nil {
		a.err = err
	}
}

func (a *archive) entry(name string, mode, major, minor int, data []byte) {
	name = path.Clean(name)
	if a.err != nil || a.seen[name] {
		return
	}
	a.dir(path.Dir(name))
	a.seen[name] = true
	a.ino++
	a.write(name[1:], mode, a.ino, major, minor, data)
}

func (a *archive) write(name string, mode, ino, major, minor int, data []byte) {
	a.printf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		ino, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name)+1, 0)
	a.printf("%s\x00", name)
	a.pad()
	if a.err == nil {
		var n int
		n, a.err = a.w.Write(data)
		a.n += int64(n)
	}
	a.pad()
}

func (a *archive) printf(format string, args ...any) {
	if a.err != nil {
		return
	}
	var n int
	n, a.err = fmt.Fprintf(a.w, format, args...)
	a.n += int64(n)
}

// pad fills up to a multiple of four.
func (a *archive) pad() { a.printf("%s", "\x00\x00\x00"[:-a.n&3]) }

// close ends the archive, and gives the first error of all that was written.
func (a *archive) close() error {
	a.write("TRAILER!!!", 0, 0, 0, 0, nil)
	if a.err != nil {
		return fmt.Errorf("write the initramfs: %w", a.err)
	}
	return a.w.Flush()
}
