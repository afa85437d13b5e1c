// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/loader/excerpt"
)

// kernelBTF is where the running kernel describes its types.
const kernelBTF = "/sys/kernel/btf/vmlinux"

// kernelTypes are the types that the programs of object are fitted to: out of
// file, if that is not nil, or else those of the running kernel that the object
// names. To decode all of them takes 10 ms or more, for 130,000 types; that is
// left for when something about them is odd, and for what only the whole says.
// numbers, if not nil, are looked for in those of the running kernel, where these are
// read. cut gives the excerpt, with the numbers; nil: it is made here.
func kernelTypes(
	object *ebpf.CollectionSpec, file *Types, all *btf.Cache, numbers castNumbers, cut func() (*btf.Spec, error),
) (*btf.Spec, error) {
	if file != nil {
		return file.spec, nil
	}
	if cut == nil {
		cut = func() (*btf.Spec, error) { return excerptTypes(object.Types, numbers) }
	}
	if !needsNumbers(object) {
		if spec, err := cut(); err == nil {
			return spec, nil
		}
	}
	spec, err := allTypes(all)
	if err == nil && numbers != nil {
		numbers.findIn(spec)
	}
	return spec, err
}

// needsNumbers reports whether a program has to know the number of one of the
// kernel's types, which is another in an excerpt.
func needsNumbers(object *ebpf.CollectionSpec) bool {
	for _, program := range object.Programs {
		for i := range program.Instructions {
			r := btf.CORERelocationMetadata(&program.Instructions[i])
			if r != nil && strings.Contains(r.String(), "target_type_id") {
				return true
			}
		}
	}
	return false
}

// allTypes are those of the running kernel.
func allTypes(all *btf.Cache) (*btf.Spec, error) {
	spec, err := all.Kernel()
	switch {
	case err == nil:
		return spec, nil
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("kernel %s: %w", release(), ErrNoBTF)
	}
	return nil, explain("read the kernel's BTF", err)
}

// excerpts are those that this process has made, by the names that were asked
// for: a kernel's types stay what they are, and there are few objects.
var (
	excerptsMu sync.Mutex
	excerpts   = map[string]madeExcerpt{}
)

type madeExcerpt struct {
	spec    *btf.Spec
	numbers castNumbers
}

// excerptTypes reads those types of the kernel that object names, once.
func excerptTypes(object *btf.Spec, numbers castNumbers) (*btf.Spec, error) {
	types, members, err := namesIn(object)
	if err != nil {
		return nil, err
	}
	key := fmt.Sprint(types, members, slices.Sorted(maps.Keys(numbers)))
	excerptsMu.Lock()
	defer excerptsMu.Unlock()
	made, ok := excerpts[key]
	if !ok {
		made.numbers = maps.Clone(numbers)
		if made.spec, err = readExcerpt(types, members, made.numbers); err != nil {
			return nil, err
		}
		excerpts[key] = made
	}
	maps.Copy(numbers, made.numbers)
	return made.spec, nil
}

func readExcerpt(types, members []string, numbers castNumbers) (*btf.Spec, error) {
	raw, err := mapFile(kernelBTF)
	if err != nil {
		return nil, err
	}
	cut, err := excerpt.Of(raw.bytes, types, members, numbers)
	if err := errors.Join(err, raw.close()); err != nil {
		return nil, err
	}
	return btf.LoadSpecFromReader(bytes.NewReader(cut))
}

// beginExcerpt begins to make the excerpt for an object of which nothing is read but
// its types, and gives what waits for it.
func beginExcerpt(object func() (*btf.Spec, error), numbers castNumbers) func() (*btf.Spec, error) {
	type result struct {
		spec *btf.Spec
		err  error
	}
	made := make(chan result, 1)
	go func() {
		types, err := object()
		var spec *btf.Spec
		if err == nil {
			spec, err = excerptTypes(types, numbers)
		}
		made <- result{spec, err}
	}()
	return sync.OnceValues(func() (*btf.Spec, error) {
		r := <-made
		return r.spec, r.err
	})
}

// namesIn are the names that an object has for types, without flavours, and for
// their members.
func namesIn(object *btf.Spec) (types, members []string, err error) {
	addMembers := func(list []btf.Member) {
		for _, m := range list {
			if m.Name != "" {
				members = append(members, m.Name)
			}
		}
	}
	for typ, err := range object.All() {
		if err != nil {
			return nil, nil, err
		}
		switch t := typ.(type) {
		case *btf.Struct:
			addMembers(t.Members)
		case *btf.Union:
			addMembers(t.Members)
		case *btf.Typedef, *btf.Enum, *btf.Int:
		default:
			continue
		}
		if name, _, _ := strings.Cut(typ.TypeName(), "___"); name != "" {
			types = append(types, name)
		}
	}
	return types, members, nil
}

// mapped is a file in memory.
type mapped struct {
	bytes []byte
	close func() error
}

// mapFile maps a file, or reads it where that is not possible: of what is in
// /sys, the kernel's BTF alone can be mapped, since 6.16.
func mapFile(name string) (mapped, error) {
	f, err := os.Open(name)
	if err != nil {
		return mapped{}, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > 0 {
		b, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
		if err == nil {
			return mapped{b, func() error { return unix.Munmap(b) }}, nil
		}
	}
	b, err := os.ReadFile(name)
	return mapped{b, func() error { return nil }}, err
}
