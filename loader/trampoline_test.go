// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/pidgraft/pidgraft/audit/event"
	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/internal/testforest"
)

// Where trampolines do not work, the tracepoints are taken, and it is said why.
func TestAutoSource(t *testing.T) {
	privileged(t)
	f := testforest.Start(t, "outside fork init newpid")
	_, s := follow(t, f.Root(), StreamOptions{})
	works := require.Trampolines.Probe() == nil
	switch source, why := s.Source(); {
	case works && (source != Fentry || why != nil):
		t.Errorf("trampolines work, and the source is %v: %v", source, why)
	case !works && (source != Tracepoints || why == nil):
		t.Errorf("trampolines do not work, and the source is %v: %v", source, why)
	}
}

// told are the events of a moment, normalised: what a task was last seen to be by
// each kind of event, in the order of the kinds. Fentry has two changes for a
// setsid, the tracepoints have one for each system call, also those that change
// nothing; the clone flags and the system call's number are the tracepoints' only.
func told(events []event.Event) []string {
	last := make(map[string]string)
	for _, e := range events {
		t := e.Task
		key := fmt.Sprintf("%d %x", e.Kind, t.ID)
		if e.Kind == event.Free {
			last[key] = fmt.Sprintf("%v of %x born at %d", e.Kind, t.ID, t.StartTime)
			continue
		}
		t.Flags &= 4 // PF_EXITING; the scheduler's come and go
		last[key] = fmt.Sprintf("%v %+v by %+v", e.Kind, t, e.Creator)
	}
	words := make([]string, 0, len(last))
	for _, w := range last {
		words = append(words, w)
	}
	slices.Sort(words)
	return words
}

// Both sources, beside each other, tell the same of the same workload, step by
// step.
func TestSourcesTellTheSame(t *testing.T) {
	privileged(t)
	require.Feature(t, require.Trampolines)
	f := testforest.Start(t, toldForest)
	var streams [2]*Stream
	for i, source := range []Source{Tracepoints, Fentry} {
		_, streams[i] = follow(t, f.Root(), StreamOptions{Source: source})
	}
	tellTheSame(t, f, streams)
}

const toldForest = `
	outside fork init newpid
	init fork a
	init fork b
	init fork inner newpid
	inner fork deep`

// tellTheSame has a toldForest do everything that there is an event of.
func tellTheSame(t *testing.T, f *testforest.Forest, streams [2]*Stream) {
	t.Helper()
	// Steps that change something, so that both have something to say.
	for _, line := range []string{
		"a fork c", "c setsid", "c fork d", "inner setpgid deep self", "b subreaper 1", "b subreaper 0", "b thread x",
		"x fork y", "a exec", "b fork e", "e setpgid self self", "c exit 3", "a reap c", "b unshare pid", "b fork f", "f fork g",
		"a setns inner pid", "a fork entrant", "x setsid", "deep exit 0", "inner reap deep",
	} {
		if err := f.Do(line); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		var by [2][]event.Event
		quiet := time.Now().Add(5 * time.Second)
		for end := time.Now().Add(200 * time.Millisecond); time.Now().Before(end); {
			before := len(by[0]) + len(by[1])
			for i, s := range streams {
				var err error
				if by[i], err = s.Read(by[i], time.Now().Add(10*time.Millisecond), 100); err != nil {
					t.Fatal(err)
				}
			}
			if len(by[0])+len(by[1]) > before && time.Now().Before(quiet) {
				end = time.Now().Add(200 * time.Millisecond)
			}
		}
		one, other := told(by[0]), told(by[1])
		if !slices.Equal(one, other) || len(one) == 0 {
			t.Errorf("%s: by the one\n%q\nby the other\n%q", line, one, other)
		}
	}
	for _, s := range streams {
		if totals, err := s.Totals(); err != nil || totals.Lost() > 0 {
			t.Errorf("lost %+v, %v", totals, err)
		}
	}
}
