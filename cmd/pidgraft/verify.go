// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/loader"
)

// verification compares a new forest with the one that was wanted, by a fresh
// dump of it. The programs for that are loaded while the forest is planned.
type verification struct {
	want     *forest.Forest
	look     look
	done     chan struct{} // closed when the next two are known
	prepared *loader.Prepared
	err      error
}

func prepareVerification(want *forest.Forest, types *loader.Types) *verification {
	v := &verification{
		want: want,
		look: look{scope: scopeOf(want.Mode), retries: retries, types: types},
		done: make(chan struct{}),
	}
	go func() {
		defer close(v.done)
		v.prepared, v.err = loader.Prepare(v.look.target())
	}()
	return v
}

// run dumps the new forest and compares it with the one that was wanted.
func (v *verification) run(ctx context.Context, pid int) error {
	if <-v.done; v.err != nil {
		return fmt.Errorf("verify: %w", v.err)
	}
	want, k := v.want, v.look
	k.pid, k.open = pid, v.prepared.Open
	got, err := k.take(ctx)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	if want.Pid(want.Root().Pid).Numbers[0] == 1 {
		keepLast(want, got)
		stopLast(want, got)
	}
	ds := forest.Diff(want, got, forest.DiffOptions{})
	if len(ds) == 0 {
		return nil
	}
	const most = 20
	lines := []string{"what was restored is not the same, and was undone:"}
	for i, d := range ds {
		if i == most {
			lines = append(lines, fmt.Sprintf("and %d more differences", len(ds)-most))
			break
		}
		lines = append(lines, d.String())
	}
	return differenceError{strings.Join(lines, "\n")}
}

// keepLast gives the first task the parent-death signal that it is to have: until
// the forest is let live, the thread of it that does that dies with the restorer.
func keepLast(want, got *forest.Forest) {
	for i := range want.Tasks {
		w := &want.Tasks[i]
		switch {
		case i >= len(got.Tasks) || w.TGID != want.Root().TGID || w.State.Exited():
		case w.State == forest.ExitingInit: // another is the first task then
			return
		default:
			got.Tasks[i].PdeathSignal = w.PdeathSignal
			return
		}
	}
}

// stopLast gives the root the stop that it is to get after all else, if it is
// a first task: nothing of it could commit when stopped.
func stopLast(want, got *forest.Forest) {
	for i := range want.Tasks {
		w := &want.Tasks[i]
		if i >= len(got.Tasks) || w.TGID != want.Root().TGID || w.State != forest.Stopped {
			continue
		}
		if g := &got.Tasks[i]; g.State == forest.Running {
			g.State, g.StopSignal, g.StopReported = w.State, w.StopSignal, w.StopReported
		}
	}
}

func (v *verification) close() {
	if <-v.done; v.prepared != nil {
		_ = v.prepared.Close()
	}
}
