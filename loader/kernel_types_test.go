// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"github.com/pidgraft/pidgraft/bpf"
)

// Every relocation of every program comes out as it does with all types of the
// kernel, and is of a kind that an excerpt has the answer to.
func TestExcerptRelocatesAsAllTypes(t *testing.T) {
	privileged(t)
	object, err := bpf.LoadPids()
	if err != nil {
		t.Fatal(err)
	}
	part, err := excerptTypes(object.Types, nil)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	none := func(btf.Type) (btf.TypeID, error) { return 0, btf.ErrNotFound }
	for name, program := range object.Programs {
		var relocations []*btf.CORERelocation
		for i := range program.Instructions {
			r := btf.CORERelocationMetadata(&program.Instructions[i])
			if r == nil {
				continue
			}
			relocations = append(relocations, r)
			for _, kind := range []string{"target_type_id", "type_matches", "enumval"} {
				if strings.Contains(r.String(), kind) {
					t.Errorf("%s: %v cannot be made with an excerpt", name, r)
				}
			}
		}
		fixups := func(spec *btf.Spec) (words []string) {
			list, err := btf.CORERelocate(relocations, []*btf.Spec{spec}, binary.LittleEndian, none)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for i := range list {
				words = append(words, fmt.Sprint(relocations[i], " ", list[i].String()))
			}
			return words
		}
		if diff := cmp.Diff(fixups(whole), fixups(part)); diff != "" {
			t.Errorf("%s (- all types, + excerpt):\n%s", name, diff)
		}
		if len(relocations) == 0 && !strings.HasPrefix(name, "watch") {
			t.Errorf("%s: no relocation was compared", name)
		}
	}
}

// Every field that kernel.h has of every type, also those that no program reads.
func TestExcerptHasTheFieldsOfAllTypes(t *testing.T) {
	privileged(t)
	object, err := bpf.LoadPids()
	if err != nil {
		t.Fatal(err)
	}
	part, err := excerptTypes(object.Types, nil)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for typ, err := range object.Types.All() {
		if err != nil {
			t.Fatal(err)
		}
		local, ok := typ.(*btf.Struct)
		if !ok || local.Name == "" {
			continue
		}
		name, _, _ := strings.Cut(local.Name, "___")
		var want, got *btf.Struct
		if whole.TypeByName(name, &want) != nil {
			continue // one of the programs' own
		}
		if err := part.TypeByName(name, &got); err != nil {
			t.Errorf("struct %s: %v", name, err)
			continue
		}
		if want.Size != got.Size {
			t.Errorf("struct %s: %d bytes, want %d", name, got.Size, want.Size)
		}
		for _, m := range local.Members {
			w, g := place(want, m.Name), place(got, m.Name)
			if w != g {
				t.Errorf("%s.%s: %s, want %s", name, m.Name, g, w)
			}
			compared++
		}
	}
	if compared < 50 {
		t.Errorf("only %d fields were compared", compared)
	}
}

// An excerpt that was made is given again, with the numbers.
func TestExcerptIsKept(t *testing.T) {
	privileged(t)
	object, err := bpf.LoadPids()
	if err != nil {
		t.Fatal(err)
	}
	cut := func(numbers castNumbers) *btf.Spec {
		spec, err := excerptTypes(object.Types, numbers)
		if err != nil {
			t.Fatal(err)
		}
		return spec
	}
	first, second := newCastNumbers(), newCastNumbers()
	if cut(first) != cut(second) {
		t.Error("it was made twice")
	}
	if diff := cmp.Diff(first, second); diff != "" || first[castType] == 0 {
		t.Errorf("numbers %v (- when it was made, + later):\n%s", first, diff)
	}
}

// place says where a member is, also in structs and unions without a name.
func place(typ btf.Type, member string) string {
	var members []btf.Member
	switch t := btf.UnderlyingType(typ).(type) {
	case *btf.Struct:
		members = t.Members
	case *btf.Union:
		members = t.Members
	}
	for _, m := range members {
		if m.Name == member && member != "" {
			return fmt.Sprintf("%d bits at %d, %T", m.BitfieldSize, m.Offset, btf.UnderlyingType(m.Type))
		}
		if m.Name == "" {
			if inside := place(m.Type, member); inside != "" {
				return fmt.Sprintf("%d + %s", m.Offset, inside)
			}
		}
	}
	return ""
}

// The programs for a lockdown name a type by its number, the others do not.
func TestWhoNeedsNumbers(t *testing.T) {
	for _, test := range []struct {
		load func() (*ebpf.CollectionSpec, error)
		want bool
	}{{bpf.LoadPids, false}, {bpf.LoadLocked, true}} {
		object, err := test.load()
		if err != nil {
			t.Fatal(err)
		}
		if got := needsNumbers(object); got != test.want {
			t.Errorf("got %t, want %t", got, test.want)
		}
	}
}
