// SPDX-License-Identifier: Apache-2.0

package image

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/forest/foresttest"
)

// packedGolden was made by the zstd command of its authors, not by our library.
const packedGolden = "testdata/golden/small.image.zst"

func compressed(t testing.TB, f *forest.Forest) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := WriteCompressed(&b, f); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestCompressedGolden(t *testing.T) {
	b, err := os.ReadFile(packedGolden)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Read(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if d := same(foresttest.Small(), got); d != "" {
		t.Fatal(d)
	}
}

func TestCompressedRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := foresttest.Random(t)
		var b, again bytes.Buffer
		if err := errors.Join(WriteCompressed(&b, f), WriteCompressed(&again, f)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b.Bytes(), again.Bytes()) {
			t.Fatal("two encodings of one forest differ")
		}
		got, err := Read(iotest.OneByteReader(&b))
		if err != nil {
			t.Fatal(err)
		}
		if d := same(f, got); d != "" {
			t.Fatal(d)
		}
	})
}

// TestCompressedDamage cuts a compressed image everywhere and changes each bit
// of it: what is accepted is the forest itself (a few bits of a frame mean
// nothing to the reader), never another.
func TestCompressedDamage(t *testing.T) {
	f := foresttest.Small()
	whole := compressed(t, f)
	for n := range whole {
		_, err := Read(bytes.NewReader(whole[:n]))
		if !errors.Is(err, ErrTruncated) {
			t.Errorf("the first %d of %d bytes: %v", n, len(whole), err)
		}
	}
	for i := range whole {
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[i] ^= 1 << bit
			got, err := Read(bytes.NewReader(b))
			if err == nil && same(f, got) != "" {
				t.Errorf("byte %d, bit %d: another forest", i, bit)
			}
		}
	}
}

func TestCompressedOther(t *testing.T) {
	f := foresttest.Small()
	pack := func(b []byte) []byte {
		z, err := zstd.NewWriter(nil)
		if err != nil {
			t.Fatal(err)
		}
		return z.EncodeAll(b, nil)
	}
	for name, c := range map[string]struct {
		bytes []byte
		want  string
	}{
		"something else":      {pack([]byte(strings.Repeat("words ", 9))), "this is not an image"},
		"half of an image":    {pack(encode(t, f)[:400]), "cut short"},
		"an image and more":   {pack(append(encode(t, f), 0)), "goes on after the image"},
		"a frame in a frame":  {pack(compressed(t, f)), "this is not an image"},
		"a frame and more":    {append(compressed(t, f), "more of it"...), "zstd: the frame is damaged"},
		"only a magic number": {[]byte("\x28\xb5\x2f\xfd\xff\xff\xff\xff\xff\xff\xff\xff"), "zstd"},
	} {
		if _, err := Read(bytes.NewReader(c.bytes)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// TestUnpackedSize: a frame of few bytes cannot make the reader take more than
// the bound.
func TestUnpackedSize(t *testing.T) {
	b := compressed(t, foresttest.Small())
	u, err := unpack(b, bytes.NewReader(nil))
	if err != nil {
		t.Fatal(err)
	}
	u.left = 100
	got, err := io.ReadAll(u)
	if len(got) != 100 || err == nil || !strings.Contains(err.Error(), "unpacks to more than 1024 MiB") {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
