// SPDX-License-Identifier: Apache-2.0

package image

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/forest/foresttest"
)

// encodePacked encodes, without validation, as if there were many tasks.
func encodePacked(f *forest.Forest) []byte {
	var b bytes.Buffer
	e := newEncoder(&b)
	e.packedAbove = 0
	e.image(f)
	if err := e.close(); err != nil {
		panic(err) // a bytes.Buffer has none
	}
	return b.Bytes()
}

// forms are the samples in both forms.
func forms(t testing.TB) map[string][]byte {
	all := map[string][]byte{}
	for name, f := range samples() {
		all[name], all[name+"-packed"] = encode(t, f), encodePacked(f)
	}
	return all
}

// Each forest comes back from both forms, and from the packed one it is packed to
// the same bytes.
func TestPacked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := foresttest.Random(t)
		b := encodePacked(f)
		got, err := Read(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if d := same(f, got); d != "" {
			t.Fatal(d)
		}
		if !bytes.Equal(encodePacked(got), b) {
			t.Fatal("two encodings of one forest differ")
		}
	})
}

// What is accepted of a packed image that was forged has no room for anything
// that the forest does not say.
func TestPackedForgedBits(t *testing.T) {
	for name, f := range samples() {
		b := encodePacked(f)
		accepted := 0
		for i := range (len(b) - tailSize) * 8 {
			c := bytes.Clone(b)
			c[i/8] ^= 1 << (i % 8)
			c = join(split(t, c))
			if !checkAccepted(t, c) {
				continue
			}
			accepted++
			d := NewDecoder(bytes.NewReader(c))
			got, err := d.Decode()
			if err != nil {
				t.Fatal(err)
			}
			// The first records have numbers for the original's reader only; and
			// what is skipped is said.
			at := bytes.Index(b, rec(typeTree)[:4])
			if i/8 > at && len(d.Warnings()) == 0 && !bytes.Equal(encodePacked(got), c) {
				t.Fatalf("%s: bit %d of byte %d: the image is accepted, and written otherwise", name, i%8, i/8)
			}
		}
		if accepted == 0 {
			t.Errorf("%s: no flip gives another image", name)
		}
	}
}

func recordTypes(t *testing.T, b []byte) (types []uint32) {
	t.Helper()
	for _, r := range split(t, b) {
		types = append(types, binary.LittleEndian.Uint32(r))
	}
	return types
}

// Of many tasks the packed form is written, and only of many.
func TestPackedAbove(t *testing.T) {
	for n, packed := range map[int]bool{packedAbove: false, packedAbove + 1: true} {
		types := recordTypes(t, encode(t, foresttest.Wide(n)))
		if slices.Contains(types, typePackedTasks) != packed || slices.Contains(types, typeTasks) == packed {
			t.Errorf("%d tasks: records %v", n, types)
		}
	}
}

// TestPackedGolden is TestGolden for this form.
func TestPackedGolden(t *testing.T) { golden(t, "wide", foresttest.Wide(packedAbove+1)) }

// A large image takes 64 bytes a task at most, even if no two tasks have the same
// name.
func TestPackedSize(t *testing.T) {
	const n = 20_000
	for name, change := range map[string]func(i int, t *forest.Task){
		"all kinds": func(int, *forest.Task) {},
		"own names": func(i int, t *forest.Task) { t.Comm = fmt.Sprintf("worker-%d", i) },
		"one kind":  func(_ int, t *forest.Task) { t.Comm = "worker" },
		"over days": func(i int, t *forest.Task) { t.StartTime = uint64(i%2+1) * 1e15 },
		"own start": func(i int, t *forest.Task) { t.StartTime = uint64(i*i) * 1_234_567 },
	} {
		f := foresttest.Wide(n)
		for i := range f.Tasks {
			change(i, &f.Tasks[i])
		}
		size := float64(len(encode(t, f))) / n
		t.Logf("%s: %.1f bytes a task", name, size)
		if size > 64 {
			t.Errorf("%s: %.1f bytes a task", name, size)
		}
	}
}

// TestPackedRules breaks each rule of the record by itself.
func TestPackedRules(t *testing.T) {
	f := foresttest.Small()
	k := kindOf(&f.Tasks[0])
	other := kindOf(&f.Tasks[1])
	other[51]++ // another group
	name := func(s string) []byte { return append([]byte(s), make([]byte, commLen-len(s))...) }
	bad := func(at int, v byte) []byte {
		c := k
		c[at] = v
		return c[:]
	}
	over := slices.Concat(bytes.Repeat([]byte{0xff}, 9), []byte{2})
	task := func(parts ...[]byte) []byte { return slices.Concat(parts...) }
	first := task([]byte{0}, k[:], []byte{0}, name("init"), []byte{0, 0})
	for what, c := range map[string]struct {
		payload []byte
		want    string
	}{
		"sound":            {task(first, []byte{0, 0, 0, 0}), ""},
		"new ones":         {task(first, []byte{1}, other[:], []byte{1}, name("sh"), []byte{0, 0}), ""},
		"kind beyond":      {task([]byte{1}, k[:], []byte{0}, name("init"), []byte{0, 0}), "kind 1, and there are 0"},
		"kind twice":       {task(first, []byte{1}, k[:], []byte{0, 0, 0}), "kind is there already"},
		"flags":            {task([]byte{0}, bad(8, 8), []byte{0}, name("init"), []byte{0, 0}), "flags 0x8"},
		"state":            {task([]byte{0}, bad(12, 6), []byte{0}, name("init"), []byte{0, 0}), "state 6"},
		"name beyond":      {task(first, []byte{0, 2}), "name 2, and there are 1"},
		"name twice":       {task(first, []byte{0, 1}, name("init"), []byte{0, 0}), "name is there already"},
		"name unended":     {task([]byte{0}, k[:], []byte{0}, bytes.Repeat([]byte("c"), commLen), []byte{0, 0}), "no NUL"},
		"name after end":   {task([]byte{0}, k[:], []byte{0}, name("a\x00b"), []byte{0, 0}), "bytes after it"},
		"parent above":     {task(first, []byte{0, 0, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0}), "parent thread is out of range"},
		"longer number":    {task(first, []byte{0x80, 0, 0, 0, 0}), "longer than it need be"},
		"more than 64 bit": {task(first, []byte{0, 0, 0}, over), "more than 64 bits"},
		"short":            {first[:32], "ends before"},
		"one task":         {first, "ends before"},
		"three tasks":      {task(first, make([]byte, 16)), "bytes more than it should hold"},
		"padding":          {task(first, []byte{0, 0, 0, 0, 1}), "reserved byte"},
	} {
		t.Run(what, func(t *testing.T) {
			recs := split(t, encodePacked(f))
			i := slices.IndexFunc(recs, func(r []byte) bool { return binary.LittleEndian.Uint32(r) == typePackedTasks })
			p := append(c.payload, make([]byte, pad(uint64(len(c.payload))))...)
			recs[i] = rec(typePackedTasks, p...)
			_, err := Read(bytes.NewReader(join(recs)))
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}

// Every number has one form, and comes back.
func TestVarint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Int64().Draw(t, "v")
		b := binary.AppendVarint(nil, v)
		d := newDecoder(bytes.NewReader(rec(typeTasks, append(b, make([]byte, pad(uint64(len(b))))...)...)))
		d.off = 8 // it is not an image's first
		if !d.next() || d.varint() != v || d.err != nil {
			t.Fatalf("%d: %v", v, d.err)
		}
		d.end()
		if d.err != nil {
			t.Fatal(d.err)
		}
	})
}

// Both forms say the same of each field.
func TestKind(t *testing.T) {
	if n := reflect.TypeFor[forest.Task]().NumField(); n != 23 {
		t.Errorf("a task has %d fields: are those of a kind all there?", n)
	}
	rapid.Check(t, func(t *rapid.T) {
		for _, task := range foresttest.Random(t).Tasks {
			got := task
			k := kindOf(&task)
			if _, _, ok := k.set(&got); !ok || got != task {
				t.Fatalf("%+v, then %+v", task, got)
			}
		}
	})
}
