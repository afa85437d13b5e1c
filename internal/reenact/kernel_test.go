// SPDX-License-Identifier: Apache-2.0

package reenact

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pidgraft/pidgraft/internal/alone"
	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/restore/model"
)

var (
	kernelN       = flag.Int("kernel.n", 20, "histories of TestKernel; a tenth with -short")
	kernelSeed    = flag.Uint64("kernel.seed", 1, "seed of TestKernel")
	kernelFor     = flag.Duration("kernel.for", 0, "how long TestKernel goes on at most (0: to the end)")
	kernelScript  = flag.String("kernel.script", "", "a script for TestScripts to run")
	kernelShrink  = flag.Duration("kernel.shrink", time.Minute, "how long TestKernel makes a failure smaller")
	kernelWorkers = flag.Int("kernel.workers", 0, "workers of TestKernel (0: two for each processor)")
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
	if !alone.Inside() {
		runWorkers(t)
		return
	}
	alone.Enter(t)
	w := newWorker()
	defer func() { alone.Report(t, w) }()
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t)
		if w.shrinking && time.Since(w.failedAt) > *kernelShrink {
			// rapid looks at its own limit only between passes. It runs the
			// smallest once more.
			if Script(h) == w.smallest {
				t.Fatal(w.failure)
			}
			return
		}
		steps, err := play(h, w.shrinking)
		if err != nil && !w.shrinking {
			time.Sleep(time.Second)
			first := err
			if steps, err = play(h, false); err == nil && !errors.Is(first, ErrFull) {
				w.note(h, first)
			}
			if w.shrinking = err != nil && !errors.Is(err, ErrFull); w.shrinking {
				w.failedAt = time.Now()
			}
		}
		if errors.Is(err, ErrFull) {
			t.Skip("the machine is full")
		}
		if err != nil {
			w.smallest = Script(h)
			h.Steps = h.Steps[:min(steps+1, len(h.Steps))]
			w.failure = fmt.Sprintf("%v\nscript (go test ./internal/reenact -run TestScripts -kernel.script FILE):\n%s", err, Script(h))
			t.Fatal(w.failure)
		}
		if steps < leastSteps {
			w.Short++
			t.Skip("it ended early")
		}
		w.count(h.Steps[:steps])
		w.States = states
	})
}

func drawHistory(t *rapid.T) *model.History {
	return Draw(t, slots, model.Config{Kinds: Kinds(), MaxTasks: 16, Failing: true, Version: Version()})
}

// play makes a history and compares after every step. It returns how many
// steps were made without a difference. Impatient, it takes a task that is slow
// for one that does not come.
func play(h *model.History, impatient bool) (steps int, err error) {
	stage, err := NewStage()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, stage.Close()) }()
	if impatient {
		stage.Patience = time.Second
	}
	k := model.NewVersion(h.Version)
	root := h.First()
	for i := range h.Steps {
		s := h.Steps[i]
		if more, err := stage.Step(k, &s); err != nil || !more {
			return i, err
		}
		if leader := k.Leader(root); leader != 0 {
			root = leader
		}
		last := i == len(h.Steps)-1
		compared, err := stage.Compare(k, root, last || i%16 == 15)
		if err != nil {
			return i, fmt.Errorf("after %s: %w", s.String(), err)
		}
		if compared {
			states++
		}
	}
	return len(h.Steps), nil
}

// states counts those that were compared, in this program.
var states int

// TestScripts runs scripts on the kernel and in the model: what once differed,
// and the one that -kernel.script names.
func TestScripts(t *testing.T) {
	require.Root(t)
	if !alone.Inside() {
		havePuppet(t)
		n := 0
		log, err := alone.Run("TestScripts", &n, "-kernel.script="+*kernelScript)
		if err != nil {
			t.Errorf("%v\n%s", err, log)
		}
		t.Logf("%d scripts", n)
		return
	}
	alone.Enter(t)
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	if *kernelScript != "" {
		files = []string{*kernelScript}
	}
	defer alone.Report(t, len(files))
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			h, err := Parse(string(text), Version())
			if err != nil {
				t.Fatal(err)
			}
			steps, err := play(h, false)
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
