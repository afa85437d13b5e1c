// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/pidgraft/pidgraft/internal/alone"
	"github.com/pidgraft/pidgraft/internal/reenact"
	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/internal/testforest"
)

// TestHistories takes the forests there and back whose histories restore/plan
// keeps because they once were refused. Each must be restored; with -short a quarter
// of them, another on another kernel.
func TestHistories(t *testing.T) {
	require.Root(t)
	if !alone.Inside() {
		if os.Getenv(testforest.PuppetEnv) == "" {
			puppet := filepath.Join(t.TempDir(), "puppet")
			if err := testforest.CompilePuppet(puppet, ""); err != nil {
				t.Fatal(err)
			}
			t.Setenv(testforest.PuppetEnv, puppet)
		}
		t.Setenv("PIDGRAFT", pidgraft)
		total := newSoak()
		if log, err := alone.Run("TestHistories", total); err != nil {
			t.Fatalf("%v\n%s", err, log)
		}
		t.Log(total)
		return
	}
	alone.Enter(t)
	s := newSoak()
	defer func() { alone.Report(t, s) }()
	files, err := filepath.Glob("../../restore/plan/testdata/histories/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no histories: %v", err)
	}
	dir := t.TempDir()
	for n, file := range files {
		if testing.Short() && n%4 != int(reenact.Version())%4 {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		h, err := reenact.Parse(string(text), reenact.Version())
		if err != nil {
			t.Fatal(err)
		}
		exact := s.Exact
		if err := s.one(dir, h); err != nil {
			t.Errorf("%s: %v", filepath.Base(file), err)
		} else if s.Exact == exact {
			t.Errorf("%s: refused: %v", filepath.Base(file), s)
		}
	}
}
