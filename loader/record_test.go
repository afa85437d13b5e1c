// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"github.com/pidgraft/pidgraft/bpf"
	"github.com/pidgraft/pidgraft/collector"
)

// layout is a C struct of the BPF object, as its BTF has it.
type layout struct {
	t     testing.TB
	s     *btf.Struct
	bytes []byte // one of it, all fields different
}

func newLayout(t testing.TB, name string) *layout {
	t.Helper()
	spec, err := bpf.LoadPids()
	if err != nil {
		t.Fatal(err)
	}
	var s *btf.Struct
	if err := spec.Types.TypeByName(name, &s); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	l := &layout{t: t, s: s, bytes: make([]byte, s.Size)}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range l.bytes {
		l.bytes[i] = byte(random.Uint32())
	}
	return l
}

func (l *layout) at(field string) (offset, size int) {
	l.t.Helper()
	for _, m := range l.s.Members {
		if m.Name == field {
			size, err := btf.Sizeof(m.Type)
			if err != nil {
				l.t.Fatal(err)
			}
			return int(m.Offset.Bytes()), size
		}
	}
	l.t.Fatalf("struct %s has no %s", l.s.Name, field)
	return 0, 0
}

func (l *layout) get(field string) uint64 {
	l.t.Helper()
	offset, size := l.at(field)
	if size == 8 {
		return binary.LittleEndian.Uint64(l.bytes[offset:])
	}
	return uint64(binary.LittleEndian.Uint32(l.bytes[offset:]))
}

func (l *layout) set(field string, value uint32) {
	l.t.Helper()
	offset, _ := l.at(field)
	binary.LittleEndian.PutUint32(l.bytes[offset:], value)
}

// until is the record, cut after n elements of its last field.
func (l *layout) until(field string, n, size int) []byte {
	l.t.Helper()
	offset, whole := l.at(field)
	if whole < n*size || offset+whole != len(l.bytes) {
		l.t.Fatalf("struct %s: %s is %d bytes at %d of %d", l.s.Name, field, whole, offset, len(l.bytes))
	}
	return l.bytes[:offset+n*size]
}

// numbers reads n elements of struct record_number.
func (l *layout) numbers(n int) (numbers []int32, innermost collector.ID) {
	l.t.Helper()
	offset, _ := l.at("numbers")
	element := newLayout(l.t, "record_number")
	nr, _ := element.at("nr")
	ns, _ := element.at("ns")
	for i := range n {
		b := l.bytes[offset+i*len(element.bytes):]
		numbers = append(numbers, int32(binary.LittleEndian.Uint32(b[nr:])))
		innermost = collector.ID(binary.LittleEndian.Uint64(b[ns:]))
	}
	return numbers, innermost
}

// cName is the name of a Go field in C: PrevSibling is prev_sibling.
func cName(name string) string {
	for _, word := range []string{"TGID", "PGID", "SID", "ID", "FSUID", "FSGID", "SUID", "SGID", "EUID", "EGID", "UID", "GID"} {
		if rest, ok := strings.CutSuffix(name, word); ok && (rest == "" || rest == "Parent" || rest == "Owner") {
			return strings.TrimPrefix(strings.ToLower(rest)+"_"+strings.ToLower(word), "_")
		}
	}
	var b strings.Builder
	for i, r := range name {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToLower(b.String())
}

// compare checks every integer field of a Go struct against the C field of the
// same name, and that no C field is forgotten. Fields in others are checked by
// the caller.
func (l *layout) compare(got any, others ...string) {
	l.t.Helper()
	missing := make(map[string]bool)
	for _, m := range l.s.Members {
		missing[m.Name] = true
	}
	for _, name := range others {
		delete(missing, name)
	}
	v := reflect.ValueOf(got)
	for i := range v.NumField() {
		name := cName(v.Type().Field(i).Name)
		if !missing[name] {
			continue
		}
		delete(missing, name)
		var g uint64
		switch f := v.Field(i); {
		case f.CanInt():
			g = uint64(f.Int())
		case f.CanUint():
			g = f.Uint()
		default:
			l.t.Errorf("struct %s: %s is not compared", l.s.Name, name)
			continue
		}
		want := l.get(name)
		if _, size := l.at(name); size == 4 {
			g &= 0xffffffff
		}
		if g != want {
			l.t.Errorf("struct %s: %s: got %#x, want %#x", l.s.Name, name, g, want)
		}
	}
	for name := range missing {
		l.t.Errorf("struct %s: nothing in Go is called %s", l.s.Name, name)
	}
}

func TestLayoutTask(t *testing.T) {
	l := newLayout(t, "record_task")
	l.set("kind", recordTask)
	l.set("marks", taskSubreaper|taskUndecided|taskFromIDR)
	l.set("pid_uses", 1<<0|1<<2)
	l.set("pid_level", 3)
	r := newRecords(nil, 0)
	if err := r.add(l.until("numbers", 4, 16)); err != nil {
		t.Fatal(err)
	}
	task := r.snapshot.Tasks[0]
	l.compare(task, "kind", "marks", "comm", "pid_uses", "pid_level", "numbers")
	offset, size := l.at("comm")
	if want := l.bytes[offset : offset+size]; !cmp.Equal(task.Comm[:], want) {
		t.Errorf("comm: got %q, want %q", task.Comm, want)
	}
	if !task.Subreaper || !r.undecided[task.ID] {
		t.Errorf("marks: subreaper %t, undecided %t", task.Subreaper, r.undecided[task.ID])
	}
	want := collector.Pid{ID: task.Pid, Level: 3, HasPID: true, HasPGID: true}
	want.Numbers, want.Namespace = l.numbers(4)
	if diff := cmp.Diff([]collector.Pid{want}, r.snapshot.Pids); diff != "" {
		t.Error(diff)
	}
}

func TestLayoutPid(t *testing.T) {
	for _, level := range []int{0, 1, maxLevel} {
		l := newLayout(t, "record_pid")
		l.set("kind", recordPid)
		l.set("marks", 1<<1|1<<3|pidFromIDR)
		l.set("level", uint32(level))
		r := newRecords(nil, 0)
		if err := r.add(l.until("numbers", level+1, 16)); err != nil {
			t.Fatal(err)
		}
		pid := r.snapshot.Pids[0]
		l.compare(pid, "kind", "marks", "unused", "numbers")
		want := pid
		want.HasTGID, want.HasSID = true, true
		want.Numbers, want.Namespace = l.numbers(level + 1)
		if diff := cmp.Diff(want, pid); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]collector.ID{pid.ID}, r.snapshot.IDR); diff != "" {
			t.Error(diff)
		}
	}
}

func TestLayoutNamespace(t *testing.T) {
	l := newLayout(t, "record_namespace")
	l.set("kind", recordNamespace)
	r := newRecords(nil, 0)
	if err := r.add(l.bytes); err != nil {
		t.Fatal(err)
	}
	l.compare(r.snapshot.Namespaces[0], "kind")
}

func TestLayoutReference(t *testing.T) {
	for use, kind := range referenceKinds {
		l := newLayout(t, "record_reference")
		l.set("kind", recordReference)
		l.set("use", uint32(use))
		name, _ := l.at("terminal")
		copy(l.bytes[name:], "pts7\x00junk")
		r := newRecords(nil, 0)
		if err := r.add(l.bytes); err != nil {
			t.Fatal(err)
		}
		want := collector.Reference{
			Kind: kind, Object: collector.ID(l.get("object")), Task: collector.ID(l.get("task")), FD: int32(l.get("fd")),
		}
		if kind.IsTerminal() {
			want.Terminal = "pts7"
		}
		if got := r.snapshot.References[0]; got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if err := r.add(l.bytes[:len(l.bytes)-1]); !errors.Is(err, errShort) {
			t.Errorf("short: %v", err)
		}
		l.set("use", uint32(len(referenceKinds)))
		if err := r.add(l.bytes); err == nil {
			t.Error("an unknown use is taken")
		}
	}
}

func TestLayoutUserNamespace(t *testing.T) {
	l := newLayout(t, "record_user_namespace")
	l.set("kind", recordUserNamespace)
	l.set("nr_uid", 36)
	l.set("nr_gid", 1)
	r := newRecords(nil, 0)
	if err := r.add(l.bytes); err != nil {
		t.Fatal(err)
	}
	u := r.userNamespaces[0]
	if flags := l.get("flags"); uint32(flags) != u.Flags {
		t.Errorf("flags: got %#x, want the lower half of %#x", u.Flags, flags)
	}
	l.compare(u.UserNamespace, "kind", "unused", "flags", "nr_uid", "nr_gid")

	// The maps come apart, in any order and more than once.
	id := uint64(u.ID)
	uid1, uid2 := extents(t, id, extentsUID, 0, 34), extents(t, id, extentsUID, 34, 2)
	for _, part := range [][]byte{uid2, uid1, uid2, extents(t, id, extentsGID, 0, 1)} {
		if err := r.add(part); err != nil {
			t.Fatal(err)
		}
	}
	s := r.finish()
	if len(s.UserNamespaces) != 1 {
		t.Fatalf("the user namespace is left out: %+v", r)
	}
	if got := s.UserNamespaces[0].UIDMap; len(got) != 36 || got[0] != got[34] {
		t.Errorf("uid map: %v", got)
	}
	if got := s.UserNamespaces[0].GIDMap; len(got) != 1 {
		t.Errorf("gid map: %v", got)
	}
}

// extents is a record_extents; each begins with the same extent.
func extents(t *testing.T, id uint64, which, first, count uint32) []byte {
	l := newLayout(t, "record_extents")
	l.set("kind", recordExtents)
	l.set("map", which)
	l.set("first", first)
	l.set("count", count)
	offset, _ := l.at("id")
	binary.LittleEndian.PutUint64(l.bytes[offset:], id)
	offset, _ = l.at("extents")
	e := newLayout(t, "record_extent")
	e.set("first", 1)
	e.set("lower", 2)
	e.set("count", 3)
	copy(l.bytes[offset:], e.bytes)
	b := l.until("extents", int(count), len(e.bytes))

	r := newRecords(nil, 0)
	if err := r.add(b); err != nil {
		t.Fatal(err)
	}
	m := r.maps[collector.ID(id)]
	got := append(m.uid, m.gid...)
	if want := (collector.Extent{First: 1, Lower: 2, Count: 3}); len(got) <= int(first) || got[first] != want {
		t.Fatalf("extent %d: got %v, want %v", first, got, want)
	}
	return b
}

// A map that was written while it was read is not a map.
func TestIncompleteUserNamespaceIsLeftOut(t *testing.T) {
	l := newLayout(t, "record_user_namespace")
	l.set("kind", recordUserNamespace)
	l.set("nr_uid", 2)
	l.set("nr_gid", 0)
	r := newRecords(nil, 0)
	if err := r.add(l.bytes); err != nil {
		t.Fatal(err)
	}
	if s := r.finish(); len(s.UserNamespaces) != 0 {
		t.Errorf("got %+v", s.UserNamespaces)
	}
}

// FuzzDecode: whatever is in the ring, decoding ends in records or an error,
// and what it took is as long as it says.
func FuzzDecode(f *testing.F) {
	for _, name := range []string{"record_task", "record_pid", "record_namespace", "record_user_namespace", "record_extents"} {
		l := newLayout(f, name)
		for kind := range uint32(7) {
			l.set("kind", kind)
			f.Add(l.bytes)
			f.Add(l.bytes[:len(l.bytes)/2])
		}
		l.set(map[string]string{
			"record_task": "pid_level", "record_pid": "level", "record_namespace": "level",
			"record_user_namespace": "level", "record_extents": "count",
		}[name], 1)
		f.Add(l.bytes)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := newRecords(nil, 0)
		before := append([]byte(nil), b...)
		err := r.add(b)
		if !bytes.Equal(before, b) {
			t.Fatal("the record was written to")
		}
		s := r.finish()
		added := len(s.Tasks) + len(s.Pids) + len(s.Namespaces) + len(r.userNamespaces) + len(r.maps)
		if (err == nil) != (added > 0) {
			t.Fatalf("%v, and %d added", err, added)
		}
		for _, p := range s.Pids {
			if len(p.Numbers) != p.Level+1 || len(b) < 16*len(p.Numbers) {
				t.Fatalf("level %d, %d numbers from %d bytes", p.Level, len(p.Numbers), len(b))
			}
		}
		if err == nil && r.add(append(b, 0)) == nil {
			t.Fatal("a byte too many was taken")
		}
	})
}

// Numbers in namespaces that are not those above the object's own are noticed,
// whether another object of the namespace has others or the namespaces say so.
func TestMisnumbered(t *testing.T) {
	const root, middle, other, inner = 10, 20, 21, 30
	object := func(id uint64, namespaces ...uint64) []byte {
		b := make([]byte, pidHead, pidHead+numberSize*len(namespaces))
		binary.LittleEndian.PutUint32(b, recordPid)
		binary.LittleEndian.PutUint64(b[8:], id)
		binary.LittleEndian.PutUint32(b[16:], uint32(len(namespaces)-1))
		for _, ns := range namespaces {
			b = binary.LittleEndian.AppendUint64(b, 7)
			b = binary.LittleEndian.AppendUint64(b, ns)
		}
		return b
	}
	for name, test := range map[string]struct {
		objects [][]byte
		want    []collector.ID
	}{
		"as they should be":      {[][]byte{object(1, root), object(2, root, middle, inner), object(3, root, middle), object(4, root, middle, inner)}, nil},
		"one is another":         {[][]byte{object(1, root, middle, inner), object(2, root, middle), object(3, root, other, inner)}, []collector.ID{3}},
		"of another length":      {[][]byte{object(1, root, middle, inner), object(3, middle, inner)}, []collector.ID{3}},
		"the only one is wrong":  {[][]byte{object(1, root), object(3, root, other, inner)}, []collector.ID{3}},
		"above the initial one":  {[][]byte{object(1, root), object(3, middle)}, []collector.ID{3}},
		"nothing is known above": {[][]byte{object(3, 98, 99)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRecords(nil, 0)
			for _, o := range test.objects {
				if err := r.add(o); err != nil {
					t.Fatal(err)
				}
			}
			for id, parent := range map[collector.ID]collector.ID{root: 0, middle: root, other: root, inner: middle} {
				r.snapshot.Namespaces = append(r.snapshot.Namespaces, collector.Namespace{ID: id, Parent: parent})
			}
			if got := r.finish().Misnumbered; !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
