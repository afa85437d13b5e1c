// SPDX-License-Identifier: Apache-2.0

package reenact

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/internal/testforest"
	"github.com/pidgraft/pidgraft/restore/model"
)

var (
	kernelN       = flag.Int("kernel.n", 20, "histories of TestKernel")
	kernelSeed    = flag.Uint64("kernel.seed", 1, "seed of TestKernel")
	kernelScript  = flag.String("kernel.script", "", "a script for TestScripts to run")
	kernelShrink  = flag.Duration("kernel.shrink", time.Minute, "how long TestKernel makes a failure smaller")
	kernelWorkers = flag.Int("kernel.workers", 0, "workers of TestKernel (0: two for each processor)")
	kernelWorker  = flag.Int("kernel.worker", -1, "run as a worker of TestKernel (its own use)")
)

// A history counts if so many of its steps were made and compared. Of the slots
// about one in eight is left empty, and some proposals find nothing to act on.
const (
	leastSteps = 30
	slots      = 110
)

// TestKernel makes random histories in the model and, step by step, with real
// tasks. After every step errno and forest, as /proc shows it, must be the
// model's. A history ends early at a step whose outcome is the scheduler's; it
// counts if it had 30 steps by then. What differs is made smaller and printed
// as a script.
func TestKernel(t *testing.T) {
	require.Root(t)
	if *kernelWorker < 0 {
		runWorkers(t)
		return
	}
	w := startWorker(t)
	defer w.report(t)
	patience := 5 * time.Second
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t)
		steps, err := play(h, patience)
		if err != nil {
			patience = time.Second // it is the same again, only smaller
			w.note(h, err)
			steps, err = play(h, patience)
		}
		if err != nil {
			h.Steps = h.Steps[:min(steps+1, len(h.Steps))]
			t.Fatalf("%v\nscript (go test ./internal/reenact -run TestScripts -kernel.script FILE):\n%s", err, Script(h))
		}
		if steps < leastSteps {
			w.Short++
			t.Skip("it ended early")
		}
		w.count(h.Steps[:steps])
	})
}

// drawHistory draws a history that becomes smaller slot by slot.
func drawHistory(t *rapid.T) *model.History {
	seed := rapid.Uint64().Draw(t, "seed")
	left := rapid.SliceOfN(rapid.IntRange(0, 15), slots, slots).Draw(t, "slots (0: empty)")
	pickers := make([]model.Picker, slots)
	for i := range pickers {
		if i == 0 || left[i] != 0 {
			pickers[i] = rand.New(rand.NewPCG(seed, uint64(i))).IntN
		}
	}
	h, _ := model.GenerateSlots(pickers, model.Config{
		Kinds: kinds(), MaxTasks: 16, Failing: true, Version: version(),
	})
	return h
}

// kinds is what real tasks can do without changing the machine.
func kinds() model.Kinds {
	if !testforest.OwnPidMax() {
		return model.All &^ model.Of(model.WriteMax)
	}
	return model.All
}

// version is that of this kernel, as far as the model knows.
func version() model.Version { return min(model.Version(testforest.Release()), model.Latest) }

// play makes a history and compares after every step. It returns how many
// steps were made without a difference.
func play(h *model.History, patience time.Duration) (steps int, err error) {
	stage, err := NewStage()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, stage.Close()) }()
	k := model.NewVersion(h.Version)
	root := h.Steps[0].Child
	for i := range h.Steps {
		s := h.Steps[i]
		want := k.Apply(&s)
		if k.Racy() != "" || k.Ended(model.Outsider) {
			return i, nil
		}
		made, err := stage.Do(&s)
		if err != nil {
			return i, fmt.Errorf("%s: %w", s.String(), err)
		}
		if made != want && made != model.ENOTRUN {
			return i, fmt.Errorf("%s: the kernel says %v, the model %v (%s)", s.String(), made, want, k.Why())
		}
		root = k.Leader(root)
		last := i == len(h.Steps)-1
		if err := stage.Compare(k, root, last || i%16 == 15, patience); err != nil {
			return i, fmt.Errorf("after %s: %w", s.String(), err)
		}
	}
	return len(h.Steps), nil
}

// TestScripts runs scripts on the kernel and in the model: what once differed,
// and the one that -kernel.script names.
func TestScripts(t *testing.T) {
	require.Root(t)
	if *kernelWorker < 0 {
		havePuppet(t)
		if _, log, err := runWorker("TestScripts", 0, "-kernel.script="+*kernelScript); err != nil {
			t.Errorf("%v\n%s", err, log)
		}
		return
	}
	defer startWorker(t).report(t)
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	if *kernelScript != "" {
		files = []string{*kernelScript}
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			h, err := Parse(string(text), version())
			if err != nil {
				t.Fatal(err)
			}
			steps, err := play(h, 5*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if steps < len(h.Steps) {
				t.Errorf("after step %d the outcome is the scheduler's", steps)
			}
		})
	}
}

// TestParse reads what Script writes.
func TestParse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t)
		got, err := Parse(Script(h), h.Version)
		if err != nil {
			t.Fatalf("%v\n%s", err, Script(h))
		}
		if a, b := Script(h), Script(got); a != b {
			t.Fatalf("written:\n%s\nread:\n%s", a, b)
		}
	})
}
