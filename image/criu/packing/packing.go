// SPDX-License-Identifier: Apache-2.0

// Package packing knows a checkpoint archive when it sees one, and what it is
// compressed with.
//
// Contract: pure, and light: a program that only has to tell an archive from an
// image of pidgraft need not have in it what reads CRIU's images.
package packing

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"io"

	"github.com/klauspost/compress/zstd"
)

// maxWindow bounds the memory that unpacking takes, whatever a zstd frame asks
// for. Podman's have 8 MiB.
const maxWindow = 64 << 20

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

// Unpack gives what is packed in r.
func (p Packing) Unpack(r io.Reader) (io.ReadCloser, error) {
	switch p {
	case Gzip:
		return gzip.NewReader(r)
	case Zstd:
		z, err := newZstd(r)
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(r), nil
}

func newZstd(r io.Reader) (*zstd.Decoder, error) {
	return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
}
