// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/pidgraft/pidgraft/audit/event"
	"github.com/pidgraft/pidgraft/bpf"
)

// eventLayout is newLayout for the other object.
func eventLayout(t testing.TB, name string) *layout {
	t.Helper()
	spec, err := bpf.LoadAudit()
	if err != nil {
		t.Fatal(err)
	}
	var s *btf.Struct
	if err := spec.Types.TypeByName(name, &s); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	l := &layout{t: t, s: s, bytes: make([]byte, s.Size)}
	random := rand.New(rand.NewPCG(3, 4))
	for i := range l.bytes {
		l.bytes[i] = byte(random.Uint32())
	}
	return l
}

// Every field of an event is where the programs write it, and none is forgotten.
func TestLayoutEvent(t *testing.T) {
	l := eventLayout(t, "event")
	head, creator := eventLayout(t, "event_head"), eventLayout(t, "event_creator")
	head.set("kind", uint32(event.Birth))
	copyTo := func(field string, b []byte) {
		offset, size := l.at(field)
		if size != len(b) {
			t.Fatalf("%s has %d bytes, want %d", field, size, len(b))
		}
		copy(l.bytes[offset:], b)
	}
	copyTo("head", head.bytes)
	copyTo("creator", creator.bytes)
	l.set("marks", eventSubreaper)
	l.set("level", 3)
	e, err := decodeEvent(l.until("numbers", 4, 16))
	if err != nil {
		t.Fatal(err)
	}
	same := func(l *layout, known map[string]uint64, others ...string) {
		t.Helper()
		for _, name := range others {
			known[name] = 0
		}
		for _, m := range l.s.Members {
			got, ok := known[m.Name]
			if !ok {
				t.Errorf("struct %s: %s is not decoded", l.s.Name, m.Name)
				continue
			}
			delete(known, m.Name)
			skip := false
			for _, name := range others {
				skip = skip || name == m.Name
			}
			if _, size := l.at(m.Name); size == 4 {
				got &= 0xffffffff
			}
			if want := uint64(0); !skip {
				if want = l.get(m.Name); got != want {
					t.Errorf("struct %s: %s: got %#x, want %#x", l.s.Name, m.Name, got, want)
				}
			}
		}
		for name := range known {
			t.Errorf("struct %s has no %s", l.s.Name, name)
		}
	}
	task := e.Task
	same(head, map[string]uint64{
		"kind": uint64(e.Kind), "cpu": uint64(e.CPU), "when": e.When, "lost": e.Lost,
		"task": uint64(task.ID), "start_time": task.StartTime,
	})
	same(l, map[string]uint64{
		"pid": uint64(task.Pid), "tgid": uint64(task.Process), "pgid": uint64(task.Group), "sid": uint64(task.Session),
		"parent": uint64(task.Parent), "parent_tgid": uint64(task.ParentProcess),
		"child_namespace": uint64(task.ChildNamespace), "child_inode": uint64(task.ChildInode), "detail": e.Detail,
		"exit_state": uint64(task.ExitState), "task_flags": uint64(task.Flags),
		"exit_code": uint64(task.ExitCode), "exit_signal": uint64(task.ExitSignal),
		"tgid_nr": uint64(task.ProcessNr), "pgid_nr": uint64(task.GroupNr), "sid_nr": uint64(task.SessNr),
		"uid": uint64(task.UID),
	}, "head", "creator", "marks", "comm", "level", "unused", "numbers")
	c := e.Creator
	same(creator, map[string]uint64{
		"task": uint64(c.ID), "ns": uint64(c.Namespace), "inode": uint64(c.Inode), "nr": uint64(c.Nr),
		"host_nr": uint64(c.HostNr), "uid": uint64(c.UID),
	}, "comm")
	if !task.Subreaper || len(task.Numbers) != 4 {
		t.Errorf("subreaper %v, numbers %v", task.Subreaper, task.Numbers)
	}
	offset, _ := l.at("numbers")
	number := eventLayout(t, "event_number")
	for i, n := range task.Numbers {
		copy(number.bytes, l.bytes[offset+i*len(number.bytes):])
		same(number, map[string]uint64{"nr": uint64(n.Nr), "inode": uint64(n.Inode), "ns": uint64(n.Namespace)})
	}

	// A Free one is only a head; anything shorter, deeper or of another kind is
	// none.
	head.set("kind", uint32(event.Free))
	if e, err := decodeEvent(head.bytes); err != nil || e.Kind != event.Free || e.Task.Pid != 0 {
		t.Errorf("%+v, %v", e, err)
	}
	binary.LittleEndian.PutUint32(l.bytes, uint32(event.Exec))
	for n := range l.until("numbers", 4, 16) {
		if _, err := decodeEvent(l.bytes[:n]); err == nil {
			t.Fatalf("%d bytes are an event", n)
		}
	}
	l.set("level", maxLevel+1)
	if _, err := decodeEvent(l.bytes); err == nil {
		t.Error("an event may be too deep")
	}
	for _, kind := range []uint32{0, uint32(event.Refresh) + 1} {
		binary.LittleEndian.PutUint32(l.bytes, kind)
		if _, err := decodeEvent(l.bytes); err == nil {
			t.Errorf("kind %d is taken", kind)
		}
	}
}
