// SPDX-License-Identifier: Apache-2.0

//go:build !lean

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/pidgraft/pidgraft/image/criu"
)

// TestWriteDirectory: a directory is there whole or not at all, and takes the
// place of nothing but an empty one, also if that came up meanwhile.
func TestWriteDirectory(t *testing.T) {
	dir := t.TempDir()
	names := func() (names []string) {
		there, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range there {
			names = append(names, e.Name())
		}
		return names
	}
	files := []criu.File{{Name: "a", Data: []byte("1")}, {Name: "b", Data: []byte("2")}}
	path := filepath.Join(dir, "new")
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if err := writeDirectory(stopped, path, 0o700, files); !errors.Is(err, context.Canceled) || len(names()) != 0 {
		t.Errorf("interrupted: %v, and there is %q", err, names())
	}
	bad := append(files, criu.File{Name: "no/such", Data: nil})
	if err := writeDirectory(t.Context(), path, 0o700, bad); err == nil || len(names()) != 0 {
		t.Errorf("a file that cannot be: %v, and there is %q", err, names())
	}
	if err := writeDirectory(t.Context(), path, 0o700, files); err != nil || len(names()) != 1 {
		t.Fatalf("%v, and there is %q", err, names())
	}
	err := writeDirectory(t.Context(), path, 0o700, files[:1])
	if exitCode(err) != exitUsage || len(names()) != 1 {
		t.Errorf("one that is not empty: %v, and there is %q", err, names())
	}
	if b, err := os.ReadFile(filepath.Join(path, "b")); err != nil || string(b) != "2" {
		t.Errorf("what was there is not any more: %q, %v", b, err)
	}
}
