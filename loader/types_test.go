// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/pidgraft/pidgraft/internal/testforest"
)

const vmlinux = "/sys/kernel/btf/vmlinux"

// A file with the running kernel's types does as well as the kernel itself.
func TestReadTypes(t *testing.T) {
	privileged(t)
	data, err := os.ReadFile(vmlinux)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "types")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	types, err := ReadTypes(file)
	if err != nil {
		t.Fatal(err)
	}
	f := testforest.Start(t, `
		outside fork init newpid
		init fork a`)
	for range 2 { // it may be used again
		l := start(t, Target{PID: f.Root(), Types: types})
		if s := snapshot(t, l); len(s.Tasks) != 2 {
			t.Errorf("%d tasks", len(s.Tasks))
		}
	}
}

// Whatever else is in a file is refused, and said.
func TestWrongTypes(t *testing.T) {
	privileged(t)
	data, err := os.ReadFile(vmlinux)
	if err != nil {
		t.Fatal(err)
	}
	swapped := append([]byte{data[1], data[0]}, data[2:]...)
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	bigEndian := append([]byte{}, program...)
	bigEndian[5] = 2
	own, err := os.ReadFile("../bpf/pids_bpfel.o")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "begins neither as BTF"},
		{"words", []byte("These are words."), "begins neither as BTF"},
		{"short", data[:1000], ""},
		{"other byte order", swapped, "other byte order"},
		{"ELF of the other byte order", bigEndian, "other byte order"},
		{"a program", program, "without a section .BTF"},
		{"another kernel", own, "is not where this kernel"},
		{"no task", built(t, func(s *btf.Struct) bool { return s.Name != "task_struct" }), "has no struct task_struct"},
		{"no thread_pid", built(t, func(s *btf.Struct) bool { return without(s, "task_struct", "thread_pid") }),
			"its struct task_struct has no field thread_pid"},
		{"no pids", built(t, func(s *btf.Struct) bool { return without(s, "signal_struct", "pids") }),
			"its struct signal_struct has no field pids"},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "types")
			if err := os.WriteFile(file, test.data, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := ReadTypes(file)
			if !errors.Is(err, ErrTypes) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

// built is BTF of the structs of the running kernel that the programs read, as
// far as keep wants them; it may change them.
func built(t *testing.T, keep func(*btf.Struct) bool) []byte {
	t.Helper()
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	var task *btf.Struct
	if err := spec.TypeByName("task_struct", &task); err != nil {
		t.Fatal(err)
	}
	task = btf.Copy(task).(*btf.Struct)
	for _, s := range structsOf(task) {
		if !keep(s) {
			s.Name = "other_" + s.Name
		}
	}
	var b btf.Builder
	if _, err := b.Add(task); err != nil {
		t.Fatal(err)
	}
	data, err := b.Marshal(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// without takes a field from the struct of that name.
func without(s *btf.Struct, name, field string) bool {
	if s.Name == name {
		for i := range s.Members {
			if s.Members[i].Name == field {
				s.Members[i].Name = "other_" + field
			}
		}
	}
	return true
}
