// SPDX-License-Identifier: Apache-2.0

package criu

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"strings"
	"testing"
	"testing/fstest"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/forest/foresttest"
	"github.com/pidgraft/pidgraft/image/criu/packing"
)

// member is one of an archive; a directory if its name ends in a slash.
type member struct {
	name string
	data []byte
}

func archive(t testing.TB, members ...member) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		h := &tar.Header{Name: m.name, Mode: 0o600, Size: int64(len(m.data)), Typeflag: tar.TypeReg}
		if strings.HasSuffix(m.name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(m.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t testing.TB, b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstandard(t testing.TB, b []byte) []byte {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(b, nil)
}

func written(t testing.TB, f *forest.Forest) []File {
	t.Helper()
	files, _, err := Write(f)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// under are files in a directory of an archive.
func under(dir string, files []File) []member {
	var ms []member
	for _, f := range files {
		ms = append(ms, member{dir + f.Name, f.Data})
	}
	return ms
}

// layouts are archives as they are made: what else is in them, and where.
func layouts(t testing.TB, files []File) map[string][]member {
	pages := bytes.Repeat([]byte{0xa5}, 1<<20)
	decoy := written(t, foresttest.BelowRoot())
	return map[string][]member{
		// The kubelet's, which CRI-O (and containerd 2.0) makes.
		"kubelet": append(append([]member{
			{"bind.mounts", []byte("[]")}, {"checkpoint/", nil},
			{"checkpoint/cgroup.img", []byte("\x19\x43\x56\x54")}, {"checkpoint/pages-1.img", pages},
		}, under("checkpoint/", files)...),
			member{"config.dump", []byte("{}")}, member{"spec.dump", []byte("{}")}, member{"dump.log", []byte("(00.1)")},
			member{"rootfs-diff.tar", archive(t, under("checkpoint/", decoy)...)}),
		// podman container checkpoint --export, with what --pre-checkpoint left.
		"podman": append(append([]member{
			{"artifacts/", nil}, {"config.dump", []byte("{}")}, {"devshm-checkpoint.tar", nil},
			{"pre-checkpoint/inventory.img", decoy[0].Data}, {"pre-checkpoint/pstree.img", decoy[1].Data},
		}, under("checkpoint/", files)...), member{"network.status", []byte("{}")}),
		// tar -C DIR -cf - .
		"by hand": append([]member{{"./", nil}}, under("./", files)...),
		"deep":    under("a/b/", files),
	}
}

func TestArchive(t *testing.T) {
	f := foresttest.Small()
	files := written(t, f)
	for name, members := range layouts(t, files) {
		plain := archive(t, members...)
		for with, b := range map[packing.Packing][]byte{packing.Plain: plain, packing.Gzip: gzipped(t, plain), packing.Zstd: zstandard(t, plain)} {
			p, r := packing.Sniff(iotest.HalfReader(bytes.NewReader(b)))
			if p != with {
				t.Errorf("%s: packing %d is taken for %d", name, with, p)
			}
			g, err := ReadArchive(r, p)
			if err != nil {
				t.Errorf("%s, packing %d: %v", name, with, err)
				continue
			}
			if d := forest.Diff(f, g, forest.DiffOptions{LiveIDs: true}); len(d) > 0 {
				t.Errorf("%s, packing %d: %v", name, with, d)
			}
			// A part of it is none, and not a smaller one: what is cut between two
			// members lacks a file.
			for _, cut := range []int{100, 511, len(b) / 4, len(b) / 2, len(b) - 1} {
				if with == packing.Plain && cut == len(b)-1 {
					continue // a tar ends with zeros, and they are not needed
				}
				_, err := ReadArchive(bytes.NewReader(b[:min(cut, len(b)-1)]), with)
				var e *Error
				if !errors.As(err, &e) || !errors.Is(err, ErrTruncated) &&
					!strings.Contains(err.Error(), "no pstree.img") && !strings.Contains(err.Error(), "it is missing") {
					t.Errorf("%s, packing %d, cut at %d of %d: %v", name, with, cut, len(b), err)
				}
			}
		}
	}
}

func TestArchiveRefused(t *testing.T) {
	files := written(t, foresttest.Small())
	twice := append(under("checkpoint/", files), member{"checkpoint/./core-2.img", files[len(files)-1].Data})
	var many []member
	for _, d := range "abcdefghijklmnopq" {
		many = append(many, member{string(d) + "/core-1.img", files[len(files)-1].Data})
	}
	for name, c := range map[string]struct {
		members []member
		want    string
	}{
		"empty":    {nil, "checkpoint archive: there is no pstree.img in it: it is not from CRIU"},
		"two":      {append(under("a/", files), under("b\n/", files)...), `several dumps, and none of them in checkpoint: a, b\n`},
		"twice":    {twice, "CRIU image checkpoint/core-2.img: it is there twice"},
		"a folder": {[]member{{"checkpoint/core-7.img/", nil}}, "CRIU image checkpoint/core-7.img: it is no regular file"},
		"many":     {many, "more than 16 directories"},
		"no core":  {under("checkpoint/", files[:2]), "CRIU image checkpoint/core-1.img: it is missing, and pstree.img has process 1"},
	} {
		_, err := ReadArchive(bytes.NewReader(archive(t, c.members...)), packing.Plain)
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v\nwant: %s", name, err, c.want)
		}
	}
}

// TestDirectory: images are found where they are, and where an unpacked archive
// has them.
func TestDirectory(t *testing.T) {
	f := foresttest.Small()
	for _, dir := range []string{"", "checkpoint/"} {
		m := fstest.MapFS{"checkpoint/descriptors.json": {}, "config.dump": {}, "core-x.img": {}, "core-07.img": {}}
		for _, file := range written(t, f) {
			m[dir+file.Name] = &fstest.MapFile{Data: file.Data}
		}
		g, err := Read(m)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(g, read(t, written(t, f))); d != "" {
			t.Error(d)
		}
	}
	_, err := Read(fstest.MapFS{"config.dump": {}})
	var e *Error
	if !errors.As(err, &e) || e.File != "inventory.img" {
		t.Errorf("a directory of something else: %v", err)
	}
}
