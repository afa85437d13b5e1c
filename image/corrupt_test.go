// SPDX-License-Identifier: Apache-2.0

package image

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/forest/foresttest"
)

// rec is a record as bytes, head included.
func rec(typ uint32, payload ...byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, typ)
	b = binary.LittleEndian.AppendUint32(b, uint32(8+len(payload)))
	return append(b, payload...)
}

// split cuts an image into its records.
func split(t testing.TB, b []byte) [][]byte {
	t.Helper()
	var recs [][]byte
	for len(b) >= 8 {
		n := binary.LittleEndian.Uint32(b[4:])
		if n < 8 || int64(n) > int64(len(b)) {
			break
		}
		recs = append(recs, bytes.Clone(b[:n]))
		b = b[n:]
	}
	return recs
}

// join puts records together and makes the checksum right, as somebody who
// forges an image would.
func join(recs [][]byte) []byte {
	b := bytes.Join(recs, nil)
	at := 0
	for _, r := range recs {
		if len(r) == tailSize && binary.LittleEndian.Uint32(r) == typeTail {
			sum := crc32.Checksum(b[:at], castagnoli)
			binary.LittleEndian.PutUint32(b[at+16:], sum)
		}
		at += len(r)
	}
	return b
}

func TestTruncatedAnywhere(t *testing.T) {
	for name, b := range forms(t) {
		for n := range len(b) {
			_, err := Read(bytes.NewReader(b[:n]))
			if !errors.Is(err, ErrTruncated) {
				t.Fatalf("%s: cut to %d of %d bytes: %v", name, n, len(b), err)
			}
		}
	}
}

func TestEveryBitCounts(t *testing.T) {
	for _, b := range [][]byte{encode(t, foresttest.Sample()), encodePacked(foresttest.Sample())} {
		for i := range len(b) * 8 {
			b[i/8] ^= 1 << (i % 8)
			if _, err := Read(bytes.NewReader(b)); err == nil {
				t.Fatalf("bit %d of byte %d is flipped, and the image is accepted", i%8, i/8)
			}
			b[i/8] ^= 1 << (i % 8)
		}
	}
}

// TestForgedBits flips each bit and makes the checksum right again: whatever is
// accepted then must be a forest that can be written and read.
func TestForgedBits(t *testing.T) {
	for name, f := range samples() {
		b := encode(t, f)
		accepted := 0
		for i := range (len(b) - tailSize) * 8 {
			c := bytes.Clone(b)
			c[i/8] ^= 1 << (i % 8)
			if checkAccepted(t, join(split(t, c))) {
				accepted++
			}
		}
		t.Logf("%s: %d of %d flips give another image", name, accepted, (len(b)-tailSize)*8)
	}
}

// checkAccepted reads b, and if it is accepted writes and reads it again.
func checkAccepted(t testing.TB, b []byte) bool {
	t.Helper()
	f, err := Read(bytes.NewReader(b))
	if err != nil {
		if f != nil {
			t.Fatalf("a forest and an error: %v", err)
		}
		return false
	}
	got, err := Read(bytes.NewReader(encode(t, f)))
	if err != nil {
		t.Fatalf("read, written, and not read again: %v", err)
	}
	if !reflect.DeepEqual(f, got) {
		t.Fatal(same(f, got))
	}
	return true
}

// TestClaimsAllocateNothing: memory goes by the bytes that are there.
func TestClaimsAllocateNothing(t *testing.T) {
	recs := split(t, encode(t, foresttest.Small()))
	u32 := binary.LittleEndian.PutUint32
	for name, claim := range map[string]func(recs [][]byte) [][]byte{
		"pids": func(r [][]byte) [][]byte {
			u32(r[8][8:], forest.MaxNumber)
			u32(r[8][12:], forest.MaxNumber*20)
			u32(r[9][4:], 8+8*forest.MaxNumber+4*forest.MaxNumber*20)
			return r[:10]
		},
		"user namespaces": func(r [][]byte) [][]byte {
			u32(r[14][8:], 1<<32-1)
			u32(r[14][4:], 1<<32-8)
			return r[:15]
		},
		"unknown record": func(r [][]byte) [][]byte {
			return append(r[:12], binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, 8500), 1<<32-8))
		},
	} {
		var own [][]byte
		for _, r := range recs {
			own = append(own, bytes.Clone(r))
		}
		b := bytes.Join(claim(own), nil)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Read(bytes.NewReader(b))
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrTruncated) {
			t.Errorf("%s: %v", name, err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 512<<10 {
			t.Errorf("%s: %d bytes are allocated for %d bytes of image", name, n, len(b))
		}
	}
}

// TestRules breaks each rule of the format by itself, with the checksum right,
// and looks for its words.
func TestRules(t *testing.T) {
	u16 := binary.LittleEndian.PutUint16
	u32 := binary.LittleEndian.PutUint32
	u64 := binary.LittleEndian.PutUint64
	const (
		header = iota
		release
		version
		machine
		arch
		container
		lsmName
		lsmInfo
		pids
		pidArray
		tree
		taskArray
		tool
		cut
		inexact
		users
		spaces
		pidSpaces
		tasks
		tail
	)
	set := func(r, at int, v uint32) func([][]byte) [][]byte {
		return func(recs [][]byte) [][]byte { u32(recs[r][at:], v); return recs }
	}
	grow := func(r int, by int) func([][]byte) [][]byte {
		return func(recs [][]byte) [][]byte {
			recs[r] = append(recs[r], make([]byte, by)...)
			u32(recs[r][4:], uint32(len(recs[r])))
			return recs
		}
	}
	drop := func(r int) func([][]byte) [][]byte {
		return func(recs [][]byte) [][]byte { return append(recs[:r:r], recs[r+1:]...) }
	}
	insert := func(r int, b []byte) func([][]byte) [][]byte {
		return func(recs [][]byte) [][]byte {
			return append(append(recs[:r:r], b), recs[r:]...)
		}
	}
	for name, c := range map[string]struct {
		change func([][]byte) [][]byte
		want   string
	}{
		"magic":               {set(header, 8, 1), "its magic is"},
		"revision":            {func(r [][]byte) [][]byte { u16(r[header][24:], 7); return r }, "its revision is 7"},
		"header padding":      {func(r [][]byte) [][]byte { r[header][27] = 1; return r }, "reserved byte"},
		"comm length":         {func(r [][]byte) [][]byte { u16(r[header][32:], 32); return r }, "names have 32 bytes"},
		"uts length":          {func(r [][]byte) [][]byte { u16(r[header][42:], 66); return r }, "uname's strings 66"},
		"time":                {func(r [][]byte) [][]byte { u64(r[header][56:], 1<<62); return r }, "out of range"},
		"flags":               {set(header, 64, 2), "its flags are 0x2"},
		"header length":       {grow(header, 8), "its length is 80, not 72"},
		"uts buffer length":   {grow(release, 1), "its length is 74, not 73"},
		"uts unended":         {func(r [][]byte) [][]byte { copy(r[version][8:], bytes.Repeat([]byte("v"), 65)); return r }, "does not end"},
		"uts after the end":   {func(r [][]byte) [][]byte { r[machine][72] = 'x'; return r }, "after its NUL"},
		"long arch":           {grow(arch, 8192), "more than 4104"},
		"container length":    {grow(container, 8), "its length is 16, not 8"},
		"no LSM name":         {drop(lsmName), "BUFFER (type 4) is expected"},
		"pids in between":     {insert(lsmInfo, rec(8500)), "LSM_INFO (type 7) is expected"},
		"no pids":             {set(pids, 8, 0), "0 pid objects"},
		"too many pids":       {set(pids, 8, 1<<22), "4194304 pid objects"},
		"too many vpids":      {set(pids, 12, 65), "65 more numbers"},
		"more vpids":          {set(pids, 12, 2), "payload is 20 bytes, not the 24"},
		"more pids":           {set(pids, 8, 3), "payload is 20 bytes, not the 28"},
		"tag offset":          {set(pids, 16, 2), "tags start at 2"},
		"pids padding":        {set(pids, 20, 1), "reserved field"},
		"depth 33":            {set(pidArray, 8, 33), "depth 33, above 32"},
		"depths too large":    {set(pidArray, 8, 2), "add up to 2, more than nr_vpids 1"},
		"depths too small":    {set(pidArray, 16, 0), "nr_vpids is 1"},
		"long pid array":      {grow(pidArray, 4), "payload is 24 bytes"},
		"number 0":            {set(pidArray, 12, 0), "number at level 0 is 0"},
		"number negative":     {set(pidArray, 12, 1<<31), "number at level 0 is -2147483648"},
		"no tasks":            {set(tree, 8, 0), "0 tasks"},
		"more tasks than pid": {set(tree, 8, 3), "3 tasks"},
		"fewer tasks":         {set(tree, 8, 1), "payload is 48 bytes, not the 24"},
		"tree padding":        {set(tree, 12, 1), "reserved field"},
		"pid out of range":    {set(taskArray, 8+24, 3), "the pid of task 1 is #3"},
		"pid special":         {set(taskArray, 8+24, 0), "the pid of task 1 is outside"},
		"depth of a task":     {set(taskArray, 8+24+20, 0), "task 1 has depth 0"},
		"tgid special":        {set(taskArray, 8+24+8, 0), "its tgid is outside"},
		"tag out of range":    {set(taskArray, 8+24+12, 9), "process group is #9"},
		"nanoseconds":         {set(tool, 8, 1e9), "a second or more"},
		"tool length":         {set(tool, 12, 4097), "4097 bytes, above 4096"},
		"tool beyond":         {set(tool, 12, 100), "ends before"},
		"tool padding":        {grow(tool, 8), "bytes more than it should hold"},
		"cut method":          {set(cut, 8, 2), "method 2"},
		"cut flags":           {set(cut, 12, 2), "flags 0x2"},
		"no reasons":          {set(inexact, 8, 0), "no reasons"},
		"long reason":         {set(inexact, 12, 65536), "65536 bytes, above 65535"},
		"more reasons":        {set(inexact, 8, 1<<32-1), "ends before"},
		"user reserved":       {set(users, 12, 1), "reserved byte"},
		"user flags":          {set(users, 16+12, 3), "flags 0x3"},
		"map lines":           {set(users, 16+20, 341), "341 and 0 lines"},
		"maps beyond":         {set(users, 16+20, 340), "ends before"},
		"namespace state":     {set(spaces, 16+12, 5), "state 5"},
		"namespace reserved":  {set(spaces, 16+28, 1), "reserved field"},
		"namespace level":     {set(spaces, 16+32+4, 2), "level 2 below a parent at level 0"},
		"namespaces beyond":   {set(spaces, 8, 3), "ends before"},
		"namespaces fewer":    {set(spaces, 8, 1), "32 bytes more"},
		"pid's namespace":     {set(pidSpaces, 12, 7), "index 7, is not in the forest"},
		"short pid spaces":    {func(r [][]byte) [][]byte { r[pidSpaces] = rec(typePidNamespace); return r }, "ends before"},
		"task flags":          {set(tasks, 8+12, 8), "flags 0x8"},
		"task state":          {set(tasks, 8+16, 6), "state 6"},
		"comm unended":        {func(r [][]byte) [][]byte { copy(r[tasks][8+56:], bytes.Repeat([]byte("c"), 16)); return r }, "no NUL"},
		"comm after the end":  {func(r [][]byte) [][]byte { r[tasks][8+56+15] = 'c'; r[tasks][8+56] = 0; return r }, "bytes after it"},
		"tasks beyond":        {grow(tasks, 80), "80 bytes more"},
		"missing section":     {drop(spaces), "NAMESPACES (type 8005) is expected"},
		"section twice":       {func(r [][]byte) [][]byte { return insert(users, r[users])(r) }, "NAMESPACES (type 8005) is expected"},
		"tail too early":      {drop(tasks), "TASKS (type 8007) is expected"},
		"tail magic":          {set(tail, 8, 1), "its magic is"},
		"tail reserved":       {set(tail, 20, 1), "reserved field"},
		"tail length":         {grow(tail, 8), "8 bytes more"},
		"original's task":     {insert(tasks, rec(103)), "must not be skipped"},
		"required unknown":    {insert(tasks, rec(8500|required)), "unknown (type 8500, required)"},
		"exit ids to skip":    {insert(tail, rec(typeFirstExitIDs, make([]byte, 8)...)), "never released"},
		"exit ids of nobody":  {insert(tail, rec(typeExitIDs, make([]byte, 8)...)), "it has no tasks"},
		"exit ids ghost":      {insert(tail, rec(typeExitIDs, append([]byte{1, 0, 0, 0, 0, 0, 0, 0, 9}, make([]byte, 19+4)...)...)), "no task of the forest"},
		"exit ids short":      {insert(tail, rec(typeExitIDs, append([]byte{2}, make([]byte, 31)...)...)), "EXIT_IDS (type 8010, required)"},
		"exit ids reserved":   {insert(tail, rec(typeExitIDs, 1, 0, 0, 0, 1, 0, 0, 0)), "EXIT_IDS (type 8010, required)"},
		"length 7":            {set(tool, 4, 7), "less than its head's"},
		"length odd":          {set(tool, 4, 23), "not a multiple of 8"},
	} {
		t.Run(name, func(t *testing.T) {
			f := foresttest.Small()
			f.Inexact = []string{"x"}
			f.Namespaces = append(f.Namespaces, forest.Namespace{Parent: 0, Level: 1, Cursor: 2})
			f.Pids[1] = forest.Pid{Namespace: 1, Numbers: []int32{2, 1}}
			recs := split(t, encode(t, f))
			if len(recs) != tail+1 {
				t.Fatalf("%d records", len(recs))
			}
			_, err := Read(bytes.NewReader(join(c.change(recs))))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}

func TestChecksum(t *testing.T) {
	b := encode(t, foresttest.Small())
	b[len(b)-8]++
	var e *Error
	if _, err := Read(bytes.NewReader(b)); !errors.As(err, &e) || e.Offset != int64(len(b)-tailSize) || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("got %v", err)
	}
}

func TestUnknownRecordsAreSkipped(t *testing.T) {
	f := foresttest.Sample()
	recs := split(t, encode(t, f))
	recs = append(recs[:13:13], append([][]byte{rec(8500), rec(9000, make([]byte, 200_000)...), rec(8500)}, recs[13:]...)...)
	d := NewDecoder(bytes.NewReader(join(recs)))
	got, err := d.Decode()
	if err != nil {
		t.Fatal(err)
	}
	if diff := same(f, got); diff != "" {
		t.Error(diff)
	}
	if w := d.Warnings(); len(w) != 2 || !strings.Contains(w[0], "2 records of unknown type 8500") || !strings.Contains(w[1], "type 9000") {
		t.Errorf("warnings: %q", w)
	}
	recs = split(t, encode(t, f))
	var many [][]byte
	for i := range 100 {
		many = append(many, rec(uint32(8100+i)))
	}
	d = NewDecoder(bytes.NewReader(join(append(recs[:12:12], append(many, recs[12:]...)...))))
	if _, err := d.Decode(); err != nil {
		t.Fatal(err)
	}
	if w := d.Warnings(); len(w) != maxWarnings+1 || !strings.Contains(w[maxWarnings], "84 records of more") {
		t.Errorf("warnings: %q", w)
	}
}

func TestAborted(t *testing.T) {
	whole := split(t, encode(t, foresttest.Sample()))
	for n := range whole {
		b := bytes.NewBuffer(bytes.Join(whole[:n], nil))
		if err := WriteAbort(b, "task 7\x00 (\xff): busy\n"); err != nil {
			t.Fatal(err)
		}
		if b.Len()%8 != len(bytes.Join(whole[:n], nil))%8 {
			t.Error("the records of an abort are not multiples of 8 bytes")
		}
		_, err := Read(b)
		var a *AbortedError
		if !errors.As(err, &a) || a.Message != "task 7  (\xff): busy\n" {
			t.Fatalf("after %d records: %v", n, err)
		}
		if want := `image: the dump was not finished: task 7  (\xff): busy\n`; err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
	}
	var b bytes.Buffer
	if err := WriteAbort(&b, strings.Repeat("é", maxMessage)); err != nil {
		t.Fatal(err)
	}
	_, err := Read(&b)
	var a *AbortedError
	if !errors.As(err, &a) || a.Message != strings.Repeat("é", maxMessage/2) {
		t.Errorf("a long message: %v", err)
	}
	for name, b := range map[string][]byte{
		"nothing after it":  rec(typeError),
		"no string":         append(rec(typeError), rec(typeTail, make([]byte, 16)...)...),
		"a payload":         append(rec(typeError, make([]byte, 8)...), rec(typeString, 0, 'm', 0)...),
		"a very long one":   append(rec(typeError), rec(typeString, make([]byte, chunk+1)...)...),
		"more after a NUL":  append(rec(typeError), rec(typeString, 0, 'm', 0, 'x')...),
		"an unended string": append(rec(typeError), rec(typeString, 0, 'm')[:9]...),
	} {
		if _, err := Read(bytes.NewReader(b)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestNotAnImage(t *testing.T) {
	for name, c := range map[string]struct {
		bytes string
		want  string
	}{
		"text":  {"#!/bin/sh\necho hello\n", "this is not an image"},
		"zeros": {strings.Repeat("\x00", 64), "this is not an image"},
		"empty": {"", "cut short"},
	} {
		_, err := Read(strings.NewReader(c.bytes))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	var invalid *forest.Invalid
	f := foresttest.Small()
	f.Tasks[1].PGID = 2
	f.Tasks[1].SID = 2
	f.Tasks[1].ExitSignal = 65
	if _, err := Read(bytes.NewReader(raw(t, f))); !errors.As(err, &invalid) || invalid.Rule != forest.RuleSignals {
		t.Errorf("an impossible forest: %v", err)
	}
	if _, err := Read(io.LimitReader(bytes.NewReader(nil), 0)); !errors.Is(err, ErrTruncated) {
		t.Errorf("nothing: %v", err)
	}
}
