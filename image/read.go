// SPDX-License-Identifier: Apache-2.0

package image

import (
	"fmt"
	"io"
	"slices"

	"github.com/pidgraft/pidgraft/forest"
)

// Read reads one image from r, and nothing after it: what follows in r stays
// unread. The image may be compressed (WriteCompressed, or zstd); then r ends
// with it. The forest is one that forest.Validate accepts.
//
// An error is an *Error (with ErrTruncated in it if bytes are missing, a
// *forest.Invalid if the bytes are sound and the forest is impossible), or
// an *AbortedError if the dump gave up.
func Read(r io.Reader) (*forest.Forest, error) { return NewDecoder(r).Decode() }

// Decoder reads an image and says what it did not understand.
type Decoder struct {
	d *decoder
	f *forest.Forest

	nrPids, nrVpids, nrTasks uint32
	seconds                  int64
	comms                    map[string]string // the names seen, to share them

	skipped map[uint32]int // records by type
}

// NewDecoder makes a decoder for one image in r.
func NewDecoder(r io.Reader) *Decoder {
	return &Decoder{
		d: newDecoder(r), f: &forest.Forest{},
		comms: map[string]string{}, skipped: map[uint32]int{},
	}
}

// Decode reads the image; see Read. It can be called once.
func (d *Decoder) Decode() (*forest.Forest, error) {
	if err := d.decode(); err != nil {
		return nil, err
	}
	if err := forest.Validate(d.f); err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	return d.f, nil
}

// decode reads the image without a look at what the forest means.
func (d *Decoder) decode() error {
	d.original()
	d.own()
	d.d.finish()
	return d.d.err
}

// maxWarnings bounds what an image can make a reader say and remember.
const maxWarnings = 16

// Warnings are the records that were skipped because this version does not
// know them, one line for each type.
func (d *Decoder) Warnings() []string {
	var types []uint32
	for typ := range d.skipped {
		types = append(types, typ)
	}
	slices.Sort(types)
	var w []string
	for _, typ := range types {
		if typ == otherTypes {
			w = append(w, fmt.Sprintf("%d records of more unknown types were skipped", d.skipped[typ]))
			continue
		}
		w = append(w, fmt.Sprintf("%d records of unknown type %d were skipped: a newer version wrote them", d.skipped[typ], typ))
	}
	return w
}

// otherTypes counts the skipped records of types beyond maxWarnings. No such
// record can be skipped itself: it is required.
const otherTypes = 1<<32 - 1

// skip passes over a record that is not known.
func (d *Decoder) skip() {
	typ := d.d.typ
	if _, ok := d.skipped[typ]; !ok && len(d.skipped) >= maxWarnings {
		typ = otherTypes
	}
	d.skipped[typ]++
	d.d.skip()
}

// aborted reads what follows an ERROR: a STRING with a NUL and the message.
func (d *Decoder) aborted() {
	r := d.d
	r.end()
	if !r.next() {
		return
	}
	if r.typ != typeString || r.size() > chunk {
		r.fail("an ERROR is followed by a STRING of at most %d bytes", chunk)
		return
	}
	message := r.entry(int(r.size()))
	if len(message) > 0 && message[0] == 0 {
		message = message[1:]
	}
	s, _ := message.text()
	if r.err == nil {
		r.err = &AbortedError{Message: s}
	}
}

// expect reads the head of a record of linux-cr's part, whose order is fixed.
func (d *Decoder) expect(typ uint32) bool {
	r := d.d
	if !r.next() {
		return false
	}
	if r.typ == typeError {
		d.aborted()
	} else if r.typ != typ {
		r.fail("a record %s is expected here", recordName(typ))
	}
	return r.err == nil
}

// fixed expects a record of a fixed size, head included, and gives its fields.
func (d *Decoder) fixed(typ uint32, size int) fields {
	if d.expect(typ) && d.d.size() != uint64(size-headSize) {
		d.d.fail("its length is %d, not %d", d.d.size()+headSize, size)
	}
	return d.d.entry(size - headSize)
}

// ignored expects a record of linux-cr that says nothing to us.
func (d *Decoder) ignored(typ uint32) {
	if !d.expect(typ) {
		return
	}
	if d.d.size() > maxSkipped {
		d.d.fail("its length is %d, more than %d", d.d.size()+headSize, maxSkipped+headSize)
		return
	}
	d.d.skip()
}

// original reads the records of linux-cr.
func (d *Decoder) original() {
	d.header()
	p := &d.f.Producer
	for _, s := range []*string{&p.Release, &p.Version, &p.Machine} {
		if d.expect(typeBuffer) {
			*s = d.uts()
		}
	}
	d.ignored(typeHeaderArch)
	d.fixed(typeContainer, headSize)
	d.ignored(typeBuffer)
	d.ignored(typeLSMInfo)
	d.pids()
	d.tree()
}

func (d *Decoder) header() {
	r := d.d
	if !r.next() {
		return
	}
	if r.typ == typeError {
		d.aborted()
		return
	}
	if r.size() != headerSize-headSize {
		r.fail("its length is %d, not %d", r.size()+headSize, headerSize)
		return
	}
	h := r.entry(headerSize - headSize)
	if magic := h.u64(); magic != headMagic {
		r.fail("this is not an image: its magic is %#x, not %#x", magic, uint64(headMagic))
	}
	h = h[8:] // architecture and kernel version: the strings say more
	if rev := h.u16(); rev != revision {
		r.fail("its revision is %d, and this version reads %d", rev, revision)
	}
	for range 6 {
		if h[0] != 0 {
			r.fail("a reserved byte is %#x, not 0", h[0])
		}
		h = h[1:]
	}
	var constants [12]uint16
	for i := range constants {
		constants[i] = h.u16()
	}
	if c := constants; c[0] != commLen || c[5] != utsLen || c[6] != utsLen || c[7] != utsLen {
		r.fail("names have %d bytes and uname's strings %d, %d, %d, not %d and %d", c[0], c[5], c[6], c[7], commLen, utsLen)
	}
	d.seconds = int64(h.u64())
	switch flags := h.u64(); flags {
	case 0:
	case flagSubtree:
		d.f.Mode = forest.Subtree
	default:
		r.fail("its flags are %#x, of which only %#x is known", flags, flagSubtree)
	}
}

func (d *Decoder) uts() string {
	if d.d.size() != utsLen {
		d.d.fail("its length is %d, not %d", d.d.size()+headSize, utsLen+headSize)
	}
	s := d.d.text(utsLen)
	if len(s) >= utsLen {
		d.d.fail("a string of uname does not end")
	}
	return s
}

func (d *Decoder) pids() {
	h := d.fixed(typePids, pidsSize)
	d.nrPids, d.nrVpids = h.u32(), h.u32()
	offset, reserved := h.u32(), h.u32()
	r := d.d
	switch {
	case r.err != nil:
		return
	case d.nrPids == 0 || d.nrPids > forest.MaxNumber:
		r.fail("it has %d pid objects, not 1 to %d", d.nrPids, forest.MaxNumber)
	case uint64(d.nrVpids) > uint64(d.nrPids)*forest.MaxDepth:
		r.fail("its %d pid objects have %d more numbers, above %d each", d.nrPids, d.nrVpids, forest.MaxDepth)
	case offset != 1:
		r.fail("its tags start at %d, not 1", offset)
	case reserved != 0:
		r.fail("a reserved field is %#x, not 0", reserved)
	}
	if !d.expect(typeBuffer) {
		return
	}
	if want := pidSize*uint64(d.nrPids) + 4*uint64(d.nrVpids); r.size() != want {
		r.fail("its payload is %d bytes, not the %d of %d pid objects with %d more numbers", r.size(), want, d.nrPids, d.nrVpids)
	}
	d.numbers()
}

// arenaSize is how many numbers are allocated at once.
const arenaSize = 4096

// numbers reads the array of struct ckpt_pids.
func (d *Decoder) numbers() {
	r := d.d
	var arena []int32
	sum := uint32(0)
	for i := uint32(0); i < d.nrPids && r.err == nil; i++ {
		depth := r.u32()
		if depth > forest.MaxDepth {
			r.fail("pid object %d has depth %d, above %d", i+1, depth, forest.MaxDepth)
			return
		}
		if sum += depth; sum > d.nrVpids {
			r.fail("the depths of the first %d pid objects add up to %d, more than nr_vpids %d", i+1, sum, d.nrVpids)
			return
		}
		n := int(depth) + 1
		if cap(arena)-len(arena) < n {
			arena = make([]int32, 0, max(n, int(min(arenaSize, r.size()/4))))
		}
		p := r.entry(4 * n)
		from := len(arena)
		for range n {
			arena = append(arena, p.s32())
		}
		d.f.Pids = append(d.f.Pids, forest.Pid{Numbers: arena[from:len(arena):len(arena)]})
	}
	if sum != d.nrVpids {
		r.fail("the depths add up to %d, and nr_vpids is %d", sum, d.nrVpids)
	}
	r.end()
}

// tree reads the array of struct ckpt_task_pids.
func (d *Decoder) tree() {
	h := d.fixed(typeTree, treeSize)
	d.nrTasks = h.u32()
	r := d.d
	switch reserved := h.u32(); {
	case r.err != nil:
		return
	case d.nrTasks == 0 || d.nrTasks > d.nrPids:
		r.fail("it has %d tasks, not 1 to the %d pid objects", d.nrTasks, d.nrPids)
	case reserved != 0:
		r.fail("a reserved field is %#x, not 0", reserved)
	}
	if !d.expect(typeBuffer) {
		return
	}
	if want := taskPidsSize * uint64(d.nrTasks); r.size() != want {
		r.fail("its payload is %d bytes, not the %d of %d tasks", r.size(), want, d.nrTasks)
	}
	for i := uint32(0); i < d.nrTasks && r.err == nil; i++ {
		e := r.entry(taskPidsSize)
		t := forest.Task{
			Pid: forest.Tag(e.s32()), Parent: forest.Tag(e.s32()), TGID: forest.Tag(e.s32()),
			PGID: forest.Tag(e.s32()), SID: forest.Tag(e.s32()),
		}
		depth := e.u32()
		if p := d.f.Pid(t.Pid); p == nil {
			r.fail("the pid of task %d is %v, and there are %d pid objects", i, t.Pid, d.nrPids)
		} else if int64(depth) != int64(p.Depth()) {
			r.fail("task %d has depth %d, and its pid object %v has %d", i, depth, t.Pid, p.Depth())
		}
		d.f.Tasks = append(d.f.Tasks, t)
	}
	r.end()
}
