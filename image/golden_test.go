// SPDX-License-Identifier: Apache-2.0

package image

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/forest/foresttest"
)

var update = flag.Bool("update", false, "write the golden images and the seeds of the fuzzer anew")

// TestGolden: the images under testdata/golden were written once. Every later
// version must read them and write the same bytes; a new kind of image gets a
// new file.
func TestGolden(t *testing.T) {
	for name, f := range samples() {
		golden(t, name, f)
	}
}

// golden holds f against the image that was written of it once.
func golden(t *testing.T, name string, f *forest.Forest) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name+".image")
	got := encode(t, f)
	if *update {
		write(t, path, got)
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is written otherwise now", path)
	}
	old, err := Read(bytes.NewReader(want))
	if err != nil {
		t.Errorf("%s is refused now: %v", path, err)
		return
	}
	if d := same(f, old); d != "" {
		t.Errorf("%s is read otherwise now:\n%s", path, d)
	}
	if d := forest.Diff(f, old, forest.DiffOptions{LiveIDs: true}); len(d) > 0 {
		t.Errorf("%s differs: %v", path, d)
	}
}

func write(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// seeds are what the fuzzer starts from, beyond nothing.
func seeds(t testing.TB) map[string][]byte {
	s := map[string][]byte{}
	for name, f := range samples() {
		b := encode(t, f)
		s[name] = b
		s[name+"-cut"] = b[:len(b)*2/3]
	}
	recs := split(t, s["small"])
	s["unknown"] = join(append(recs[:14:14], append([][]byte{rec(8500, make([]byte, 8)...)}, recs[14:]...)...))
	s["required"] = join(append(recs[:14:14], append([][]byte{rec(8500|required, make([]byte, 8)...)}, recs[14:]...)...))
	var b bytes.Buffer
	if err := WriteAbort(&b, "changed while dumping"); err != nil {
		t.Fatal(err)
	}
	s["aborted"] = append(bytes.Join(recs[:12], nil), b.Bytes()...)
	packed, err := os.ReadFile(packedGolden)
	if err != nil {
		t.Fatal(err)
	}
	s["zstd"] = packed
	s["packed"] = encodePacked(foresttest.Sample())
	return s
}

// TestSeeds keeps the fuzzer's seeds those of this version.
func TestSeeds(t *testing.T) {
	for name, b := range seeds(t) {
		path := filepath.Join("testdata", "fuzz", "FuzzRead", name)
		want := fmt.Appendf(nil, "go test fuzz v1\n[]byte(%q)\n", b)
		if *update {
			write(t, path, want)
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is out of date (error: %v): go test ./image -update", path, err)
		}
	}
}

// FuzzRead: whatever the bytes, Read gives a forest or an error, and a forest
// that it gives can be written and read again. As the checksum would hide the
// rest of the reader from the fuzzer, it is made right first.
func FuzzRead(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		checkAccepted(t, b)
		checkAccepted(t, join(split(t, b)))
	})
}
