// SPDX-License-Identifier: Apache-2.0

package main

import (
	"sync"
	"time"

	"github.com/pidgraft/pidgraft/forest"
)

// trial is what a dump makes of a forest before it is known to be the one: the
// image, ready but for its name, and why it cannot be rebuilt.
type trial struct {
	done    chan struct{}
	draft   *draft
	reasons []string
	err     error
}

// try begins the trial of f; nobody may change f before it is done. As most
// forests can be rebuilt, writing does not wait for the plan.
func (d *dump) try(f *forest.Forest) *trial {
	t := &trial{done: make(chan struct{})}
	go func() {
		defer close(t.done)
		// That f is valid shows here.
		encoded, err := d.encode(f)
		if err != nil {
			t.err = err
			return
		}
		reasons := make(chan []string, 1)
		go func() { reasons <- firstReasons(planReasons(f)) }()
		begun := time.Now()
		t.draft, t.err = d.out.draft(encoded)
		logStep("write", time.Since(begun))
		t.reasons = <-reasons
	}()
	return t
}

// result waits for the end of the trial. Whoever asks has the draft.
func (t *trial) result() (*draft, []string, error) {
	<-t.done
	made := t.draft
	t.draft = nil
	return made, t.reasons, t.err
}

// trials are those of the passes over a target. A trial takes longer than a pass,
// so it is begun beside the next.
type trials struct {
	busy, lock sync.Mutex
	begun      map[*forest.Forest]*trial
	ended      bool
}

// begin begins the trial of a forest when that of the last is done: a target that
// keeps changing would pile them up.
func (ts *trials) begin(d *dump, f *forest.Forest) {
	ts.busy.Lock()
	ts.lock.Lock()
	defer ts.lock.Unlock()
	if ts.ended {
		ts.busy.Unlock()
		return
	}
	t := d.try(f)
	go func() {
		<-t.done
		ts.busy.Unlock()
	}()
	if ts.begun == nil {
		ts.begun = make(map[*forest.Forest]*trial)
	}
	ts.begun[f] = t
}

// of is the trial of f, which may not have begun yet.
func (ts *trials) of(d *dump, f *forest.Forest) *trial {
	ts.lock.Lock()
	t := ts.begun[f]
	ts.lock.Unlock()
	if t == nil {
		return d.try(f)
	}
	return t
}

// discard waits for all trials, begins no more, and leaves nothing of those whose
// result nobody asked for.
func (ts *trials) discard() {
	ts.lock.Lock()
	defer ts.lock.Unlock()
	ts.ended = true
	for _, t := range ts.begun {
		if made, _, _ := t.result(); made != nil {
			made.discard()
		}
	}
}
