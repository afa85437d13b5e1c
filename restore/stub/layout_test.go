// SPDX-License-Identifier: Apache-2.0

package stub

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/pidgraft/pidgraft/restore/plan"
)

// TestLayout compares plan.h, as each binary was built from it, with its twin
// in Go: every entry of the C table has a Go value, every Go field an entry.
func TestLayout(t *testing.T) {
	want := goLayout()
	for _, arch := range []string{"amd64", "arm64"} {
		got := readLayout(t, "stub_"+arch)
		for name, value := range got {
			if w, ok := want[name]; !ok {
				t.Errorf("%s: %s is not known to Go", arch, name)
			} else if w != value {
				t.Errorf("%s: %s is %d in C, %d in Go", arch, name, value, w)
			}
		}
		for name := range want {
			if _, ok := got[name]; !ok {
				t.Errorf("%s: %s is not in layout.c", arch, name)
			}
		}
	}
}

func goLayout() map[string]uint32 {
	m := map[string]uint32{
		"PLAN_ADDR>>32": PlanAddr >> 32, "PLAN_MAGIC": Magic,
		"PLAN_VERSION": Version, "COMM_SIZE": CommSize,
		"TRACE_SIZE": TraceSize, "FD_PLAN": FDPlan, "FD_LIFE": FDLife,
		"FD_BELL": FDBell, "PLAN_OWN_MEMORY": OwnMemory,
		"PLAN_DETACH": Detach, "PLAN_EXEC": Exec, "PLAN_ROOT_ENDED": RootEnded,
		"PLAN_IN_PLACE": InPlace, "PLAN_NULL_STDIO": NullStdio, "PLAN_ROOT_WAITS": RootWaits,
		"COMMIT_DONE": CommitDone, "OP_DONE": Done, "OP_LEAVING": Leaving,
		"MARK_NOTIFY": MarkNotify, "MARK_BELL": MarkBell,
		"MARK_TRACE": MarkTrace, "MARK_EXEC": MarkExec, "MARK_LINGERS": MarkLinger,
		"F_NEWPID":  uint32(plan.NewPID),
		"F_NEWUSER": uint32(plan.NewUser),
		"F_PARENT":  uint32(plan.Parent),
		"F_THREAD":  uint32(plan.Thread),
		"F_PIDFD":   uint32(plan.Pidfd),
		"STAGES":    uint32(len(Stages)),
	}
	for c := plan.Code(0); c.String() != "unknown"; c++ {
		m[c.String()] = uint32(c)
	}
	for _, v := range []any{Op{}, Actor{}, IDs{}, Program{}, Failure{}, Plan{}} {
		typ := reflect.TypeOf(v)
		m[strings.ToLower(typ.Name())] = uint32(typ.Size())
		for i := range typ.NumField() {
			f := typ.Field(i)
			if f.Name == "_" {
				continue
			}
			m[strings.ToLower(typ.Name())+"."+cName(f.Name)] = uint32(f.Offset)
		}
	}
	return m
}

// cName is how plan.h writes a field's name.
func cName(name string) string {
	switch name {
	case "NAfter", "NActors", "NBirths", "NOps", "NHolds", "UID", "GID", "EUID", "EGID", "SUID", "FSUID", "SGID", "FSGID", "NoFile":
		return strings.ToLower(name)
	case "SetIDs":
		return "set_ids"
	case "IDs":
		return "ids"
	}
	var b strings.Builder
	for i, r := range name {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToLower(b.String())
}

func readLayout(t *testing.T, path string) map[string]uint32 {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := f.Section(".layout")
	if s == nil {
		t.Fatalf("%s has no section .layout", path)
	}
	data, err := s.Data()
	if err != nil {
		t.Fatal(err)
	}
	const size = 32
	m := make(map[string]uint32)
	for ; len(data) >= size; data = data[size:] {
		name, _, _ := bytes.Cut(data[:28], []byte{0})
		m[string(name)] = binary.LittleEndian.Uint32(data[28:])
	}
	return m
}

// TestBinaries checks what the safety of the restored tasks rests on: static,
// not relocatable, nothing writable at all (so nothing writable and
// executable), no interpreter, no path of the machine it was built on.
func TestBinaries(t *testing.T) {
	for arch, machine := range map[string]elf.Machine{
		"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64,
	} {
		path := "stub_" + arch
		f, err := elf.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if f.Type != elf.ET_EXEC || f.Machine != machine {
			t.Errorf("%s: %v for %v", path, f.Type, f.Machine)
		}
		for _, p := range f.Progs {
			switch {
			case p.Type == elf.PT_GNU_STACK && p.Flags&elf.PF_X != 0:
				t.Errorf("%s: executable stack", path)
			case p.Type == elf.PT_LOAD && p.Flags&elf.PF_W != 0:
				t.Errorf("%s: writable segment at %#x", path, p.Vaddr)
			case p.Type == elf.PT_INTERP, p.Type == elf.PT_DYNAMIC, p.Type == elf.PT_TLS, p.Type == elf.PT_NOTE:
				t.Errorf("%s: has a %v", path, p.Type)
			}
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(data) > 21<<10 {
			t.Errorf("%s: %d bytes; a few KB was the idea", path, len(data))
		}
		if bytes.Contains(data, []byte("/home/")) || bytes.Contains(data, []byte(".c\x00")) {
			t.Errorf("%s: names a source file", path)
		}
	}
}
