// SPDX-License-Identifier: Apache-2.0

package image

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/forest/foresttest"
)

// samples are the fixed forests of the golden images and of other tests.
func samples() map[string]*forest.Forest {
	inexact := foresttest.Small()
	inexact.Inexact = []string{"task 2 (sh): it is traced", "a reason with \x00 and \xff"}
	return map[string]*forest.Forest{
		"sample": foresttest.Sample(), "small": foresttest.Small(),
		"subtree": foresttest.BelowRoot(), "inexact": inexact,
		"referenced": foresttest.Referenced(), "told": foresttest.Told(),
		"saved": foresttest.Saved(),
	}
}

func encode(t testing.TB, f *forest.Forest) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, f); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func same(a, b *forest.Forest) string { return cmp.Diff(a, b, cmpopts.EquateEmpty()) }

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := foresttest.Random(t)
		var b, again bytes.Buffer
		if err := Write(&b, f); err != nil {
			t.Fatal(err)
		}
		r := bytes.NewReader(append(b.Bytes(), "what follows"...))
		got, err := Read(r)
		if err != nil {
			t.Fatal(err)
		}
		if d := same(f, got); d != "" {
			t.Fatal(d)
		}
		if r.Len() != len("what follows") {
			t.Fatalf("%d bytes are left unread", r.Len())
		}
		if err := Write(&again, got); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b.Bytes(), again.Bytes()) {
			t.Fatal("two encodings of one forest differ")
		}
	})
}

// TestEveryField changes each field of each struct of a forest, found by
// reflection so that none can be forgotten: the bytes must change, and the
// change must come back.
func TestEveryField(t *testing.T) {
	t.Run("plain", func(t *testing.T) { everyField(t, func(f *forest.Forest) []byte { return raw(t, f) }) })
	t.Run("packed", func(t *testing.T) { everyField(t, encodePacked) })
}

func everyField(t *testing.T, encode func(*forest.Forest) []byte) {
	base := encode(full())
	leaves := 0
	for i := 0; ; i++ {
		f := full()
		path := ""
		n := 0
		walk(reflect.ValueOf(f).Elem(), "forest", func(p string, v reflect.Value) {
			if n == i {
				path = p
				mutate(v, p)
			}
			n++
		})
		if path == "" {
			leaves = n
			break
		}
		b := encode(f)
		if bytes.Equal(b, base) {
			t.Errorf("%s: changing it changes no byte", path)
		}
		d := NewDecoder(bytes.NewReader(b))
		if err := d.decode(); err != nil {
			t.Errorf("%s: %v", path, err)
		} else if diff := same(f, d.f); diff != "" {
			t.Errorf("%s does not come back:\n%s", path, diff)
		}
	}
	t.Logf("%d fields", leaves)
}

// full is a forest without an empty list.
func full() *forest.Forest {
	f := foresttest.Referenced()
	f.Origins, f.Departed = foresttest.Told().Origins, foresttest.Told().Departed
	f.ExitIDs = foresttest.Saved().ExitIDs
	f.Inexact = []string{"a", "b"}
	f.UserNamespaces[0].UIDMap = []forest.Extent{{First: 1, Parent: 2, Count: 3}}
	return f
}

// raw encodes without validation.
func raw(t *testing.T, f *forest.Forest) []byte {
	t.Helper()
	var b bytes.Buffer
	e := newEncoder(&b)
	e.image(f)
	if err := e.close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func walk(v reflect.Value, path string, leaf func(string, reflect.Value)) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			walk(v.Field(i), path+"."+v.Type().Field(i).Name, leaf)
		}
	case reflect.Slice:
		for i := range v.Len() {
			walk(v.Index(i), fmt.Sprintf("%s[%d]", path, i), leaf)
		}
		if v.Type().Elem().Kind() != reflect.Struct || v.Type().Elem() == reflect.TypeFor[forest.Extent]() {
			leaf(path+"[+]", v) // may grow by itself
		}
	default:
		leaf(path, v)
	}
}

// mutate changes v to another value that has a place in an image.
func mutate(v reflect.Value, path string) {
	enums := map[reflect.Type]uint64{
		reflect.TypeFor[forest.Mode](): 2, reflect.TypeFor[forest.CutMethod](): 2,
		reflect.TypeFor[forest.NamespaceState](): 5, reflect.TypeFor[forest.State](): 6,
		reflect.TypeFor[forest.ReferenceKind](): 6,
	}
	switch v.Kind() {
	case reflect.Slice:
		v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		u := v.Uint() + 1
		if n, ok := enums[v.Type()]; ok {
			u %= n
		}
		v.SetUint(u)
	case reflect.Int, reflect.Int32, reflect.Int64:
		if strings.HasSuffix(path, ".Pid") { // must name an object
			v.SetInt(v.Int()%5 + 1)
			return
		}
		v.SetInt(v.Int() - 1)
	default:
		panic("a kind of field without a mutation: " + path)
	}
}

func TestSlowReaderAndExactEnd(t *testing.T) {
	for name, b := range forms(t) {
		got, err := Read(iotest.OneByteReader(bytes.NewReader(b)))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d := same(samples()[strings.TrimSuffix(name, "-packed")], got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestReadErrorIsPassedOn(t *testing.T) {
	broken := errors.New("the disk is on fire")
	b := encode(t, foresttest.Small())
	_, err := Read(io.MultiReader(bytes.NewReader(b[:200]), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) || errors.Is(err, ErrTruncated) {
		t.Errorf("got %v", err)
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

func TestWriteRefuses(t *testing.T) {
	broken := errors.New("the disk is full")
	if err := Write(failingWriter{broken}, foresttest.Small()); !errors.Is(err, broken) {
		t.Errorf("write error: got %v", err)
	}
	if err := WriteAbort(failingWriter{broken}, "m"); !errors.Is(err, broken) {
		t.Errorf("abort, write error: got %v", err)
	}
	for name, change := range map[string]func(*forest.Forest){
		"invalid":          func(f *forest.Forest) { f.Tasks[1].TGID = 99 },
		"long release":     func(f *forest.Forest) { f.Producer.Release = strings.Repeat("6", 65) },
		"NUL in a version": func(f *forest.Forest) { f.Producer.Version = "a\x00b" },
		"long tool":        func(f *forest.Forest) { f.Producer.Tool = strings.Repeat("v", maxTool+1) },
		"long reason":      func(f *forest.Forest) { f.Inexact = []string{strings.Repeat("r", maxReason+1)} },
	} {
		f := foresttest.Small()
		change(f)
		var b bytes.Buffer
		if err := Write(&b, f); err == nil || b.Len() > 0 {
			t.Errorf("%s: error %v, %d bytes written", name, err, b.Len())
		}
	}
	f := foresttest.Small()
	f.Producer = forest.Producer{
		Release: strings.Repeat("6", 64), Version: strings.Repeat("v", 64), Machine: strings.Repeat("m", 64),
		Tool: strings.Repeat("t", maxTool), Time: -1 << 63,
	}
	f.Inexact = []string{strings.Repeat("r", maxReason), strings.Repeat("s", maxReason)}
	got, err := Read(bytes.NewReader(encode(t, f)))
	if err != nil {
		t.Fatal(err)
	}
	if d := same(f, got); d != "" {
		t.Error(d)
	}
}
