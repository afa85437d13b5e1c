// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/pidgraft/pidgraft/internal/reenact"
	"github.com/pidgraft/pidgraft/restore/model"
)

// TestHistories plans the ends of histories that TestProve once found refused,
// made as short as they can be (-prove.examples). internal/e2e takes the same
// there and back on the kernel.
func TestHistories(t *testing.T) {
	files, err := filepath.Glob("testdata/histories/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no histories: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			h, err := reenact.Parse(string(text), model.Latest)
			if err != nil {
				t.Fatal(err)
			}
			k, err := h.Replay()
			if err != nil {
				t.Fatal(err)
			}
			f, err := k.Forest(h.Root, h.Mode)
			if err != nil {
				t.Fatal(err)
			}
			// Races show in some orders only.
			for seed := range uint64(30) {
				refused, err := prove(f, h, rand.New(rand.NewPCG(seed, 3)).IntN)
				if err != nil {
					t.Fatal(err)
				}
				if refused != nil {
					t.Fatalf("refused: %v", refused)
				}
			}
		})
	}
}
