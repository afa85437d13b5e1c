// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pidgraft/pidgraft/collector"
	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/internal/testforest"
)

// pretend has the loader believe in a lockdown.
func pretend(t *testing.T, state string) {
	was := lockdown
	lockdown = func() string { return state }
	t.Cleanup(func() { lockdown = was })
}

// The programs for a lockdown of confidentiality read what the others read.
// Where it is in force all other tests are of the former.
func TestLockedDownReadsTheSame(t *testing.T) {
	privileged(t)
	require.Feature(t, require.ProbeReads)
	require.Feature(t, require.ReadOnlyCast)
	probes, casts := loaders{}, loaders{}
	for _, sample := range testforest.Samples() {
		each := t
		t.Run(sample.Name, func(t *testing.T) {
			f := testforest.Start(t, sample.Script)
			target := Target{PID: f.Root(), Scope: Container}
			if sample.Subtree {
				target.Scope = Subtree
			}
			want := quiet(snapshot(t, probes.start(each, target)))
			pretend(t, confidentiality)
			if diff := cmp.Diff(want, quiet(snapshot(t, casts.start(each, target)))); diff != "" {
				t.Errorf("- by probes, + by casts:\n%s", diff)
			}
		})
	}
}

// The events of the programs for such a lockdown are those of the others, from each
// source.
func TestLockedDownTellsTheSame(t *testing.T) {
	privileged(t)
	require.Feature(t, require.ProbeReads)
	require.Feature(t, require.ReadOnlyCast)
	tell := func(t *testing.T, source Source) {
		f := testforest.Start(t, toldForest)
		var streams [2]*Stream
		_, streams[0] = follow(t, f.Root(), StreamOptions{Source: source})
		pretend(t, confidentiality)
		_, streams[1] = follow(t, f.Root(), StreamOptions{Source: source})
		tellTheSame(t, f, streams)
	}
	// With -short one of the two.
	if !testing.Short() || require.Trampolines.Probe() != nil {
		t.Run("tracepoints", func(t *testing.T) { tell(t, Tracepoints) })
	}
	t.Run("fentry", func(t *testing.T) {
		require.Feature(t, require.Trampolines)
		tell(t, Fentry)
	})
}

// quiet leaves out what everything else on the machine changes.
func quiet(s *collector.Snapshot) *collector.Snapshot {
	for i := range s.Namespaces {
		if ns := &s.Namespaces[i]; ns.Level == 0 {
			ns.Cursor, ns.Allocated = 0, 0
		}
	}
	return s
}

// A kernel that has no way to read is named, with the reason.
func TestLockedDownTooOld(t *testing.T) {
	privileged(t)
	if require.ReadOnlyCast.Probe() == nil {
		return // the other test's case
	}
	pretend(t, confidentiality)
	_, err := Open(Target{Scope: Machine})
	if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "lockdown is confidentiality") {
		t.Errorf("got %v", err)
	}
}
