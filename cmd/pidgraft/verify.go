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
		look: look{scope: scopeOf(want.Mode), retries: retries, held: true, types: types},
		done: make(chan struct{}),
	}
	go func() {
		defer close(v.done)
		v.prepared, v.err = loader.Prepare(v.look.target())
	}()
	return v
}

// run compares the new forest with the one that was wanted. It holds still until it
// is let live, so that one pass shows it. If that shows something else, a task may
// just be on its way to where it holds: then the forest is looked at as a dump
// does.
func (v *verification) run(ctx context.Context, pid int) error {
	if <-v.done; v.err != nil {
		return fmt.Errorf("verify: %w", v.err)
	}
	k := v.look
	k.pid, k.open = pid, v.prepared.Open
	if ds, err := v.differences(ctx, k); err == nil && len(ds) == 0 {
		return nil
	}
	k.held, k.open = false, nil
	ds, err := v.differences(ctx, k)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
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

// differences are those of the new forest, as k shows it, from the one that was
// wanted.
func (v *verification) differences(ctx context.Context, k look) ([]forest.Difference, error) {
	got, err := k.take(ctx)
	if err != nil {
		return nil, err
	}
	if v.want.Pid(v.want.Root().Pid).Numbers[0] == 1 {
		keepLast(v.want, got)
		stopLast(v.want, got)
	}
	return forest.Diff(v.want, got, forest.DiffOptions{}), nil
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
