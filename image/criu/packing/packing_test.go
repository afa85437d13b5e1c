// SPDX-License-Identifier: Apache-2.0

package packing

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/pidgraft/pidgraft/forest/foresttest"
	"github.com/pidgraft/pidgraft/image"
)

// TestSniff: an image of pidgraft is no archive, compressed or not, and whatever
// was looked at is still there.
func TestSniff(t *testing.T) {
	var plain, packed, frame bytes.Buffer
	if err := errors.Join(image.Write(&plain, foresttest.Sample()), image.WriteCompressed(&packed, foresttest.Sample())); err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewWriter(&frame)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write([]byte("words")); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "a byte": {0x28}, "an image": plain.Bytes(), "compressed": packed.Bytes(), "words": []byte("These are words."),
		"half a frame": packed.Bytes()[:packed.Len()/2], "a frame of words": frame.Bytes(), "zeros": make([]byte, 4096),
	} {
		p, r := Sniff(bytes.NewReader(b))
		rest, err := io.ReadAll(r)
		if p != NotArchive || err != nil || !bytes.Equal(rest, b) {
			t.Errorf("%s: packing %d, %d of %d bytes are left, %v", name, p, len(rest), len(b), err)
		}
	}
}
