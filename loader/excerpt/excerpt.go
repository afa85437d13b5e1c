// SPDX-License-Identifier: Apache-2.0

package excerpt

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
)

// Of cuts out of raw BTF the structs, unions, enums, integers and typedefs that
// have one of the names in types, also with a suffix ___something (a flavour),
// and all that they hold. Pointers lead nowhere. Of structs and unions it takes
// the members whose name is one of members, those without a name, and the last.
// numbers, if not nil, has names of functions and types of which the numbers in
// raw are wanted, and is given those that are there.
func Of(raw []byte, types, members []string, numbers map[string]uint32) ([]byte, error) {
	s, err := parseHeader(raw)
	if err != nil {
		return nil, err
	}
	roots, err := s.find(newNames(types), numbers)
	if err != nil {
		return nil, err
	}
	c := &cutter{
		source: s, members: newNames(members),
		ids: make(map[uint32]uint32), names: make(map[uint32]uint32), strings: []byte{0},
	}
	for _, id := range roots {
		if _, err := c.id(id); err != nil {
			return nil, err
		}
	}
	// Writing one type may add others to the end of the list.
	for i := 0; i < len(c.wanted); i++ {
		if err := c.write(c.wanted[i]); err != nil {
			return nil, err
		}
	}
	return c.finish(), nil
}

// names is a set of strings that is quick to say no.
type names struct {
	set    map[string]bool
	begins [1 << 10]uint64 // a bit for the first two bytes of each, its NUL included
}

func newNames(list []string) *names {
	n := &names{set: make(map[string]bool, len(list))}
	for _, name := range list {
		if name == "" {
			continue
		}
		n.set[name] = true
		for _, end := range []string{"\x00", "_"} { // its own, or a flavour's
			first := le.Uint16([]byte(name + end))
			n.begins[first>>6] |= 1 << (first & 63)
		}
	}
	return n
}

// mayHave reports whether the name at the beginning of b may be in the set.
func (n *names) mayHave(b []byte) bool {
	if len(b) < 2 {
		return false
	}
	first := le.Uint16(b)
	return n.begins[first>>6]>>(first&63)&1 != 0
}

func (n *names) has(name []byte) bool { return n.set[string(name)] }

// named are the kinds of types that are found by name.
const named = 1<<kindStruct | 1<<kindUnion | 1<<kindEnum | 1<<kindEnum64 | 1<<kindInt | 1<<kindTypedef

// numerable are the kinds of what has a number that may be asked for.
const numerable = 1<<kindStruct | 1<<kindFunc

// find notes where every type is, and finds those that are wanted by name. It is
// all that is done for most of a hundred thousand types. numbers is as for Of.
func (s *source) find(wanted *names, numbers map[string]uint32) (roots []uint32, err error) {
	numbered := newNames(slices.Collect(maps.Keys(numbers)))
	s.at = make([]uint32, 0, len(s.types)/20)
	at, end := uint64(0), uint64(len(s.types))
	for at < end {
		if end-at < typeSize {
			return nil, fmt.Errorf("%d bytes after the last type", end-at)
		}
		b := s.types[at : at+typeSize]
		info := le.Uint32(b[4:])
		kind := info >> 24 & 0x1f
		s.at = append(s.at, uint32(at))
		if named>>kind&1 != 0 {
			want, err := s.isNamed(le.Uint32(b), wanted)
			if err != nil {
				return nil, err
			}
			if want {
				roots = append(roots, uint32(len(s.at)))
			}
		}
		if numerable>>kind&1 != 0 && len(numbers) > 0 {
			if err := s.number(le.Uint32(b), numbered, numbers); err != nil {
				return nil, err
			}
		}
		t := &tails[kind]
		at += typeSize + uint64(t.fixed) + uint64(t.each)*uint64(info&0xffff)
	}
	if at > end {
		return nil, fmt.Errorf("type %d is of unknown kind, or longer than the types are", len(s.at))
	}
	return roots, nil
}

// number notes the number of the type that was found last, if it has one of the
// names.
func (s *source) number(offset uint32, wanted *names, numbers map[string]uint32) error {
	name, err := s.nameIn(offset, wanted)
	if name != nil && wanted.has(name) {
		numbers[string(name)] = uint32(len(s.at))
	}
	return err
}

// isNamed reports whether the name at offset is in a set, without its flavour.
func (s *source) isNamed(offset uint32, wanted *names) (bool, error) {
	name, err := s.nameIn(offset, wanted)
	if i := bytes.Index(name, []byte("___")); i > 0 {
		name = name[:i]
	}
	return name != nil && wanted.has(name), err
}

// nameIn is the name at offset, or nil if it is seen at once that it is not in a set.
func (s *source) nameIn(offset uint32, wanted *names) ([]byte, error) {
	if uint64(offset) < uint64(len(s.strings)) && !wanted.mayHave(s.strings[offset:]) {
		return nil, nil
	}
	return s.name(offset)
}

// cutter writes the excerpt.
type cutter struct {
	*source
	members *names
	ids     map[uint32]uint32 // of types, from the whole to the excerpt
	wanted  []uint32          // the types of the excerpt, by their ids in the whole
	names   map[uint32]uint32 // of names, from the whole to the excerpt
	pointer uint32            // a pointer to void, once there is one
	out     []byte
	strings []byte
}

// toVoid stands in wanted for the pointer to void.
const toVoid = 0

// id is the id that a type has in the excerpt, for which it is wanted now.
func (c *cutter) id(old uint32) (uint32, error) {
	if old == 0 {
		return 0, nil
	}
	if id, ok := c.ids[old]; ok {
		return id, nil
	}
	if uint64(old) > uint64(len(c.at)) {
		return 0, fmt.Errorf("type %d of %d", old, len(c.at))
	}
	r := c.recordAt(c.at[old-1])
	switch r.kind() {
	case kindPtr:
		if c.pointer == 0 {
			c.wanted = append(c.wanted, toVoid)
			c.pointer = uint32(len(c.wanted))
		}
		return c.pointer, nil
	case kindFuncProto:
		return 0, nil // nobody holds one but by a pointer
	case kindFunc, kindVar, kindDatasec, kindDeclTag:
		return 0, fmt.Errorf("type %d, held by another, is of kind %d", old, r.kind())
	}
	c.wanted = append(c.wanted, old)
	id := uint32(len(c.wanted))
	c.ids[old] = id
	return id, nil
}

// name is where a name is in the excerpt.
func (c *cutter) name(old uint32) (uint32, error) {
	if old == 0 {
		return 0, nil
	}
	if at, ok := c.names[old]; ok {
		return at, nil
	}
	name, err := c.source.name(old)
	if err != nil {
		return 0, err
	}
	at := uint32(len(c.strings))
	c.strings = append(append(c.strings, name...), 0)
	c.names[old] = at
	return at, nil
}

func (c *cutter) words(words ...uint32) {
	for _, w := range words {
		c.out = le.AppendUint32(c.out, w)
	}
}

// write appends a type to the excerpt.
func (c *cutter) write(old uint32) error {
	if old == toVoid {
		c.words(0, kindPtr<<24, 0)
		return nil
	}
	r := c.recordAt(c.at[old-1])
	name, err := c.name(r.name)
	if err != nil {
		return err
	}
	switch r.kind() {
	case kindStruct, kindUnion:
		return c.writeComposite(name, r)
	case kindEnum, kindEnum64:
		c.words(name, r.info, r.size)
		return c.writeEnumerators(r)
	case kindArray:
		c.words(name, r.info, r.size)
		return c.writeArray(r)
	case kindInt, kindFloat, kindFwd:
		c.words(name, r.info, r.size)
		c.out = append(c.out, r.tail...)
		return nil
	}
	// A typedef or a modifier: its size is a type.
	id, err := c.id(r.size)
	c.words(name, r.info, id)
	return err
}

func (c *cutter) writeComposite(name uint32, r record) error {
	head, kept := len(c.out), uint32(0)
	c.words(name, 0, r.size)
	for i := range r.vlen() {
		m := r.tail[i*memberSize:]
		at := le.Uint32(m)
		text, err := c.source.name(at)
		if err != nil {
			return err
		}
		if len(text) > 0 && i < r.vlen()-1 && !c.members.has(text) {
			continue
		}
		name, err := c.name(at)
		if err != nil {
			return err
		}
		id, err := c.id(le.Uint32(m[4:]))
		if err != nil {
			return err
		}
		c.words(name, id, le.Uint32(m[8:]))
		kept++
	}
	le.PutUint32(c.out[head+4:], r.info&^0xffff|kept)
	return nil
}

// writeEnumerators copies values, which have 4 or 8 bytes.
func (c *cutter) writeEnumerators(r record) error {
	each := int(tails[r.kind()].each)
	for i := range r.vlen() {
		e := r.tail[i*each : (i+1)*each]
		name, err := c.name(le.Uint32(e))
		if err != nil {
			return err
		}
		c.words(name)
		c.out = append(c.out, e[4:]...)
	}
	return nil
}

func (c *cutter) writeArray(r record) error {
	element, err := c.id(le.Uint32(r.tail))
	if err != nil {
		return err
	}
	index, err := c.id(le.Uint32(r.tail[4:]))
	if err != nil {
		return err
	}
	c.words(element, index, le.Uint32(r.tail[8:]))
	return nil
}

// finish puts header, types and strings together.
func (c *cutter) finish() []byte {
	raw := make([]byte, 0, headerSize+len(c.out)+len(c.strings))
	raw = append(raw, magic&0xff, magic>>8, 1, 0)
	for _, w := range []uint32{headerSize, 0, uint32(len(c.out)), uint32(len(c.out)), uint32(len(c.strings))} {
		raw = le.AppendUint32(raw, w)
	}
	return append(append(raw, c.out...), c.strings...)
}
