// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"runtime"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/image"
)

const crcName = "CRC-32C of the same bytes"

// imageRows: writing and reading images in memory.
func (b *bench) imageRows() []row {
	n := b.sizes.objects
	shapes := []struct {
		name, words string
		grow        func(int) *forest.Forest
	}{
		{"flat", "children of the init", growFlat},
		{"random", "a random tree with sessions and groups", growRandom},
	}
	var rows []row
	for _, s := range shapes {
		rows = append(rows,
			row{"encode/" + s.name, fmt.Sprintf("encode %d tasks, %s", n+1, s.words), n, func(r *Row) error { return b.encode(r, s.grow(n)) }},
			row{"decode/" + s.name, fmt.Sprintf("decode %d tasks, %s", n+1, s.words), n, func(r *Row) error { return b.decode(r, s.grow(n)) }})
	}
	return rows
}

func encoded(f *forest.Forest, write func(io.Writer, *forest.Forest) error) ([]byte, error) {
	var buf bytes.Buffer
	err := write(&buf, f)
	return buf.Bytes(), err
}

func sum(b []byte) *contender {
	table := crc32.MakeTable(crc32.Castagnoli)
	return floor(crcName, func() (sample, error) {
		return inside(func() error { crc32.Checksum(b, table); return nil })
	})
}

func (b *bench) encode(r *Row, f *forest.Forest) error {
	plain, err := encoded(f, image.Write)
	if err != nil {
		return err
	}
	packed, err := encoded(f, image.WriteCompressed)
	if err != nil {
		return err
	}
	err = b.race(r,
		ours("image.Write", func() (sample, error) { return inside(func() error { return image.Write(io.Discard, f) }) }),
		base("forest.Validate, which is part of it", func() (sample, error) { return inside(func() error { return forest.Validate(f) }) }),
		base("image.WriteCompressed", func() (sample, error) {
			return inside(func() error { return image.WriteCompressed(io.Discard, f) })
		}),
		sum(plain))
	if err != nil {
		return err
	}
	tasks := float64(len(f.Tasks))
	r.value("image", float64(len(plain))/tasks, "bytes a task", 64)
	r.value("image, compressed", float64(len(packed))/tasks, "bytes a task", 64)
	return perTask(r, f, len(plain), func() (any, error) { return nil, image.Write(io.Discard, f) })
}

func (b *bench) decode(r *Row, f *forest.Forest) error {
	plain, err := encoded(f, image.Write)
	if err != nil {
		return err
	}
	packed, err := encoded(f, image.WriteCompressed)
	if err != nil {
		return err
	}
	read := func(image_ []byte) func() (any, error) {
		return func() (any, error) { return image.Read(bytes.NewReader(image_)) }
	}
	time := func(image_ []byte) func() (sample, error) {
		return func() (sample, error) {
			return inside(func() error { _, err := read(image_)(); return err })
		}
	}
	if err := b.race(r, ours("image.Read", time(plain)), base("of a compressed image", time(packed)), sum(plain)); err != nil {
		return err
	}
	err = perTask(r, f, len(plain), read(plain))
	runtime.KeepAlive(plain) // or its end would be taken off what the forest takes
	runtime.KeepAlive(packed)
	return err
}

// perTask adds how fast a row is, and what it allocates.
func perTask(r *Row, f *forest.Forest, size int, do func() (any, error)) error {
	made, kept, bytes, allocs, err := heap(do)
	if err != nil {
		return err
	}
	tasks := float64(len(f.Tasks))
	r.value("speed", float64(size)/1e6/(r.ours().Time.Median/1e3), "MB/s", 0)
	r.value("allocated", bytes/tasks, "bytes a task", 0)
	r.value("allocations", allocs/tasks, "a task", 0)
	if made != nil {
		r.value("the forest in memory", kept/tasks, "bytes a task", 200)
	}
	return nil
}
