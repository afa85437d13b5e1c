// SPDX-License-Identifier: Apache-2.0

package criu

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/image/criu/packing"
)

// checkpointDir is where an archive of the kubelet, CRI-O and Podman has the
// images.
const checkpointDir = "checkpoint"

// maxDirs is in how many directories of an archive images may be.
const maxDirs = 16

// maxPadding is how long an archive may go on after its last member.
const maxPadding = 1 << 20

// ReadArchive makes a forest of the images in a checkpoint archive: a tar with
// them in "checkpoint", or in whatever one directory. Its errors are *Error. It
// reads on beyond what it needs, pages of memory included, which it skips.
func ReadArchive(r io.Reader, p packing.Packing) (*forest.Forest, error) {
	u, err := p.Unpack(r)
	if err != nil {
		return nil, archiveError(err)
	}
	defer u.Close()
	r = u
	sets := map[string]*set{}
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, archiveError(err)
		}
		if err := takeMember(sets, h, t); err != nil {
			return nil, err
		}
	}
	if p == packing.Gzip || p == packing.Zstd {
		// What it was packed into ends soon after, with a checksum.
		if _, err := io.CopyN(io.Discard, r, maxPadding); err == nil {
			return nil, &Error{Err: fmt.Errorf("it goes on for more than %d KiB after its end", maxPadding>>10)}
		} else if !errors.Is(err, io.EOF) {
			return nil, archiveError(err)
		}
	}
	s, err := choose(sets)
	if err != nil {
		return nil, err
	}
	return s.forest()
}

func archiveError(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = ErrTruncated
	}
	return &Error{Err: err}
}

// takeMember takes a file of an archive, if it is one that is needed.
func takeMember(sets map[string]*set, h *tar.Header, r io.Reader) error {
	dir, name := path.Split(path.Clean(h.Name))
	if _, _, ok := parseName(name); !ok {
		return nil
	}
	dir = path.Clean(dir)
	s := sets[dir]
	if s == nil {
		if len(sets) == maxDirs {
			return &Error{Err: fmt.Errorf("there are images in more than %d directories", maxDirs)}
		}
		s = newSet(dir)
		sets[dir] = s
	}
	if h.Typeflag != tar.TypeReg {
		return s.fail(name, "it is no regular file")
	}
	err := s.take(name, r)
	var e *Error
	if errors.As(err, &e) && errors.Is(err, io.ErrUnexpectedEOF) {
		e.Err = ErrTruncated
	}
	return err
}

// choose is the one set that is of a dump, not of what goes before it.
func choose(sets map[string]*set) (*set, error) {
	if s := sets[checkpointDir]; s != nil && s.seen[pstreeKind.file(0)] {
		return s, nil
	}
	maps.DeleteFunc(sets, func(_ string, s *set) bool { return !s.seen[pstreeKind.file(0)] })
	dirs := slices.Sorted(maps.Keys(sets))
	switch len(dirs) {
	case 1:
		return sets[dirs[0]], nil
	case 0:
		return nil, &Error{Err: fmt.Errorf("there is no %s in it: it is not from CRIU", pstreeKind.file(0))}
	}
	return nil, &Error{Err: fmt.Errorf("it has several dumps, and none of them in %s: %s", checkpointDir, forest.Escape(strings.Join(dirs, ", ")))}
}
