// SPDX-License-Identifier: Apache-2.0

package criu

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/pidgraft/pidgraft/forest"
)

// checkpointDir is where an archive of the kubelet, CRI-O and Podman has the
// images.
const checkpointDir = "checkpoint"

// maxDirs is in how many directories of an archive images may be.
const maxDirs = 16

// maxWindow bounds the memory that unpacking takes, whatever a zstd frame asks
// for. Podman's have 8 MiB.
const maxWindow = 64 << 20

// maxPadding is how long an archive may go on after its last member.
const maxPadding = 1 << 20

// Packing is how an archive is compressed.
type Packing uint8

const (
	NotArchive Packing = iota
	Plain
	Gzip
	Zstd
)

const tarBlock = 512

// Sniff says whether a stream is an archive, which an image of pidgraft, also a
// compressed one, is not. The reader that it returns has the whole stream.
func Sniff(r io.Reader) (Packing, io.Reader) {
	br := bufio.NewReaderSize(r, 1<<16)
	head, _ := br.Peek(tarBlock) // an error comes again with the next read
	switch {
	case isTar(head):
		return Plain, br
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return Gzip, br
	case !bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return NotArchive, br
	}
	// What it takes to unpack the first bytes is kept to be read again.
	const most = 1 << 20
	var seen bytes.Buffer
	is := NotArchive
	if z, err := newZstd(io.TeeReader(io.LimitReader(br, most), &seen)); err == nil {
		first := make([]byte, tarBlock)
		if _, err := io.ReadFull(z, first); err == nil && isTar(first) {
			is = Zstd
		}
		z.Close()
	}
	return is, io.MultiReader(&seen, br)
}

// isTar looks for the magic that POSIX and GNU write.
func isTar(head []byte) bool {
	const at = 257
	return len(head) >= tarBlock && bytes.Equal(head[at:at+5], []byte("ustar"))
}

func newZstd(r io.Reader) (*zstd.Decoder, error) {
	return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
}

// ReadArchive makes a forest of the images in a checkpoint archive: a tar with
// them in "checkpoint", or in whatever one directory. Its errors are *Error. It
// reads on beyond what it needs, pages of memory included, which it skips.
func ReadArchive(r io.Reader, p Packing) (*forest.Forest, error) {
	switch p {
	case Gzip:
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, archiveError(err)
		}
		defer z.Close()
		r = z
	case Zstd:
		z, err := newZstd(r)
		if err != nil {
			return nil, archiveError(err)
		}
		defer z.Close()
		r = z
	}
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
	if p == Gzip || p == Zstd {
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
