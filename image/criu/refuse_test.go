// SPDX-License-Identifier: Apache-2.0

package criu

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	criucore "github.com/checkpoint-restore/go-criu/v8/crit/images/criu-core"
	"github.com/checkpoint-restore/go-criu/v8/crit/images/inventory"
	"github.com/checkpoint-restore/go-criu/v8/crit/images/pstree"
	"github.com/checkpoint-restore/go-criu/v8/crit/images/userns"
	"google.golang.org/protobuf/proto"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/forest/foresttest"
)

// dir are files by name, each in the making.
type dir map[string][]proto.Message

// small is what CRIU writes of the container foresttest.Small.
func small() dir {
	entry := func(pid, ppid uint32) proto.Message {
		return &pstree.PstreeEntry{
			Pid: proto.Uint32(pid), Ppid: proto.Uint32(ppid), Pgid: proto.Uint32(1), Sid: proto.Uint32(1), Threads: []uint32{pid},
		}
	}
	w := &writer{f: foresttest.Small(), container: true}
	core := func(i int) proto.Message {
		t := &w.f.Tasks[i]
		return &criucore.CoreEntry{
			Mtype: criucore.CoreEntry_X86_64.Enum(),
			Tc: &criucore.TaskCoreEntry{
				TaskState: proto.Uint32(taskAlive), ExitCode: proto.Uint32(0), Personality: proto.Uint32(0), Flags: proto.Uint32(0),
				BlkSigset: proto.Uint64(0), Comm: proto.String(t.Comm),
			},
			ThreadCore: &criucore.ThreadCoreEntry{FutexRla: proto.Uint64(0), FutexRlaLen: proto.Uint32(0), Creds: w.creds(t)},
		}
	}
	return dir{
		"inventory.img": {&inventory.InventoryEntry{ImgVersion: proto.Uint32(imagesV11), RootIds: idsEntry(1, 1, 2)}},
		"pstree.img":    {entry(1, 0), entry(2, 1)},
		"core-1.img":    {core(0)}, "core-2.img": {core(1)},
		"ids-1.img": {idsEntry(2, 3, 2)}, "ids-2.img": {idsEntry(3, 3, 2)},
	}
}

func (d dir) fs(t testing.TB) fstest.MapFS {
	m := fstest.MapFS{}
	for name, entries := range d {
		k, _, ok := parseName(name)
		if !ok {
			t.Fatal(name)
		}
		b, err := k.encode(entries...)
		if err != nil {
			t.Fatal(err)
		}
		m[name] = &fstest.MapFile{Data: b}
	}
	return m
}

func (d dir) process(i int) *pstree.PstreeEntry { return d["pstree.img"][i].(*pstree.PstreeEntry) }
func (d dir) core(n int) *criucore.CoreEntry {
	return d[fmt.Sprintf("core-%d.img", n)][0].(*criucore.CoreEntry)
}
func (d dir) ids(n int) *criucore.TaskKobjIdsEntry {
	return d[fmt.Sprintf("ids-%d.img", n)][0].(*criucore.TaskKobjIdsEntry)
}
func (d dir) inventory() *inventory.InventoryEntry {
	return d["inventory.img"][0].(*inventory.InventoryEntry)
}

// TestRefused: each thing that is wrong is named, with the file it is in.
func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change     func(dir)
		file, want string
	}{
		"no inventory":       {func(d dir) { delete(d, "inventory.img") }, "inventory.img", "missing"},
		"version":            {func(d dir) { d.inventory().ImgVersion = proto.Uint32(3) }, "inventory.img", "version 3"},
		"no root ids":        {func(d dir) { d.inventory().RootIds = nil }, "inventory.img", "root_ids"},
		"two inventories":    {func(d dir) { d["inventory.img"] = append(d["inventory.img"], d.inventory()) }, "inventory.img", "goes on"},
		"no pstree":          {func(d dir) { delete(d, "pstree.img") }, "pstree.img", "missing"},
		"empty pstree":       {func(d dir) { d["pstree.img"] = nil }, "pstree.img", "no process"},
		"no core":            {func(d dir) { delete(d, "core-2.img") }, "core-2.img", "pstree.img has process 2"},
		"empty core":         {func(d dir) { d["core-2.img"] = nil }, "core-2.img", "cut short"},
		"core of a thread":   {func(d dir) { d.core(2).Tc = nil }, "core-2.img", "nothing of the process"},
		"no creds":           {func(d dir) { d.core(2).ThreadCore.Creds = nil }, "core-2.img", "whose the task is"},
		"no thread core":     {func(d dir) { d.core(2).ThreadCore = nil }, "core-2.img", "whose the task is"},
		"state":              {func(d dir) { d.core(2).Tc.TaskState = proto.Uint32(6) }, "core-2.img", "state is 6"},
		"root dead":          {func(d dir) { d.core(1).Tc.TaskState = proto.Uint32(taskDead) }, "core-1.img", "root is dead"},
		"stopped by TERM":    {func(d dir) { d.core(2).Tc.TaskState, d.core(2).Tc.StopSigno = proto.Uint32(3), proto.Uint32(15) }, "core-2.img", "stopped by signal 15"},
		"killed by STOP":     {func(d dir) { d.core(2).Tc.TaskState, d.core(2).Tc.ExitCode = proto.Uint32(2), proto.Uint32(19) }, "core-2.img", "exit code is 0x13"},
		"long name":          {func(d dir) { d.core(2).Tc.Comm = proto.String("0123456789abcdef") }, "core-2.img", "16 bytes"},
		"uid":                {func(d dir) { d.core(2).ThreadCore.Creds.Uid = proto.Uint32(1<<32 - 1) }, "core-2.img", "uid 4294967295"},
		"death signal":       {func(d dir) { d.core(2).ThreadCore.PdeathSig = proto.Uint32(1 << 31) }, "core-2.img", "parent-death signal"},
		"no ids of the root": {func(d dir) { delete(d, "ids-1.img") }, "ids-1.img", "missing"},
		"pid namespace":      {func(d dir) { d.ids(2).PidNsId = proto.Uint32(9) }, "ids-2.img", "pid namespace other than the root's"},
		"user namespace":     {func(d dir) { d.ids(2).UserNsId = proto.Uint32(9) }, "ids-2.img", "user namespace other than the root's"},
		"no maps":            {func(d dir) { d.ids(1).UserNsId, d.ids(2).UserNsId = proto.Uint32(9), proto.Uint32(9) }, "userns-9.img", "id maps"},
		"unmapped": {func(d dir) {
			d.ids(1).UserNsId, d.ids(2).UserNsId = proto.Uint32(9), proto.Uint32(9)
			d["userns-9.img"] = []proto.Message{&userns.UsernsEntry{}}
		}, "core-1.img", "uid is 0, for which userns-9.img has no line"},
		"number 0":          {func(d dir) { d.process(1).Pid = proto.Uint32(0) }, "pstree.img", "entry 2 is of process 0"},
		"high number":       {func(d dir) { d.process(1).Pid = proto.Uint32(1 << 22) }, "pstree.img", "process 4194304"},
		"high group":        {func(d dir) { d.process(1).Pgid = proto.Uint32(1 << 22) }, "pstree.img", "process 2 is in group 4194304"},
		"high session":      {func(d dir) { d.process(1).Sid = proto.Uint32(1<<32 - 1) }, "pstree.img", "process 2 is in session 4294967295"},
		"twice":             {func(d dir) { d.process(1).Pid = proto.Uint32(1) }, "pstree.img", "process 1 is there twice"},
		"root's parent":     {func(d dir) { d.process(0).Ppid = proto.Uint32(2) }, "pstree.img", "has parent 2"},
		"two roots":         {func(d dir) { d.process(1).Ppid = proto.Uint32(0) }, "pstree.img", "process 2 has no parent"},
		"parent later":      {func(d dir) { d.process(1).Ppid = proto.Uint32(2) }, "pstree.img", "which does not come before it"},
		"no threads":        {func(d dir) { d.process(1).Threads = nil }, "pstree.img", "first in the list of its threads"},
		"thread first":      {func(d dir) { d.process(1).Threads = []uint32{3, 2} }, "pstree.img", "first in the list of its threads"},
		"thread 0":          {func(d dir) { d.process(1).Threads = []uint32{2, 0} }, "pstree.img", "has thread 0"},
		"thread twice":      {func(d dir) { d.process(1).Threads = []uint32{2, 2} }, "pstree.img", "number 2 is there twice"},
		"thread of another": {func(d dir) { d.process(1).Threads = []uint32{2, 1} }, "pstree.img", "number 1 is there twice"},
		"no core of one":    {func(d dir) { d.process(1).Threads = []uint32{2, 3} }, "core-3.img", "thread 3 of process 2"},
		"dead with threads": {func(d dir) {
			d.core(2).Tc.TaskState = proto.Uint32(2)
			d.process(1).Threads = []uint32{2, 3}
		}, "core-2.img", "has 2 threads"},
		"outside in a container": {func(d dir) { d.process(1).Sid, d.process(1).Pgid = proto.Uint32(0), proto.Uint32(0) }, "core-2.img", "outside the container"},
		"group of a session":     {func(d dir) { d.process(1).Pgid, d.process(1).Sid = proto.Uint32(1), proto.Uint32(7) }, "core-2.img", "group 1 is in session 1"},
	} {
		t.Run(name, func(t *testing.T) {
			d := small()
			if _, err := Read(d.fs(t)); err != nil {
				t.Fatalf("without the change: %v", err)
			}
			c.change(d)
			_, err := Read(d.fs(t))
			var e *Error
			if !errors.As(err, &e) || e.File != c.file || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s: %s", err, c.file, c.want)
			}
		})
	}
}

// TestFraming: what is wrong with a file's bytes.
func TestFraming(t *testing.T) {
	u32 := binary.LittleEndian.AppendUint32
	for name, c := range map[string]struct {
		change func([]byte) []byte
		want   string
	}{
		"nothing":      {func([]byte) []byte { return nil }, "cut short"},
		"half a magic": {func(b []byte) []byte { return b[:6] }, "cut short"},
		"no entry":     {func(b []byte) []byte { return b[:8] }, "cut short"},
		"half a size":  {func(b []byte) []byte { return b[:10] }, "cut short"},
		"half a core":  {func(b []byte) []byte { return b[:len(b)-1] }, "cut short"},
		"other magic":  {func(b []byte) []byte { return u32(b[:4:4], pstreeKind.magic) }, "its magic is 0x50273030, and that of core-0.img is 0x55053847"},
		"a large size": {func(b []byte) []byte { return u32(b[:8:8], 1<<32-1) }, "4294967295 bytes"},
		"no message":   {func(b []byte) []byte { return append(u32(b[:8:8], 2), 0xff, 0xff) }, "not what it should be"},
		"an empty one": {func(b []byte) []byte { return u32(b[:8:8], 0) }, "not what it should be"},
		"more":         {func(b []byte) []byte { return append(slices.Clip(b), 0, 0, 0, 0) }, "goes on after its only entry"},
	} {
		m := small().fs(t)
		m["core-2.img"].Data = c.change(m["core-2.img"].Data)
		_, err := Read(m)
		var e *Error
		if !errors.As(err, &e) || e.File != "core-2.img" || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if (c.want == "cut short") != errors.Is(err, ErrTruncated) {
			t.Errorf("%s: is it cut short? %v", name, err)
		}
	}
	m := small().fs(t)
	m["core-2.img"].Mode = fs.ModeNamedPipe
	if _, err := Read(m); err == nil || !strings.Contains(err.Error(), "core-2.img: it is no regular file") {
		t.Errorf("a pipe: %v", err)
	}
}

// TestFacts: what CRIU writes and a forest says otherwise.
func TestFacts(t *testing.T) {
	for name, c := range map[string]struct {
		change func(dir)
		want   func(*forest.Forest) bool
	}{
		// Before 2.0 there was one magic in each file; it is all the same.
		"images of version 1": {func(d dir) { d.inventory().ImgVersion = proto.Uint32(imagesV1) }, func(f *forest.Forest) bool { return true }},
		// The number of a dead process's thread is what was in memory.
		"a zombie's thread": {func(d dir) {
			d.core(2).Tc.TaskState, d.core(2).Tc.ExitCode, d.core(2).ThreadCore = proto.Uint32(2), proto.Uint32(3<<8), nil
			d.process(1).Threads = []uint32{1<<32 - 1}
			delete(d, "ids-2.img")
		}, func(f *forest.Forest) bool {
			t := f.Tasks[1]
			return t.State == forest.Zombie && t.WaitStatus() == 3<<8 && f.Pid(t.Pid).Number() == 2
		}},
		// 3.17 does not say by which signal.
		"a stop of 3.17": {func(d dir) { d.core(2).Tc.TaskState = proto.Uint32(3) }, func(f *forest.Forest) bool {
			return f.Tasks[1].State == forest.Stopped && f.Tasks[1].StopSignal == 19
		}},
		"a stop of 4.2": {func(d dir) { d.core(2).Tc.TaskState, d.core(2).Tc.StopSigno = proto.Uint32(3), proto.Uint32(21) }, func(f *forest.Forest) bool {
			return f.Tasks[1].StopSignal == 21
		}},
		"ids in the core": {func(d dir) { d.core(1).Ids = d.ids(1); delete(d, "ids-1.img"); delete(d, "ids-2.img") }, func(f *forest.Forest) bool { return true }},
		"a session whose leader is gone": {func(d dir) { d.process(1).Sid, d.process(1).Pgid = proto.Uint32(7), proto.Uint32(9) }, func(f *forest.Forest) bool {
			t := f.Tasks[1]
			return f.Pid(t.SID).Number() == 7 && f.Pid(t.PGID).Number() == 9 && f.Namespaces[0].Cursor == 10
		}},
		"a shell job": {func(d dir) {
			d.process(0).Pid, d.process(0).Pgid, d.process(0).Sid, d.process(0).Threads = proto.Uint32(310), proto.Uint32(310), proto.Uint32(300), []uint32{310}
			d.process(1).Ppid, d.process(1).Pgid, d.process(1).Sid = proto.Uint32(310), proto.Uint32(300), proto.Uint32(300)
			d["core-310.img"], d["ids-310.img"] = d["core-1.img"], d["ids-1.img"]
		}, func(f *forest.Forest) bool {
			r, c := f.Tasks[0], f.Tasks[1]
			return f.Mode == forest.Subtree && r.PGID == r.Pid && r.SID == forest.Inherited && c.SID == forest.Inherited &&
				c.PGID == forest.Inherited && len(f.Inexact) == 0
		}},
		"two groups from outside": {func(d dir) {
			d.process(0).Pid, d.process(0).Pgid, d.process(0).Sid, d.process(0).Threads = proto.Uint32(310), proto.Uint32(305), proto.Uint32(300), []uint32{310}
			d.process(1).Ppid, d.process(1).Pgid, d.process(1).Sid = proto.Uint32(310), proto.Uint32(300), proto.Uint32(300)
			d["core-310.img"], d["ids-310.img"] = d["core-1.img"], d["ids-1.img"]
		}, func(f *forest.Forest) bool {
			return len(f.Inexact) == 1 && strings.Contains(f.Inexact[0], "process 2")
		}},
		"threads without names": {func(d dir) {
			d.process(1).Threads = []uint32{2, 3, 4}
			d["core-3.img"], d["core-4.img"] = []proto.Message{proto.Clone(d.core(2))}, []proto.Message{proto.Clone(d.core(2))}
			d.core(3).Tc, d.core(4).Tc = nil, nil
			d.core(4).ThreadCore.Comm = proto.String("worker")
		}, func(f *forest.Forest) bool {
			return f.Tasks[2].Comm == "sh" && f.Tasks[3].Comm == "worker" && f.Tasks[3].TGID == f.Tasks[1].Pid
		}},
	} {
		d := small()
		c.change(d)
		f, err := Read(d.fs(t))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !c.want(f) {
			t.Errorf("%s: %+v %q", name, f.Tasks, f.Inexact)
		}
	}
}
