// SPDX-License-Identifier: Apache-2.0

package criu

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/pidgraft/pidgraft/forest"
)

// kind is one kind of image file. A file is its magic numbers and then entries,
// each a 32-bit size and a message, all little-endian.
type kind struct {
	name     string
	numbered bool // the file's name has a number: core-7.img
	magic    uint32
	// limit is how long an entry may be. CRIU has no limit; these are a multiple
	// of what the kernel lets a task have of what is in one.
	limit int
}

var (
	inventoryKind = &kind{"inventory", false, 0x58313116, 1 << 20}
	pstreeKind    = &kind{"pstree", false, 0x50273030, 32 << 20} // an entry lists all threads of a process
	coreKind      = &kind{"core", true, 0x55053847, 1 << 20}
	idsKind       = &kind{"ids", true, 0x54432030, 1 << 20}
	usernsKind    = &kind{"userns", true, 0x55474906, 1 << 20}
)

var kinds = []*kind{inventoryKind, pstreeKind, coreKind, idsKind, usernsKind}

// commonMagic begins every file but the inventory since images are of version
// 1.1 (CRIU 2.0).
const commonMagic = 0x54564319

const suffix = ".img"

// file is the name of a file of this kind.
func (k *kind) file(number uint32) string {
	if !k.numbered {
		return k.name + suffix
	}
	return k.name + "-" + strconv.FormatUint(uint64(number), 10) + suffix
}

// parseName says what kind of file has a name, if it is one that is read.
func parseName(name string) (k *kind, number uint32, ok bool) {
	stem, ok := strings.CutSuffix(name, suffix)
	if !ok {
		return nil, 0, false
	}
	for _, k := range kinds {
		if !k.numbered {
			if stem == k.name {
				return k, 0, true
			}
			continue
		}
		if digits, ok := strings.CutPrefix(stem, k.name+"-"); ok {
			// One name for one number: neither 07 nor +7.
			n, err := strconv.ParseUint(digits, 10, 32)
			return k, uint32(n), err == nil && k.file(uint32(n)) == name
		}
	}
	return nil, 0, false
}

// entries reads the entries of a file.
type entries struct {
	r     io.Reader
	limit int
	buf   bytes.Buffer
}

// openEntries reads a file's magic numbers.
func openEntries(r io.Reader, k *kind) (*entries, error) {
	e := &entries{r: r, limit: k.limit}
	magic, err := e.u32()
	if err == nil && magic == commonMagic {
		magic, err = e.u32()
	}
	switch {
	case errors.Is(err, io.EOF):
		return nil, ErrTruncated
	case err != nil:
		return nil, err
	case magic != k.magic:
		return nil, fmt.Errorf("its magic is %#08x, and that of %s is %#08x", magic, k.file(0), k.magic)
	}
	return e, nil
}

// u32 reads a number; io.EOF: there is nothing more.
func (e *entries) u32() (uint32, error) {
	var b [4]byte
	switch _, err := io.ReadFull(e.r, b[:]); {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return 0, ErrTruncated
	case err != nil:
		return 0, err
	}
	return binary.LittleEndian.Uint32(b[:]), nil
}

// next reads the next entry; io.EOF: there is none.
func (e *entries) next(m proto.Message) error {
	size, err := e.u32()
	if err != nil {
		return err
	}
	if uint64(size) > uint64(e.limit) {
		return fmt.Errorf("an entry is to have %d bytes, and %d is the most that is read", size, e.limit)
	}
	// A size is a claim: the buffer grows as bytes come.
	e.buf.Reset()
	switch _, err := io.CopyN(&e.buf, e.r, int64(size)); {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ErrTruncated
	case err != nil:
		return err
	}
	if err := proto.Unmarshal(e.buf.Bytes(), m); err != nil {
		// The words of the library vary on purpose; they are bytes of the file, too.
		return fmt.Errorf("an entry of %d bytes is not what it should be: %s", size, forest.Escape(strings.ReplaceAll(err.Error(), "\u00a0", " ")))
	}
	return nil
}

// only reads the entry of a file that has one.
func (e *entries) only(m proto.Message) error {
	if err := e.next(m); errors.Is(err, io.EOF) {
		return ErrTruncated
	} else if err != nil {
		return err
	}
	switch _, err := e.u32(); {
	case err == nil:
		return errors.New("it goes on after its only entry")
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

// encode makes a file of entries.
func (k *kind) encode(entries ...proto.Message) ([]byte, error) {
	var b []byte
	if k != inventoryKind {
		b = binary.LittleEndian.AppendUint32(b, commonMagic)
	}
	b = binary.LittleEndian.AppendUint32(b, k.magic)
	for _, m := range entries {
		o := proto.MarshalOptions{Deterministic: true}
		size := o.Size(m)
		if size > k.limit {
			return nil, fmt.Errorf("an entry of %d bytes is longer than what is read", size)
		}
		b = binary.LittleEndian.AppendUint32(b, uint32(size))
		var err error
		if b, err = o.MarshalAppend(b, m); err != nil {
			return nil, err
		}
	}
	return b, nil
}
