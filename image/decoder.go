// SPDX-License-Identifier: Apache-2.0

package image

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// chunk is how much of a record is read at once.
const chunk = 64 << 10

// decoder reads records one after the other, and values within one; never a
// byte beyond the current record. Its first error stays: after it, values are 0
// and texts empty.
type decoder struct {
	r      io.Reader
	packed *unpacker // what r is if the image is compressed
	off    int64     // bytes read
	sum    uint32    // CRC-32C of them
	before uint32    // CRC-32C of those before the current record

	typ   uint32 // the current record's type
	start int64  // where it starts
	left  uint64 // its bytes that were not read yet
	win   []byte // its bytes that were read and not taken yet
	buf   []byte // holds win
	head  [headSize]byte
	err   error
}

func newDecoder(r io.Reader) *decoder {
	return &decoder{r: r}
}

// fail notes what rule the current record breaks.
func (d *decoder) fail(format string, args ...any) {
	d.failWith(recordName(d.typ), fmt.Errorf(format, args...))
}

func (d *decoder) failWith(record string, err error) {
	if d.err == nil {
		d.err = &Error{Record: record, Offset: d.start, Err: err}
	}
}

// read fills p with the next bytes, which belong to what record says.
func (d *decoder) read(p []byte, record string) bool {
	n, err := io.ReadFull(d.r, p)
	d.off += int64(n)
	switch {
	case err == nil:
		d.sum = crc32.Update(d.sum, castagnoli, p)
		return true
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		d.failWith(record, ErrTruncated)
	default:
		d.failWith(record, fmt.Errorf("read: %w", err))
	}
	return false
}

// next reads the head of the next record. false: there is an error.
func (d *decoder) next() bool {
	if d.err != nil {
		return false
	}
	d.before, d.start, d.win = d.sum, d.off, nil
	if !d.read(d.head[:], "") {
		return false
	}
	d.typ = binary.LittleEndian.Uint32(d.head[0:])
	size := binary.LittleEndian.Uint32(d.head[4:])
	switch first := d.start == 0; {
	case first && d.typ == zstdMagic && d.packed == nil:
		return d.unpack() && d.next()
	case first && d.typ != typeHeader && d.typ != typeError:
		d.fail("this is not an image: it does not start with a record %s", recordName(typeHeader))
	case size < headSize:
		d.fail("its length is %d, less than its head's", size)
	case size%8 != 0 && d.typ != typeBuffer && d.typ != typeString:
		d.fail("its length is %d, not a multiple of 8", size)
	default:
		d.left = uint64(size) - headSize
	}
	return d.err == nil
}

// unpack goes on with what a zstd frame holds, whose magic was the first that
// came. From here on offsets are in that.
func (d *decoder) unpack() bool {
	u, err := unpack(d.head[:], d.r)
	if err != nil {
		d.failWith("", err)
		return false
	}
	d.packed, d.r, d.off, d.sum = u, u, 0, 0
	return true
}

// finish is for after the last record.
func (d *decoder) finish() {
	if d.packed == nil || d.err != nil {
		return
	}
	if err := d.packed.finish(); err != nil {
		d.failWith("", err)
	}
}

// size is how many bytes of the current record are not taken yet.
func (d *decoder) size() uint64 { return d.left + uint64(len(d.win)) }

// take gives the next n bytes of the record, at most a chunk; they are valid
// until the next call. nil: there is an error.
func (d *decoder) take(n int) []byte {
	if d.err != nil {
		return nil
	}
	if uint64(n) > d.size() {
		d.fail("it ends before what it should hold")
		return nil
	}
	if len(d.win) < n {
		want := int(min(d.size(), chunk))
		if len(d.buf) < want {
			d.buf = make([]byte, want)
		}
		have := copy(d.buf, d.win)
		more := want - have
		if !d.read(d.buf[have:want], recordName(d.typ)) {
			return nil
		}
		d.left -= uint64(more)
		d.win = d.buf[:want]
	}
	p := d.win[:n]
	d.win = d.win[n:]
	return p
}

// skip takes the rest of the record.
func (d *decoder) skip() {
	for d.err == nil && d.size() > 0 {
		d.take(int(min(d.size(), chunk)))
	}
}

// end takes the rest of the record, which is padding to a multiple of 8.
func (d *decoder) end() {
	if d.err == nil && d.size() >= 8 {
		d.fail("it has %d bytes more than it should hold", d.size())
	}
	d.zeros(int(d.size()))
}

// zeros takes n reserved bytes.
func (d *decoder) zeros(n int) {
	for _, b := range d.take(n) {
		if b != 0 {
			d.fail("a reserved byte is %#x, not 0", b)
			return
		}
	}
}

// entry takes n bytes to be split into fields.
func (d *decoder) entry(n int) fields {
	p := d.take(n)
	if p == nil {
		return make(fields, n)
	}
	return p
}

func (d *decoder) u32() uint32 { f := d.entry(4); return f.u32() }

// text takes n bytes: a string, and NULs after it.
func (d *decoder) text(n int) string {
	s, ok := d.entry(n).text()
	if !ok {
		d.fail("a string has bytes after its NUL")
	}
	return s
}

// fields are bytes from which values are taken in turn.
type fields []byte

func (f *fields) u16() uint16 {
	v := binary.LittleEndian.Uint16(*f)
	*f = (*f)[2:]
	return v
}

func (f *fields) u32() uint32 {
	v := binary.LittleEndian.Uint32(*f)
	*f = (*f)[4:]
	return v
}

func (f *fields) u64() uint64 {
	v := binary.LittleEndian.Uint64(*f)
	*f = (*f)[8:]
	return v
}

func (f *fields) s32() int32 { return int32(f.u32()) }

// text is all that is left, up to a NUL. ok: only NULs follow it.
func (f fields) text() (s string, ok bool) {
	b, rest, _ := bytes.Cut(f, []byte{0})
	return string(b), len(bytes.Trim(rest, "\x00")) == 0
}
