// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pidgraft/pidgraft/bpf"
	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/internal/testforest"
)

// Touching what will be read changes nothing of what is read.
func TestWarm(t *testing.T) {
	privileged(t)
	require.Feature(t, require.ProbeReads)
	require.Feature(t, require.ReadOnlyCast)
	f := testforest.Start(t, "outside fork init newpid\ninit fork a newpid newuser\na setsid\na fork b\nb thread c\ninit fork d\nd exit 3\ninit sleepers 200")
	target := Target{PID: f.Root(), Scope: Container}
	cold := start(t, target)
	p, marked, err := cold.loadProgramWith(nil, bpf.PidsProgWalkIdr, cold.coll.Maps)
	if err != nil || !marked {
		t.Fatalf("marks: %v, %v", marked, err)
	}
	cold.coll.Programs[bpf.PidsProgWalkIdr].Close()
	cold.coll.Programs[bpf.PidsProgWalkIdr] = p
	warm := start(t, target)
	if p, _, err := warm.loadProgramWith(warm.cast, bpf.PidsProgWalkIdr, warm.coll.Maps); err != nil || !warm.cast.complete() {
		t.Fatalf("%v: %+v", warm.cast, err)
	} else {
		p.Close()
	}
	if d := cmp.Diff(snapshot(t, cold).Tasks, snapshot(t, warm).Tasks); d != "" {
		t.Error(d)
	}
}
