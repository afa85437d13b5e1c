// SPDX-License-Identifier: Apache-2.0

package image

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/pidgraft/pidgraft/forest"
)

// maxWindow bounds the memory that unpacking takes, whatever a frame asks for:
// the limit of zstd -d without --long.
const maxWindow = 8 << 20

// maxUnpacked bounds what a compressed image can make of itself. An image of
// the four million tasks that a kernel can have takes half of it.
const maxUnpacked = 1 << 30

// WriteCompressed writes f as Write does, as one zstd frame (RFC 8878). Read
// takes it as it takes the image itself.
func WriteCompressed(w io.Writer, f *forest.Forest) error {
	// One worker: equal forests are equal bytes, on any machine.
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(maxWindow))
	if err != nil {
		return fmt.Errorf("zstd: %w", err)
	}
	return errors.Join(Write(z, f), z.Close())
}

// unpacker reads what a zstd frame holds.
type unpacker struct {
	z    *zstd.Decoder
	left int64
}

// unpack is for a stream of which head, that is a frame's magic and more, has
// been read. The decoder reads ahead in r.
func unpack(head []byte, r io.Reader) (*unpacker, error) {
	z, err := zstd.NewReader(io.MultiReader(bytes.NewReader(bytes.Clone(head)), r),
		zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	return &unpacker{z: z, left: maxUnpacked}, nil
}

func (u *unpacker) Read(p []byte) (int, error) {
	if u.left <= 0 {
		return 0, fmt.Errorf("zstd: it unpacks to more than %d MiB, more than all tasks that a kernel can have need", maxUnpacked>>20)
	}
	n, err := u.z.Read(p[:min(int64(len(p)), u.left)])
	u.left -= int64(n)
	if err != nil && err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("zstd: the frame is damaged: %w", err)
	}
	return n, err
}

// finish is called after an image's last record: its frame ends there, too.
func (u *unpacker) finish() error {
	defer u.z.Close()
	switch n, err := io.ReadFull(u, make([]byte, 1)); {
	case n > 0:
		return errors.New("zstd: the frame goes on after the image")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return ErrTruncated
	case err != io.EOF:
		return err
	}
	return nil
}
