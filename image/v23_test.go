// SPDX-License-Identifier: Apache-2.0

package image

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/pidgraft/pidgraft/forest/foresttest"
)

// This is a reader of linux-cr's part of an image, written from its headers of
// 2011 alone and sharing nothing with the codec: C structs as Go structs, with
// the padding that aligned(8) gives. It is as strict as user-cr's restart was.

type v23Hdr struct{ Type, Len uint32 }

type v23Header struct {
	Magic                         uint64
	Arch, Major, Minor, Patch, Rv uint16
	_                             [6]byte
	TaskCommLen, AtVectorSize     uint16
	SignalNsig                    uint16
	UtsSysname, UtsNodename       uint16
	UtsRelease, UtsVersion        uint16
	UtsMachine, UtsDomainname     uint16
	RlimitNlimits                 uint16
	NTTYBufSize, TTYTermiosNccs   uint16
	Time, Uflags                  uint64
}

type v23Pids struct {
	NrPids, NrVpids, Offset uint32
	_                       [4]byte
}

type v23Tree struct {
	NrTasks uint32
	_       [4]byte
}

type v23TaskPids struct {
	Vpid, Vppid, Vtgid, Vpgid, Vsid int32
	Depth                           uint32
}

// v23 is what the original's reader would know of an image.
type v23 struct {
	header                    v23Header
	release, version, machine string
	pids                      [][]int32
	tasks                     []v23TaskPids
	types                     []uint32 // of the records after the tree
}

const v23Buf = 4096 // BUFSIZE of user-cr: what its reader takes for a small record

func readV23(r io.Reader) (im *v23, err error) {
	defer func() {
		if p := recover(); p != nil {
			im, err = nil, fmt.Errorf("%v", p)
		}
	}()
	im = &v23{}
	object := func(typ uint32, limit int) *bytes.Reader {
		var h v23Hdr
		check(binary.Read(r, binary.LittleEndian, &h))
		if h.Type != typ || h.Len < 8 || (limit > 0 && int(h.Len) > limit) {
			panic(fmt.Sprintf("record %d of %d bytes where %d is expected", h.Type, h.Len, typ))
		}
		b := make([]byte, h.Len-8)
		_, err := io.ReadFull(r, b)
		check(err)
		return bytes.NewReader(b)
	}
	value := func(from *bytes.Reader, v any) {
		check(binary.Read(from, binary.LittleEndian, v))
		if from.Len() != 0 {
			panic("a struct of another size")
		}
	}
	value(object(1, 72), &im.header)
	for _, s := range []struct {
		to  *string
		len uint16
	}{{&im.release, im.header.UtsRelease}, {&im.version, im.header.UtsVersion}, {&im.machine, im.header.UtsMachine}} {
		b, _ := io.ReadAll(object(4, v23Buf))
		if len(b) != int(s.len) {
			panic("a string of uname of another length")
		}
		*s.to, _, _ = strings.Cut(string(b), "\x00")
	}
	object(2, v23Buf) // arch
	object(3, v23Buf) // container
	object(4, v23Buf) // LSM name
	object(7, 200)    // LSM info

	var pids v23Pids
	value(object(101, v23Buf), &pids)
	array := object(4, 0)
	if array.Len() != int(8*pids.NrPids+4*pids.NrVpids) {
		panic("a pids array of another length")
	}
	sum := uint32(0)
	for range pids.NrPids {
		var depth uint32
		check(binary.Read(array, binary.LittleEndian, &depth))
		numbers := make([]int32, depth+1)
		check(binary.Read(array, binary.LittleEndian, numbers))
		im.pids = append(im.pids, numbers)
		sum += depth
	}
	if sum != pids.NrVpids || array.Len() != 0 || pids.Offset != 1 {
		panic("a pids array that does not add up")
	}
	var tree v23Tree
	value(object(102, v23Buf), &tree)
	im.tasks = make([]v23TaskPids, tree.NrTasks)
	value(object(4, 0), im.tasks)

	// From here on the original only passes records along.
	for {
		var h v23Hdr
		if err := binary.Read(r, binary.LittleEndian, &h); err == io.EOF {
			return im, nil
		} else {
			check(err)
		}
		if h.Len < 8 {
			panic("invalid record")
		}
		_, err := io.CopyN(io.Discard, r, int64(h.Len)-8)
		check(err)
		im.types = append(im.types, h.Type)
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func TestOriginalReaderCanWalk(t *testing.T) {
	f := foresttest.Sample()
	im, err := readV23(bytes.NewReader(encode(t, f)))
	if err != nil {
		t.Fatal(err)
	}
	h := im.header
	if h.Magic != 0x00feed0cc0a2d200 || h.Rv != 6 || h.Arch != 2 || h.Major != 6 || h.Minor != 18 || h.Patch != 5 ||
		h.TaskCommLen != 16 || h.SignalNsig != 64 || h.Time != 1_700_000_000 || h.Uflags != 0 {
		t.Errorf("header: %+v", h)
	}
	if im.release != "6.18.5-cloud-amd64" || im.version != "#1 SMP PREEMPT_DYNAMIC" || im.machine != "x86_64" {
		t.Errorf("uname: %q %q %q", im.release, im.version, im.machine)
	}
	// The sample as its author wrote it: numbers in order of appearance.
	want := [][]int32{
		{1}, {7}, {9}, {6}, {19}, {18, 1}, {11, 1}, {12, 2, 1}, {13, 3}, {8}, {20}, {10}, {5}, {14}, {15}, {16, 1}, {17, 2},
	}
	if !slices.EqualFunc(im.pids, want, slices.Equal[[]int32]) {
		t.Errorf("pids: %v", im.pids)
	}
	// vpid, vppid, vtgid, vpgid, vsid, depth: tags.
	tasks := []v23TaskPids{
		{1, 0, 1, -4097, -4097, 0}, {2, 1, 2, 2, 2, 0}, {3, 2, 3, 4, 2, 0}, {5, 2, 5, 6, 2, 0},
		{7, 2, 7, 2, 2, 1}, {8, 7, 8, 8, 8, 2}, {9, 7, 9, 2, 2, 1}, {10, 1, 2, 2, 2, 0},
		{11, 2, 11, 2, 2, 0}, {12, 1, 12, 13, 13, 0}, {14, 1, 14, 14, 14, 0}, {15, 1, 14, 14, 14, 0},
		{16, 1, 16, 16, 16, 1}, {17, 0, 17, -4097, -4097, 1},
	}
	if !slices.Equal(im.tasks, tasks) {
		t.Errorf("tasks: %v", im.tasks)
	}
	if n := len(im.types); n == 0 || im.types[n-1] != 9001 {
		t.Errorf("records at the end: %v", im.types)
	}
	for _, typ := range im.types {
		if typ&^(1<<31) < 8000 {
			t.Errorf("a record of type %d, which the original could take for its own", typ)
		}
	}
	subtree, err := readV23(bytes.NewReader(encode(t, foresttest.BelowRoot())))
	if err != nil || subtree.header.Uflags != 1 || subtree.tasks[1].Vpgid != 0 {
		t.Errorf("subtree: %+v, %v", subtree, err)
	}
}
