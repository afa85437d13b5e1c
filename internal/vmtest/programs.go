// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"time"
)

// The programs that tests take, beside those of busybox, and Debian's packages
// that have them. Busybox has a timeout, too, which does less.
var (
	programs = []string{"busybox", "bash", "runc", "bwrap", "unshare", "setpriv", "script", "timeout"}
	packages = []string{"busybox-static", "bash", "runc", "bubblewrap", "util-linux", "bsdutils", "coreutils"}
)

// userTree gives the path of a tree in the cache in which Debian's packages are
// unpacked, for an architecture: all that programs need, and nothing installed.
func userTree(ctx context.Context, cache, arch string) (string, error) {
	a, err := newApt(cache, arch, userSuite)
	if err != nil {
		return "", err
	}
	tree := a.path("tree")
	if isFresh(tree) && hasPrograms(tree) {
		return tree, nil
	}
	if err := a.userTree(ctx, tree); err != nil {
		return "", fmt.Errorf("programs of %s for %s: %w", userSuite, arch, err)
	}
	return tree, nil
}

// hasPrograms: a tree may be of a time when tests took fewer.
func hasPrograms(tree string) bool {
	for _, name := range programs {
		if _, err := os.Stat(filepath.Join(tree, "usr/bin", name)); err != nil {
			return false
		}
	}
	return true
}

func (a *apt) userTree(ctx context.Context, tree string) error {
	if err := a.update(ctx); err != nil {
		return err
	}
	if _, err := a.command(ctx, a.dir, "apt-get", "clean"); err != nil {
		return err
	}
	install := append([]string{"install", "--download-only", "--yes", "--no-install-recommends"}, packages...)
	if _, err := a.command(ctx, a.dir, "apt-get", install...); err != nil {
		return err
	}
	fresh, err := os.MkdirTemp(a.dir, "tree")
	if err != nil {
		return err
	}
	defer os.RemoveAll(fresh)
	if err := unpack(ctx, a.path("cache/archives"), fresh); err != nil {
		return err
	}
	now := time.Now()
	return errors.Join(os.Chtimes(fresh, now, now), os.RemoveAll(tree), os.Rename(fresh, tree))
}

// addPrograms adds the programs with the libraries that they name. Debian has
// all of it below /usr, also what is looked for in /bin and /lib.
func addPrograms(a *archive, tree string) error {
	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		a.dir("/usr/" + dir)
		a.link("/"+dir, "usr/"+dir)
	}
	for _, name := range programs {
		if err := addELF(a, tree, "/usr/bin/"+name); err != nil {
			return err
		}
	}
	return nil
}

// addELF adds a file of the tree, its interpreter and its libraries.
func addELF(a *archive, tree, name string) error {
	if a.has(name) {
		return nil
	}
	a.copy(name, filepath.Join(tree, name))
	file, err := elf.Open(filepath.Join(tree, name))
	if err != nil {
		return err
	}
	defer file.Close()
	for _, p := range file.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		interpreter := make([]byte, p.Filesz)
		if _, err := p.ReadAt(interpreter, 0); err != nil {
			return err
		}
		if err := addELF(a, tree, path.Join("/usr", string(interpreter[:p.Filesz-1]))); err != nil {
			return err
		}
	}
	libraries, err := file.ImportedLibraries()
	if err != nil {
		return err
	}
	for _, library := range libraries {
		found, err := filepath.Glob(filepath.Join(tree, "usr/lib/*-linux-gnu*", library))
		if err != nil {
			return err
		}
		if len(found) != 1 {
			return fmt.Errorf("%s needs %s, and %s has %d of these", name, library, tree, len(found))
		}
		if err := addELF(a, tree, found[0][len(tree):]); err != nil {
			return err
		}
	}
	return nil
}
