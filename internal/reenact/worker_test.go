// SPDX-License-Identifier: Apache-2.0

package reenact

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pidgraft/pidgraft/internal/alone"
	"github.com/pidgraft/pidgraft/internal/testforest"
	"github.com/pidgraft/pidgraft/restore/model"
)

// worker counts what one program in a namespace of its own did (package alone),
// or all of them.
type worker struct {
	Histories int // that counted
	Short     int // that ended early
	Steps     int
	States    int            // compared: all but those that no dump would take
	Made      map[string]int // steps by kind
	Refused   map[string]int // those that the kernel refused
	// Seen are differences, each as it was first seen. One that a second
	// run does not show is the test's or the scheduler's, such as a task
	// that was taken to be at rest.
	Seen []string

	shrinking bool // a history has failed and is being made smaller
	failedAt  time.Time
	smallest  string // the script of the smallest that failed
	failure   string // and what it showed
}

func newWorker() *worker { return &worker{Made: map[string]int{}, Refused: map[string]int{}} }

func (w *worker) count(steps []model.Step) {
	w.Histories++
	w.Steps += len(steps)
	for i := range steps {
		kind := steps[i].Kind.String()
		w.Made[kind]++
		if steps[i].Errno != 0 {
			w.Refused[kind]++
		}
	}
}

func (w *worker) note(h *model.History, err error) {
	if len(w.Seen) < 10 {
		w.Seen = append(w.Seen, fmt.Sprintf("%v\n%s", err, Script(h)))
	}
}

func (w *worker) add(b *worker) {
	w.Histories += b.Histories
	w.Short += b.Short
	w.Steps += b.Steps
	w.States += b.States
	w.Seen = append(w.Seen, b.Seen...)
	for k, n := range b.Made {
		w.Made[k] += n
	}
	for k, n := range b.Refused {
		w.Refused[k] += n
	}
}

// havePuppet compiles the puppet once for all workers.
func havePuppet(t *testing.T) {
	if os.Getenv(testforest.PuppetEnv) != "" {
		return
	}
	puppet := filepath.Join(t.TempDir(), "puppet")
	if err := testforest.CompilePuppet(puppet, ""); err != nil {
		t.Fatal(err)
	}
	t.Setenv(testforest.PuppetEnv, puppet)
}

// runWorkers makes the histories, some at a time.
func runWorkers(t *testing.T) {
	havePuppet(t)
	// A worker mostly waits for its tasks to be scheduled.
	b := alone.Batches{
		Test: "TestKernel", N: *kernelN, Size: 25, Workers: 2 * runtime.GOMAXPROCS(0), Seed: *kernelSeed, For: *kernelFor,
	}
	if testing.Short() {
		b.N = max(b.N/10, 1)
		*kernelShrink = 5 * time.Second
	}
	b.Args = []string{fmt.Sprintf("-rapid.shrinktime=%v", *kernelShrink), fmt.Sprintf("-kernel.shrink=%v", *kernelShrink)}
	if *kernelWorkers > 0 {
		b.Workers = *kernelWorkers
	}
	total := newWorker()
	all := alone.RunBatches(t, b, newWorker, total.add, summary{total})
	t.Log(total)
	if all && total.Histories < b.N {
		t.Errorf("%d histories counted, not %d", total.Histories, b.N)
	}
	if total.States < total.Steps*3/4 {
		t.Errorf("of %d states only %d were compared", total.Steps, total.States)
	}
	if total.Histories >= 1000 {
		total.expectAllKinds(t)
	}
}

// summary is a worker's first line.
type summary struct{ *worker }

func (s summary) String() string {
	return fmt.Sprintf("%d histories of %d steps or more, %d steps without a difference, %d states compared (%d histories ended early, %d differences were not seen again)",
		s.Histories, leastSteps, s.Steps, s.States, s.Short, len(s.Seen))
}

// String is a table of the kinds of steps.
func (w *worker) String() string {
	var b strings.Builder
	b.WriteString(summary{w}.String() + "\n")
	fmt.Fprintf(&b, "%-16s %8s %8s\n", "kind", "made", "refused")
	var kinds []string
	for k := range w.Made {
		kinds = append(kinds, k)
	}
	slices.Sort(kinds)
	for _, k := range kinds {
		fmt.Fprintf(&b, "%-16s %8d %8d\n", k, w.Made[k], w.Refused[k])
	}
	for _, s := range w.Seen {
		fmt.Fprintf(&b, "a difference, as first seen: %s\n", s)
	}
	return b.String()
}

// expectAllKinds: a kind that a long run never makes is not tested.
func (w *worker) expectAllKinds(t *testing.T) {
	for k := range model.Kind(64) {
		name := k.String()
		switch {
		case !Kinds().Has(k) || name == "":
		case w.Made[name] == 0:
			t.Errorf("no step was %s", k)
		case w.Made[name] == w.Refused[name] && k != model.ForkFail: // that is to fail
			t.Errorf("of %s no step succeeded", k)
		}
	}
}
