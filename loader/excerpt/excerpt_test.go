// SPDX-License-Identifier: Apache-2.0

package excerpt

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"github.com/pidgraft/pidgraft/internal/require"
)

// objectBTF is BTF with every kind of type that C has, small enough to be
// changed a million times: that of the BPF object.
func objectBTF(t testing.TB) []byte {
	t.Helper()
	f, err := elf.Open("../../bpf/pids_bpfel.o")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	raw, err := f.Section(".BTF").Data()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// kernelBTF is that of the running kernel.
func kernelBTF(t testing.TB) []byte {
	t.Helper()
	require.Feature(t, require.BTF)
	raw, err := os.ReadFile("/sys/kernel/btf/vmlinux")
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func decode(raw []byte) (*btf.Spec, error) { return btf.LoadSpecFromReader(bytes.NewReader(raw)) }

// fields are the offset in bits, the width and the kind of every field of a type
// that can be reached by the names in members, and the sizes of what holds them.
// It is an independent reading: by the library, of either the whole or the
// excerpt.
func fields(typ btf.Type, members map[string]bool) map[string]string {
	found := map[string]string{}
	var add func(path string, typ btf.Type, at btf.Bits, depth int)
	addAll := func(path string, list []btf.Member, at btf.Bits, depth int) {
		for i, m := range list {
			name := m.Name
			if name == "" {
				name = fmt.Sprint("(anonymous at ", m.Offset, ")")
			} else if !members[name] && i < len(list)-1 {
				continue
			}
			found[path+"."+name] = fmt.Sprint("at ", at+m.Offset, ", bits ", m.BitfieldSize)
			add(path+"."+name, m.Type, at+m.Offset, depth+1)
		}
	}
	add = func(path string, typ btf.Type, at btf.Bits, depth int) {
		typ = btf.UnderlyingType(typ)
		size := 0
		if depth > 8 || len(found) > 1000 {
			return
		}
		switch t := typ.(type) {
		case *btf.Struct:
			size = int(t.Size)
			addAll(path, t.Members, at, depth)
		case *btf.Union:
			size = int(t.Size)
			addAll(path, t.Members, at, depth)
		case *btf.Array:
			size = int(t.Nelems)
			add(path+"[]", t.Type, at, depth+1)
		case *btf.Int:
			size = int(t.Size)
		case *btf.Enum:
			size = int(t.Size)
			for _, v := range t.Values {
				found[path+"."+v.Name] = fmt.Sprint(v.Value)
			}
		case *btf.FuncProto:
			return
		}
		found[path] += fmt.Sprintf(" %T %d", typ, size)
	}
	add(typ.TypeName(), typ, 0, 0)
	return found
}

// compareNumbers holds the numbers of functions and structs against the library's.
func compareNumbers(whole *btf.Spec, numbers map[string]uint32) error {
	for name, number := range numbers {
		all, err := whole.AnyTypesByName(name)
		if err != nil && !errors.Is(err, btf.ErrNotFound) {
			return nil // likewise
		}
		known := number == 0
		for _, typ := range all {
			switch typ.(type) {
			case *btf.Func, *btf.Struct:
				id, err := whole.TypeID(typ)
				if err != nil {
					return err
				}
				if number == 0 {
					return fmt.Errorf("%s has number %d and was not found", name, id)
				}
				known = known || uint32(id) == number
			}
		}
		if !known {
			return fmt.Errorf("%s does not have number %d", name, number)
		}
	}
	return nil
}

// compare holds the excerpt against the whole, for every type of every name.
func compare(t testing.TB, raw []byte, types, members []string) error {
	t.Helper()
	numbers := map[string]uint32{"bpf_rdonly_cast": 0, "uid_gid_extent": 0, "no_such_function": 0}
	cut, err := Of(raw, types, members, numbers)
	if err != nil {
		return err
	}
	whole, err := decode(raw)
	if err != nil {
		return nil // what the library refuses is not compared
	}
	if err := compareNumbers(whole, numbers); err != nil {
		return err
	}
	part, err := decode(cut)
	if err != nil {
		t.Fatalf("the whole can be decoded, the excerpt cannot: %v", err)
	}
	// The library looks at types only when they are asked for, and what lacks
	// one looks to it like the end.
	s, err := parseHeader(raw)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.find(newNames(nil), nil); err != nil {
		t.Fatal(err)
	}
	for id := range len(s.at) {
		if _, err := whole.TypeByID(btf.TypeID(id + 1)); err != nil {
			return nil
		}
	}
	isMember := map[string]bool{}
	for _, m := range members {
		isMember[m] = true
	}
	for _, name := range types {
		count := func(spec *btf.Spec) (list []map[string]string) {
			for typ, err := range spec.All() {
				if err != nil {
					t.Fatal(err)
				}
				essential, _, flavoured := strings.Cut(typ.TypeName(), "___")
				if essential != name || flavoured && essential == "" {
					continue
				}
				switch typ.(type) {
				case *btf.Struct, *btf.Union, *btf.Enum, *btf.Int, *btf.Typedef:
					list = append(list, fields(typ, isMember))
				}
			}
			return list
		}
		got, want := count(part), count(whole)
		// What a wanted type holds is in the excerpt too, under its name, and
		// in the order in which it was met.
		for _, w := range want {
			found := false
			for i, g := range got {
				if cmp.Equal(w, g) {
					got = append(got[:i:i], got[i+1:]...)
					found = true
					break
				}
			}
			if !found {
				t.Fatalf("%s: not in the excerpt as it is in the whole: %v; there is %v", name, w, got)
			}
		}
		if len(got) > 0 {
			t.Fatalf("%s: in the excerpt alone: %v", name, got)
		}
	}
	return nil
}

var (
	someTypes = []string{"pid", "task_struct", "pid_namespace", "user_namespace", "uid_gid_map", "upid",
		"kuid_t", "pid_type", "record_task", "target", "signal_struct", "int"}
	someMembers = []string{"level", "numbers", "nr", "ns", "idr", "idr_rt", "xa_head", "extent", "first", "sibling",
		"prev", "is_child_subreaper", "val", "comm", "pids", "tasks", "uid_map", "inum", "owner", "shift", "slots"}
)

func TestKernel(t *testing.T) {
	if err := compare(t, kernelBTF(t), someTypes, someMembers); err != nil {
		t.Fatal(err)
	}
}

func TestObject(t *testing.T) {
	if err := compare(t, objectBTF(t), someTypes, someMembers); err != nil {
		t.Fatal(err)
	}
}

// Every beginning of BTF is refused, and so is what is none.
func TestOddInput(t *testing.T) {
	raw := objectBTF(t)
	for n := range raw {
		if _, err := Of(raw[:n], someTypes, someMembers, map[string]uint32{"bpf_rdonly_cast": 0}); err == nil {
			t.Fatalf("the first %d of %d bytes are taken for BTF", n, len(raw))
		}
	}
	edit := func(change func(b []byte)) []byte {
		b := bytes.Clone(raw)
		change(b)
		return b
	}
	firstType := headerSize + le.Uint32(raw[8:])
	for name, b := range map[string][]byte{
		"other byte order": edit(func(b []byte) { b[0], b[1] = b[1], b[0] }),
		"version 2":        edit(func(b []byte) { b[2] = 2 }),
		"short header":     edit(func(b []byte) { le.PutUint32(b[4:], 16) }),
		"types beyond":     edit(func(b []byte) { le.PutUint32(b[12:], 1<<31) }),
		"strings beyond":   edit(func(b []byte) { le.PutUint32(b[20:], 1<<31) }),
		"no strings":       edit(func(b []byte) { le.PutUint32(b[20:], 0) }),
		"unknown kind":     edit(func(b []byte) { le.PutUint32(b[firstType+4:], 30<<24) }),
		"kind 0":           edit(func(b []byte) { le.PutUint32(b[firstType+4:], 0) }),
	} {
		if _, err := Of(b, someTypes, someMembers, map[string]uint32{"bpf_rdonly_cast": 0}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := Of(edit(func(b []byte) { b[0], b[1] = b[1], b[0] }), nil, nil, nil); !errors.Is(err, errHeader) {
		t.Errorf("other byte order: %v", err)
	}
}

// FuzzOf: whatever it is given, Of returns; what it cuts out of what the library
// can decode, the library decodes to the same.
func FuzzOf(f *testing.F) {
	raw := objectBTF(f)
	f.Add(raw, uint16(0), uint32(0))
	step := uint32(37)
	if testing.Short() {
		step *= 32 // it asks nothing of a kernel
	}
	for at := uint32(0); at < uint32(len(raw)); at += step {
		f.Add(raw, uint16(at/4), at*2654435761)
	}
	f.Fuzz(func(t *testing.T, raw []byte, word uint16, value uint32) {
		b := bytes.Clone(raw)
		// Most bytes of types matter; the mutator alone seldom meets two that
		// go together.
		if at := int(word) * 4; at+4 <= len(b) {
			le.PutUint32(b[at:], value)
		}
		_ = compare(t, b, someTypes, someMembers)
	})
}

func BenchmarkKernel(b *testing.B) {
	raw := kernelBTF(b)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Of(raw, someTypes, someMembers, map[string]uint32{"bpf_rdonly_cast": 0}); err != nil {
			b.Fatal(err)
		}
	}
}
