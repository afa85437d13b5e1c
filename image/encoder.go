// SPDX-License-Identifier: Apache-2.0

package image

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// flushAt is how much gathers before it is written out.
const flushAt = 64 << 10

// encoder appends little-endian values and writes them out in large pieces. Its
// first error stays.
type encoder struct {
	w   io.Writer
	buf []byte
	sum uint32 // CRC-32C of what was written out
	err error

	packedAbove int // as the constant, but in tests
}

func newEncoder(w io.Writer) *encoder {
	return &encoder{w: w, buf: make([]byte, 0, 4096), packedAbove: packedAbove}
}

// record starts a record of size bytes, head included.
func (e *encoder) record(typ uint32, size uint64) {
	if size > math.MaxUint32 && e.err == nil {
		e.err = fmt.Errorf("record %s would have %d bytes, more than its length can say", recordName(typ), size)
	}
	e.u32(typ)
	e.u32(uint32(size))
}

func (e *encoder) u16(v uint16) { e.buf = binary.LittleEndian.AppendUint16(e.buf, v) }
func (e *encoder) u32(v uint32) { e.buf = binary.LittleEndian.AppendUint32(e.buf, v) }
func (e *encoder) u64(v uint64) { e.buf = binary.LittleEndian.AppendUint64(e.buf, v) }
func (e *encoder) s32(v int32)  { e.u32(uint32(v)) }

func (e *encoder) zeros(n int) {
	var zero [128]byte
	e.buf = append(e.buf, zero[:n]...)
}

// text writes s into n bytes, the rest of them 0.
func (e *encoder) text(s string, n int) {
	e.buf = append(e.buf, s...)
	e.zeros(n - len(s))
}

// flush writes out if much has gathered. It is called after each entry.
func (e *encoder) flush() {
	if len(e.buf) >= flushAt {
		e.out()
	}
}

// checksum is that of all that was appended so far.
func (e *encoder) checksum() uint32 { return crc32.Update(e.sum, castagnoli, e.buf) }

func (e *encoder) out() {
	e.sum = e.checksum()
	if e.err == nil {
		_, e.err = e.w.Write(e.buf)
	}
	e.buf = e.buf[:0]
}

// close writes out the rest.
func (e *encoder) close() error {
	e.out()
	return e.err
}
