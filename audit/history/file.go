// SPDX-License-Identifier: Apache-2.0

package history

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
)

// Header says of what and when a File is.
type Header struct {
	Boot      [16]byte // /proc/sys/kernel/random/boot_id
	Namespace uint32   // that was audited, by inode
	Level     uint32   // of it, below the initial one
	// Boottime is CLOCK_BOOTTIME when it was written, in nanoseconds: start
	// times are by that clock.
	Boottime uint64
	// Lost is how many events are missing; each may be a birth.
	Lost uint64
}

// Indices that stand for no entry.
const (
	Unknown = -1
	Outside = -2
)

// Marks of an Entry.
const (
	Seen  = 1 << iota // its birth was
	Dead              // it has been reaped
	Ghost             // and its number is still a group or session
	marks = Seen | Dead | Ghost
)

// Entry is a process.
type Entry struct {
	Key
	Start uint64 // nanoseconds since boot; 0: not known
	// Parent bore it, or the first of Between others that are gone, each of
	// whom bore the next: an index of Entries before it, Unknown or Outside.
	Parent  int32
	Between uint32
	// Session and Group are whose it was born in: indices, Unknown or Outside.
	Session, Group int32
	Marks          uint32
	// When it was born, last became a session leader, changed its group, and
	// the pid namespace of its next child: CLOCK_MONOTONIC, 0: not seen.
	Born, Led, Moved, Entered uint64
}

// File is what a Tracker knew at a moment.
type File struct {
	Header
	Entries []Entry
}

// The form is little-endian: magic and version, the Header, the count and 72 bytes
// for each Entry, and a CRC-32C of all that. Another form gets another version.
const (
	magic     = "PIDGRAFT HISTORY"
	version   = 1
	headSize  = len(magic) + 4 + 16 + 4 + 4 + 8 + 8 + 4
	entrySize = 72
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Encode is the File in bytes.
func (f *File) Encode() []byte {
	le := binary.LittleEndian
	b := make([]byte, 0, headSize+entrySize*len(f.Entries)+4)
	b = append(b, magic...)
	b = le.AppendUint32(b, version)
	b = append(b, f.Boot[:]...)
	b = le.AppendUint32(b, f.Namespace)
	b = le.AppendUint32(b, f.Level)
	b = le.AppendUint64(b, f.Boottime)
	b = le.AppendUint64(b, f.Lost)
	b = le.AppendUint32(b, uint32(len(f.Entries)))
	for i := range f.Entries {
		e := &f.Entries[i]
		for _, v := range []uint32{
			e.Inode, uint32(e.Nr), uint32(e.Parent), e.Between, uint32(e.Session), uint32(e.Group), e.Marks, 0,
		} {
			b = le.AppendUint32(b, v)
		}
		for _, v := range []uint64{e.Start, e.Born, e.Led, e.Moved, e.Entered} {
			b = le.AppendUint64(b, v)
		}
	}
	return le.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// ErrInvalid: bytes that are no history, or one that cannot be.
var ErrInvalid = errors.New("no history of pidgraft's")

// Decode reads what Encode made. It trusts nothing, and takes no more memory than
// a small multiple of b.
//
// Errors: ErrInvalid.
func Decode(b []byte) (*File, error) {
	le := binary.LittleEndian
	reject := func(format string, args ...any) (*File, error) {
		return nil, fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
	}
	switch {
	case len(b) < headSize+4 || !bytes.HasPrefix(b, []byte(magic)):
		return reject("%d bytes that do not begin as one", len(b))
	case le.Uint32(b[len(magic):]) != version:
		return reject("it is of version %d, and this program knows %d", le.Uint32(b[len(magic):]), version)
	}
	body, sum := b[:len(b)-4], le.Uint32(b[len(b)-4:])
	if got := crc32.Checksum(body, castagnoli); got != sum {
		return reject("its checksum is %#x, and it says %#x: it is cut short, or was changed", got, sum)
	}
	f := &File{}
	at := body[len(magic)+4:]
	copy(f.Boot[:], at)
	f.Namespace, f.Level = le.Uint32(at[16:]), le.Uint32(at[20:])
	f.Boottime, f.Lost = le.Uint64(at[24:]), le.Uint64(at[32:])
	count := le.Uint32(at[40:])
	if at = at[44:]; uint64(len(at)) != entrySize*uint64(count) {
		return reject("%d entries in %d bytes", count, len(at))
	}
	f.Entries = make([]Entry, count)
	for i := range f.Entries {
		f.Entries[i] = entry(at[entrySize*i:])
		if reserved := le.Uint32(at[entrySize*i+28:]); reserved != 0 {
			return reject("entry %d: a reserved field is %#x", i, reserved)
		}
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	return f, nil
}

func entry(b []byte) Entry {
	u := func(i int) uint32 { return binary.LittleEndian.Uint32(b[4*i:]) }
	q := func(i int) uint64 { return binary.LittleEndian.Uint64(b[32+8*i:]) }
	return Entry{
		Key: Key{u(0), int32(u(1))}, Parent: int32(u(2)), Between: u(3), Session: int32(u(4)), Group: int32(u(5)),
		Marks: u(6), Start: q(0), Born: q(1), Led: q(2), Moved: q(3), Entered: q(4),
	}
}

// check refuses what no history can be.
func (f *File) check() error {
	holders := make(map[Key]int, len(f.Entries))
	for i := range f.Entries {
		e := &f.Entries[i]
		reject := func(format string, args ...any) error {
			return fmt.Errorf("%w: entry %d, process %d of pid namespace %d: %s", ErrInvalid, i, e.Nr, e.Inode, fmt.Sprintf(format, args...))
		}
		index := func(n int32) bool { return n >= Outside && n < int32(len(f.Entries)) && n != int32(i) }
		switch {
		case e.Marks&^marks != 0 || e.Marks&(Dead|Ghost) == Ghost:
			return reject("unknown marks %#x", e.Marks)
		case e.Nr <= 0:
			return reject("its number")
		case e.Parent < Outside || e.Parent >= int32(i):
			return reject("it was born of entry %d, which does not come before it", e.Parent)
		case e.Parent == Unknown && e.Between > 0:
			return reject("%d processes between it and nobody", e.Between)
		case !index(e.Session) || !index(e.Group):
			return reject("it was born in session %d and group %d, of %d entries", e.Session, e.Group, len(f.Entries))
		case e.Marks&Seen == 0 && (e.Parent != Unknown || e.Session != Unknown || e.Group != Unknown || e.Born != 0):
			return reject("its birth was not seen, and it says something of it")
		case e.Parent >= 0 && f.Entries[e.Parent].Start > e.Start:
			return reject("it is older than who bore it")
		}
		if e.Marks&Dead != 0 && e.Marks&Ghost == 0 {
			continue
		}
		if other, twice := holders[e.Key]; twice {
			return reject("entry %d has that number too", other)
		}
		holders[e.Key] = i
	}
	return nil
}

// Export is what the Tracker knows now.
func (t *Tracker) Export(h Header) *File {
	f := &File{Header: h, Entries: make([]Entry, 0, len(t.nodes))}
	index := make(map[*node]int32, len(t.nodes))
	order := make([]*node, 0, len(t.nodes))
	var climb []*node
	for _, n := range t.nodes {
		climb = climb[:0]
		for ; n != nil; n = n.parent {
			if _, known := index[n]; known {
				break
			}
			climb = append(climb, n)
		}
		for _, n := range slices.Backward(climb) {
			index[n] = int32(len(order))
			order = append(order, n)
		}
	}
	at := func(n *node) int32 {
		if n == elsewhere {
			return Outside
		}
		if i, ok := index[n]; ok {
			return i
		}
		return Unknown // or gone
	}
	for _, n := range order {
		e := Entry{
			Key: n.key, Start: n.start, Parent: at(n.parent), Between: n.between,
			Session: at(n.session), Group: at(n.group), Born: n.born, Led: n.led, Moved: n.moved, Entered: n.entered,
		}
		if n.parent == nil && n.outside {
			e.Parent = Outside
		}
		if e.Parent == Unknown {
			e.Between = 0
		}
		for _, m := range []struct {
			is   bool
			mark uint32
		}{{n.seen, Seen}, {n.dead, Dead}, {n.ghost, Ghost}} {
			if m.is {
				e.Marks |= m.mark
			}
		}
		f.Entries = append(f.Entries, e)
	}
	return f
}

// Load goes on from a File: at the next Renewed, those of it who are still there
// have the births that it tells of.
func (t *Tracker) Load(f *File) {
	nodes := make([]*node, len(f.Entries))
	for i := range f.Entries {
		nodes[i] = &node{}
	}
	at := func(i int32) *node {
		switch {
		case i >= 0:
			return nodes[i]
		case i == Outside:
			return elsewhere
		}
		return nil
	}
	t.loaded = make(map[Key]*node)
	for i := range f.Entries {
		e, n := &f.Entries[i], nodes[i]
		*n = node{
			key: e.Key, start: e.Start, seen: e.Marks&Seen != 0, dead: e.Marks&Dead != 0, ghost: e.Marks&Ghost != 0,
			outside: e.Parent == Outside, between: e.Between, session: at(e.Session), group: at(e.Group),
			born: e.Born, led: e.Led, moved: e.Moved, entered: e.Entered,
		}
		if e.Parent >= 0 { // who comes before, and is filled in
			n.setParent(nodes[e.Parent])
		}
		if n.ghost || !n.dead {
			t.loaded[n.key] = n
		}
	}
}
