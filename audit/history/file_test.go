// SPDX-License-Identifier: Apache-2.0

package history

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"runtime"
	"strings"
	"testing"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/forest/foresttest"
)

// sample is of a root that bore a and b; b's child, which is gone, led a session
// and bore c and another that bore d.
func sample() *File {
	return &File{
		Header: Header{Boot: [16]byte{1, 2}, Namespace: 7, Level: 1, Boottime: 1000, Lost: 3},
		Entries: []Entry{
			{Key: Key{7, 1}, Start: 10, Parent: Unknown, Session: Unknown, Group: Unknown},
			{Key: Key{7, 2}, Start: 20, Parent: 0, Session: 0, Group: 0, Marks: Seen, Born: 19, Led: 30},
			{Key: Key{7, 3}, Start: 30, Parent: 0, Session: 0, Group: 0, Marks: Seen, Born: 29, Moved: 31, Entered: 32},
			{Key: Key{7, 4}, Start: 40, Parent: 2, Session: 0, Group: Unknown, Marks: Seen | Dead | Ghost, Born: 39},
			{Key: Key{7, 5}, Start: 50, Parent: 3, Session: 3, Group: 3, Marks: Seen, Born: 49},
			{Key: Key{7, 7}, Start: 70, Parent: 3, Between: 1, Session: 3, Group: 3, Marks: Seen, Born: 69},
			{Key: Key{7, 8}, Start: 80, Parent: Outside, Session: Outside, Group: Outside, Marks: Seen, Born: 79},
		},
	}
}

// sealed makes the checksum right.
func sealed(b []byte) []byte {
	if len(b) < 4 {
		return b
	}
	body := b[: len(b)-4 : len(b)-4]
	return binary.LittleEndian.AppendUint32(body, crc32.Checksum(body, castagnoli))
}

func TestDecode(t *testing.T) {
	b := sample().Encode()
	if f, err := Decode(b); err != nil || !bytes.Equal(f.Encode(), b) {
		t.Fatal(err)
	}
	for n := range b {
		if _, err := Decode(b[:n]); !errors.Is(err, ErrInvalid) {
			t.Fatalf("%d bytes of it: %v", n, err)
		}
		flipped := bytes.Clone(b)
		flipped[n] ^= 0x10
		if _, err := Decode(flipped); !errors.Is(err, ErrInvalid) {
			t.Fatalf("byte %d is another: %v", n, err)
		}
	}
	for name, test := range map[string]struct {
		change func(*File)
		why    string
	}{
		"number":             {func(f *File) { f.Entries[1].Nr = 0 }, "its number"},
		"twice":              {func(f *File) { f.Entries[2].Nr = 2 }, "entry 1 has that number too"},
		"marks":              {func(f *File) { f.Entries[1].Marks = 8 }, "unknown marks"},
		"a ghost that lives": {func(f *File) { f.Entries[3].Marks = Seen | Ghost }, "unknown marks"},
		"own parent":         {func(f *File) { f.Entries[2].Parent = 2 }, "does not come before it"},
		"cycle":              {func(f *File) { f.Entries[2].Parent = 3 }, "does not come before it"},
		"no such parent":     {func(f *File) { f.Entries[2].Parent = -3 }, "does not come before it"},
		"between nobody":     {func(f *File) { f.Entries[0].Between = 1 }, "between it and nobody"},
		"own session":        {func(f *File) { f.Entries[2].Session = 2 }, "in session 2"},
		"no such group":      {func(f *File) { f.Entries[2].Group = 7 }, "group 7, of 7"},
		"unseen birth":       {func(f *File) { f.Entries[1].Marks = 0 }, "was not seen"},
		"older":              {func(f *File) { f.Entries[2].Start = 9 }, "older than who bore it"},
	} {
		f := sample()
		test.change(f)
		if _, err := Decode(f.Encode()); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), test.why) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A claim costs nothing.
	claim := bytes.Clone(b[:headSize+4])
	binary.LittleEndian.PutUint32(claim[headSize-4:], 1<<31)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := Decode(sealed(claim))
	runtime.ReadMemStats(&after)
	if err == nil || after.TotalAlloc-before.TotalAlloc > 1<<20 {
		t.Errorf("%v, %d bytes", err, after.TotalAlloc-before.TotalAlloc)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(sample().Encode())
	f.Add(sample().Encode()[:headSize+4])
	f.Fuzz(func(t *testing.T, b []byte) {
		b = sealed(b)
		h, err := Decode(b)
		if err != nil {
			return
		}
		if !bytes.Equal(h.Encode(), b) {
			t.Fatal("it does not come back as it was")
		}
		// What is accepted can be gone on from, and held against any forest.
		tr := NewTracker()
		tr.Load(h)
		for _, to := range []*forest.Forest{foresttest.Sample(), living()} {
			if _, err := h.Tell(to); err == nil {
				if err := forest.Validate(to); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// living is what became of sample: c and d are children of the root by now, in the
// session whose leader is gone; another was born since, of whom nothing is known.
func living() *forest.Forest {
	f := &forest.Forest{
		UserNamespaces: []forest.UserNamespace{{Parent: -1, Setgroups: true}},
		Namespaces:     []forest.Namespace{{Parent: -1, Cursor: 9, Inode: 7}},
	}
	add := func(nr int32) forest.Tag {
		f.Pids = append(f.Pids, forest.Pid{Numbers: []int32{nr}})
		return forest.Tag(len(f.Pids))
	}
	task := func(nr int32, start uint64, parent, group, session forest.Tag) forest.Tag {
		pid := add(nr)
		if group == 0 {
			group, session = pid, pid
		}
		f.Tasks = append(f.Tasks, forest.Task{
			Pid: pid, TGID: pid, PGID: group, SID: session, Parent: parent, ParentThread: parent,
			ExitSignal: forest.SIGCHLD, ChildNamespace: forest.SameNamespace, StartTime: start, Comm: "t",
		})
		return pid
	}
	root := task(1, 10, 0, 0, 0)
	task(2, 20, root, 0, 0)
	task(3, 30, root, root, root)
	ghost := add(4)
	task(5, 50, root, ghost, ghost)
	task(7, 70, root, ghost, ghost)
	task(9, 2000, root, root, root)
	return f
}

func TestTell(t *testing.T) {
	f := living()
	if err := forest.Validate(f); err != nil {
		t.Fatal(err)
	}
	told, err := sample().Tell(f)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Told{Processes: 6, Born: 4, Departed: 1}); told != want {
		t.Errorf("told %+v, want %+v", told, want)
	}
	tag := func(i int) forest.Tag { return f.Tasks[i].Pid }
	ghost := f.Tasks[3].SID
	want := []forest.Origin{
		forest.Unknown(),
		{By: tag(0), Departed: -1, Session: tag(0), Group: tag(0)},
		{By: tag(0), Departed: -1, Session: tag(0), Group: tag(0)},
		{By: forest.Null, Departed: 0, Session: ghost, Group: ghost},
		{By: forest.Null, Departed: 0, Between: 1, Session: ghost, Group: ghost},
		forest.Unknown(),
	}
	for i := range want {
		if f.Origins[i] != want[i] {
			t.Errorf("%s: %+v, want %+v", f.TaskName(i), f.Origins[i], want[i])
		}
	}
	if d := (forest.Departed{Origin: forest.Origin{By: tag(2), Departed: -1, Session: tag(0), Group: forest.Null}, Object: ghost}); len(f.Departed) != 1 || f.Departed[0] != d {
		t.Errorf("departed %+v, want %+v", f.Departed, d)
	}
}

// What the forest cannot have come from is not believed, and the forest stays as it
// was.
func TestTellContradiction(t *testing.T) {
	for name, test := range map[string]struct {
		history func(*File)
		forest  func(*forest.Forest)
		is      error
		why     string
	}{
		"another time": {func(f *File) { f.Entries[0].Start = 11; f.Entries[0].Nr = 1 }, nil, ErrOther, "does not know task 1 (t)"},
		"another namespace": {func(f *File) {
			for i := range f.Entries {
				f.Entries[i].Inode = 8
			}
		}, nil, ErrOther, "does not know"},
		"another session": {nil, func(f *forest.Forest) { f.Tasks[3].PGID, f.Tasks[3].SID = f.Tasks[0].Pid, f.Tasks[0].Pid }, ErrContradicts,
			"task 5 (t): it was born in session 4, and is in session 1"},
		"session of nobody": {func(f *File) { f.Entries[4].Session, f.Entries[5].Session = Outside, Outside }, nil, ErrContradicts, "not in the forest"},
		"parent": {func(f *File) { f.Entries[4].Parent, f.Entries[4].Between = Outside, 0 }, func(f *forest.Forest) {
			f.Tasks[3].Parent, f.Tasks[3].ParentThread = f.Tasks[2].Pid, f.Tasks[2].Pid
		}, ErrContradicts, "it descends from others only"},
		"from the future": {func(f *File) { f.Boottime = 60 }, nil, ErrContradicts, "task 7 (t): it was born after the history was written"},
	} {
		h, f := sample(), living()
		if test.history != nil {
			test.history(h)
		}
		if test.forest != nil {
			test.forest(f)
		}
		if _, err := h.Tell(f); !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.why) {
			t.Errorf("%s: %v", name, err)
		}
		if len(f.Origins)+len(f.Departed) > 0 {
			t.Errorf("%s: it was told all the same", name)
		}
	}
}
