// SPDX-License-Identifier: Apache-2.0

package excerpt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Kinds of types (BTF_KIND_*).
const (
	kindInt       = 1
	kindPtr       = 2
	kindArray     = 3
	kindStruct    = 4
	kindUnion     = 5
	kindEnum      = 6
	kindFwd       = 7
	kindTypedef   = 8
	kindVolatile  = 9
	kindConst     = 10
	kindRestrict  = 11
	kindFunc      = 12
	kindFuncProto = 13
	kindVar       = 14
	kindDatasec   = 15
	kindFloat     = 16
	kindDeclTag   = 17
	kindTypeTag   = 18
	kindEnum64    = 19
)

const (
	magic      = 0xeb9f
	headerSize = 24 // struct btf_header
	typeSize   = 12 // struct btf_type
	memberSize = 12 // struct btf_member
	arraySize  = 12 // struct btf_array
)

// tails are what follows struct btf_type: so many bytes, and so many for each of
// its vlen elements. There is one for every number that a kind may have.
var tails = [32]tail{
	kindInt:       {fixed: 4},
	kindPtr:       {},
	kindArray:     {fixed: arraySize},
	kindStruct:    {each: memberSize},
	kindUnion:     {each: memberSize},
	kindEnum:      {each: 8},
	kindFwd:       {},
	kindTypedef:   {},
	kindVolatile:  {},
	kindConst:     {},
	kindRestrict:  {},
	kindFunc:      {},
	kindFuncProto: {each: 8},
	kindVar:       {fixed: 4},
	kindDatasec:   {each: 12},
	kindFloat:     {},
	kindDeclTag:   {fixed: 4},
	kindTypeTag:   {},
	kindEnum64:    {each: 12},

	0: unknown, 20: unknown, 21: unknown, 22: unknown, 23: unknown, 24: unknown, 25: unknown,
	26: unknown, 27: unknown, 28: unknown, 29: unknown, 30: unknown, 31: unknown,
}

type tail struct{ fixed, each uint32 }

// unknown is longer than BTF can be.
var unknown = tail{fixed: 1 << 31}

var le = binary.LittleEndian

// source is the BTF of a kernel.
type source struct {
	types, strings []byte
	at             []uint32 // by type id - 1: where in types it is
}

var errHeader = errors.New("not BTF of version 1 and this byte order")

func parseHeader(raw []byte) (*source, error) {
	if len(raw) < headerSize || le.Uint16(raw) != magic || raw[2] != 1 {
		return nil, errHeader
	}
	size := uint64(le.Uint32(raw[4:]))
	if size < headerSize || size > uint64(len(raw)) {
		return nil, errHeader
	}
	section := func(at int) ([]byte, error) {
		from, n := size+uint64(le.Uint32(raw[at:])), uint64(le.Uint32(raw[at+4:]))
		if from+n > uint64(len(raw)) {
			return nil, fmt.Errorf("a section of %d bytes at %d, in %d bytes of BTF", n, from, len(raw))
		}
		return raw[from : from+n], nil
	}
	types, err := section(8)
	if err != nil {
		return nil, err
	}
	strings, err := section(16)
	if err != nil {
		return nil, err
	}
	if len(strings) == 0 || strings[0] != 0 || strings[len(strings)-1] != 0 {
		return nil, errors.New("the strings do not begin and end with a NUL")
	}
	return &source{types: types, strings: strings}, nil
}

// name is the string at an offset, without its NUL.
func (s *source) name(offset uint32) ([]byte, error) {
	if uint64(offset) >= uint64(len(s.strings)) {
		return nil, fmt.Errorf("a name at %d, in %d bytes of strings", offset, len(s.strings))
	}
	if offset > 0 && s.strings[offset-1] != 0 {
		return nil, fmt.Errorf("a name at %d, which is within one", offset)
	}
	rest := s.strings[offset:]
	return rest[:bytes.IndexByte(rest, 0)], nil
}

// record is one type.
type record struct {
	name, info, size uint32 // of struct btf_type; size may be a type
	tail             []byte
}

func (r record) kind() uint32 { return r.info >> 24 & 0x1f }
func (r record) vlen() int    { return int(r.info & 0xffff) }

// recordAt is the type at an offset that find has come by.
func (s *source) recordAt(at uint32) record {
	b := s.types[at:]
	r := record{name: le.Uint32(b), info: le.Uint32(b[4:]), size: le.Uint32(b[8:])}
	t := tails[r.kind()]
	r.tail = b[typeSize : typeSize+t.fixed+t.each*uint32(r.vlen())]
	return r
}
