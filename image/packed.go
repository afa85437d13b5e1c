// SPDX-License-Identifier: Apache-2.0

package image

import (
	"encoding/binary"
	"math"

	"github.com/pidgraft/pidgraft/forest"
)

// packedAbove is how many tasks a forest has at most whose tasks are written one
// like the other, in TASKS. Of more, most are like another, and PACKED_TASKS
// says it once. Smaller images stay as plain as they were.
const packedAbove = 1000

// kind is what most tasks have in common with others, as its bytes in TASKS.
type kind [kindSize]byte

func kindOf(t *forest.Task) (k kind) {
	b := k[:0]
	for _, v := range [...]uint32{
		uint32(t.ExitSignal), uint32(t.PdeathSignal),
		bit(t.Subreaper, taskSubreaper) | bit(t.StopReported, taskStopReported) | bit(t.GroupExit, taskGroupExit),
		uint32(t.State), uint32(t.StopSignal), uint32(t.ExitCode), uint32(t.GroupExitCode),
		uint32(t.UserNamespace), uint32(t.ChildNamespace), t.UID, t.EUID, t.GID, t.EGID,
	} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return k
}

// set gives t what the kind says. ok: it has no flags or state that are unknown.
func (k *kind) set(t *forest.Task) (flags, state uint32, ok bool) {
	const known = taskSubreaper | taskStopReported | taskGroupExit
	e := fields(k[:])
	t.ExitSignal, t.PdeathSignal = e.s32(), e.s32()
	flags, state = e.u32(), e.u32()
	t.Subreaper = flags&taskSubreaper != 0
	t.StopReported = flags&taskStopReported != 0
	t.GroupExit = flags&taskGroupExit != 0
	t.State = forest.State(state)
	t.StopSignal, t.ExitCode, t.GroupExitCode = e.s32(), e.s32(), e.s32()
	t.UserNamespace, t.ChildNamespace = int(e.s32()), int(e.s32())
	t.UID, t.EUID, t.GID, t.EGID = e.u32(), e.u32(), e.u32(), e.u32()
	return flags, state, flags&^known == 0 && state <= uint32(forest.ExitingInit)
}

// table numbers things in the order in which they first come.
type table[T comparable] struct {
	of    map[T]uint64
	last  T // mostly comes again
	lastN uint64
}

func (t *table[T]) index(v T) (n uint64, first bool) {
	if t.of == nil {
		t.of = map[T]uint64{}
	} else if v == t.last {
		return t.lastN, false
	}
	n, seen := t.of[v]
	if !seen {
		n = uint64(len(t.of))
		t.of[v] = n
	}
	t.last, t.lastN = v, n
	return n, !seen
}

// packedTasks is TASKS in fewer bytes. Each task is four numbers: its kind, its
// name, its parent thread from its parent, its start time from that of the task
// before. A kind or a name that is one more than those there are is new, and
// follows at once.
func (e *encoder) packedTasks(f *forest.Forest) {
	payload := make([]byte, 0, packedGuess*len(f.Tasks))
	kinds, names := table[kind]{}, table[string]{}
	var start uint64
	for i := range f.Tasks {
		t := &f.Tasks[i]
		k := kindOf(t)
		n, first := kinds.index(k)
		payload = binary.AppendUvarint(payload, n)
		if first {
			payload = append(payload, k[:]...)
		}
		n, first = names.index(t.Comm)
		payload = binary.AppendUvarint(payload, n)
		if first {
			var name [commLen]byte
			copy(name[:], t.Comm)
			payload = append(payload, name[:]...)
		}
		payload = binary.AppendVarint(payload, int64(t.ParentThread)-int64(t.Parent))
		payload = binary.AppendVarint(payload, int64(t.StartTime-start))
		start = t.StartTime
	}
	size := headSize + uint64(len(payload))
	e.record(typePackedTasks, size+uint64(pad(size)))
	e.out()
	e.buf = append(payload, make([]byte, pad(size))...)
}

// packedTasks reads what there is instead of TASKS.
func (d *Decoder) packedTasks() {
	r := d.d
	var kinds []kind
	known := map[kind]bool{}
	var names []string
	var start uint64
	for i := range d.f.Tasks {
		t := &d.f.Tasks[i]
		switch n := r.uvarint(); {
		case r.err != nil:
			return
		case n > uint64(len(kinds)):
			r.fail("task %d: kind %d, and there are %d", i, n, len(kinds))
			return
		case n == uint64(len(kinds)):
			k := kind(r.entry(kindSize))
			if known[k] {
				r.fail("task %d: its kind is there already", i)
				return
			}
			known[k] = true
			kinds = append(kinds, k)
			fallthrough
		default:
			if flags, state, ok := kinds[n].set(t); !ok {
				r.fail("task %d: flags %#x or state %d are unknown", i, flags, state)
				return
			}
		}
		switch n := r.uvarint(); {
		case r.err != nil:
			return
		case n > uint64(len(names)):
			r.fail("task %d: name %d, and there are %d", i, n, len(names))
			return
		case n == uint64(len(names)):
			name, ok := d.comm(r.entry(commLen))
			if !ok {
				r.fail("task %d: its name has no NUL, or bytes after it", i)
				return
			}
			if len(d.comms) == len(names) {
				r.fail("task %d: its name is there already", i)
				return
			}
			names = append(names, name)
			fallthrough
		default:
			t.Comm = names[n]
		}
		parent := r.varint()
		if parent += int64(t.Parent); parent < math.MinInt32 || parent > math.MaxInt32 {
			r.fail("task %d: the tag of its parent thread is out of range", i)
			return
		}
		t.ParentThread = forest.Tag(parent)
		start += uint64(r.varint())
		t.StartTime = start
	}
}

// uvarint takes a number in groups of seven bits, the least first (LEB128), in no
// more bytes than it needs.
func (d *decoder) uvarint() uint64 {
	var v uint64
	for i := range binary.MaxVarintLen64 {
		b := d.entry(1)[0]
		switch {
		case i > 0 && b == 0 && d.err == nil:
			d.fail("a number is longer than it need be")
			return 0
		case i == binary.MaxVarintLen64-1 && b > 1:
			d.fail("a number has more than 64 bits")
			return 0
		}
		v |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			break
		}
	}
	return v
}

// varint takes a signed number: the sign is the last bit.
func (d *decoder) varint() int64 {
	u := d.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}
