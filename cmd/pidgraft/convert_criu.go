// SPDX-License-Identifier: Apache-2.0

//go:build !lean

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/image"
	"github.com/pidgraft/pidgraft/image/criu"
)

func (c *converting) run(ctx context.Context, from source) error {
	switch {
	case (c.from.value == "") == (c.to.value == ""):
		return usageError{errors.New("either --from=criu or --to=criu is wanted")}
	case c.from.value != "":
		return c.fromCRIU(from)
	}
	return c.toCRIU(ctx, from)
}

// fromCRIU makes an image.
func (c *converting) fromCRIU(from source) error {
	if from.isLive() {
		return usageError{fmt.Errorf("%s is alive, and no checkpoint of CRIU: pidgraft dump %s", from, strings.TrimPrefix(string(from), pidPrefix))}
	}
	if err := c.out.check(); err != nil {
		return err
	}
	encoded, err := c.encodeCRIU(from)
	if err == nil {
		var d *draft
		if d, err = c.out.draft(encoded); err == nil {
			defer d.discard()
			return d.publish(c.out.force)
		}
	}
	c.out.abort(err)
	return err
}

// encodeCRIU reads a checkpoint, and is its image.
func (c *converting) encodeCRIU(from source) ([]byte, error) {
	f, criusOwn, err := from.readAnyImage()
	if err != nil {
		return nil, err
	}
	if !criusOwn {
		return nil, usageError{fmt.Errorf("%s is an image of pidgraft already", from)}
	}
	if err := c.loses("it does not say all that an image wants to know:", f.Inexact); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	write := image.Write
	if c.compress {
		write = image.WriteCompressed
	}
	err = write(&b, f)
	return b.Bytes(), err
}

// toCRIU makes a directory.
func (c *converting) toCRIU(ctx context.Context, from source) error {
	switch {
	case c.out.path == "-":
		return usageError{errors.New("-o DIR is wanted: images of CRIU are many files")}
	case c.out.force:
		return usageError{errors.New("--force is for a file; a directory must be new or empty")}
	case c.compress:
		return usageError{errors.New("--compress is for an image of pidgraft; CRIU's are not compressed")}
	}
	mode, err := checkDirectory(c.out.path)
	if err != nil {
		return err
	}
	t, err := c.types.read()
	if err != nil {
		return err
	}
	var f *forest.Forest
	if from.isLive() {
		f, err = from.read(ctx, nil, t)
	} else {
		var criusOwn bool
		if f, criusOwn, err = from.readAnyImage(); criusOwn && err == nil {
			err = usageError{fmt.Errorf("%s is CRIU's already", from)}
		}
	}
	if err != nil {
		return err
	}
	s := beginStep("convert", nil)
	defer s.stop()
	files, lost, err := criu.Write(f)
	if err != nil {
		return from.errorOf(err)
	}
	s.end("tasks", len(f.Tasks), "lost", len(lost))
	if err := c.loses("images of CRIU do not say all of it; this would be lost:", lost); err != nil {
		return err
	}
	return writeDirectory(ctx, c.out.path, mode, files)
}

// loses refuses a loss, or only lists it.
func (c *converting) loses(what string, lost []string) error {
	if len(lost) == 0 {
		return nil
	}
	if !c.lossy {
		return lossError{what, lost}
	}
	for _, l := range lost {
		slog.Info("lost: " + l)
	}
	return nil
}

// checkDirectory finds out early what would stop a directory from being written,
// and with which mode it is to be.
func checkDirectory(path string) (fs.FileMode, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		_, err = os.Stat(filepath.Dir(path))
		return 0o700, err
	case err != nil:
		return 0, err
	case !info.IsDir():
		return 0, usageError{fmt.Errorf("%s is no directory", path)}
	}
	d, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer d.Close()
	switch _, err := d.Readdirnames(1); {
	case errors.Is(err, io.EOF):
		return info.Mode().Perm(), nil
	case err != nil:
		return 0, err
	}
	return 0, notEmpty(path)
}

func notEmpty(path string) error {
	return usageError{fmt.Errorf("%s is not empty: give a new or an empty directory", path)}
}

// writeDirectory makes a directory that appears whole or not at all. Until it is
// all on the disk it has a temporary name beside its own. It takes the place of
// an empty one, never of another.
func writeDirectory(ctx context.Context, path string, mode fs.FileMode, files []criu.File) (err error) {
	path = filepath.Clean(path)
	parent := filepath.Dir(path)
	dir, err := os.MkdirTemp(parent, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	var written atomic.Int64
	writing := beginStep("write", func() standing {
		return standing{done: written.Load(), of: int64(len(files)), unit: "files"}
	})
	defer writing.stop()
	for _, f := range files {
		if ctx.Err() != nil {
			return fmt.Errorf("interrupted: %w", ctx.Err())
		}
		if err := os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o600); err != nil {
			return err
		}
		written.Add(1)
	}
	if err := os.Chmod(dir, mode); err != nil {
		return err
	}
	// At once: a file for each task, synced one by one, takes minutes.
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = unix.Syncfs(int(d.Fd()))
	if err := errors.Join(err, d.Close()); err != nil {
		return &fs.PathError{Op: "sync", Path: dir, Err: err}
	}
	// Not os.Rename, which refuses any directory.
	if err := unix.Rename(dir, path); errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
		return notEmpty(path)
	} else if err != nil {
		return &fs.PathError{Op: "rename", Path: path, Err: err}
	}
	if err := syncDir(parent); err != nil {
		return err
	}
	writing.end("files", len(files))
	return nil
}
