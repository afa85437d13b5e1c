// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"context"
	"fmt"
	"strings"
)

// Source is a target that can be looked at again and again. The loader's
// session is the real one; tests bring their own.
type Source interface {
	// Snapshot makes one pass over the target.
	Snapshot(ctx context.Context) (*Snapshot, error)
	// Changes are the counters of the watchers, which were attached before
	// the first Snapshot. They only grow.
	Changes() (Changes, error)
}

// Changes counts what the watchers saw happen to the target since they were
// attached. It is compared, never interpreted: a count may include what
// happened beside the target, never miss what happened in it. Stops, reaps and
// what leaves no event at all show up in a second pass.
type Changes struct {
	Forks    uint64 // tasks made, threads included
	Execs    uint64
	Exits    uint64 // tasks ended, threads included
	Setsids  uint64
	Setpgids uint64
	Setns    uint64
	Unshares uint64
	Prctls   uint64
	// Missed are events of the machine that nobody looked at, so that they may
	// have been the target's: from Linux 7.0 on what counts can be preempted,
	// and does not run for whoever comes by on its processor meanwhile.
	Missed uint64
}

// since says in words what grew from before to c; empty if nothing did.
func (c Changes) since(before Changes) string {
	var words []string
	for _, k := range []struct {
		now, then uint64
		one       string
	}{
		{c.Forks, before.Forks, "fork"},
		{c.Execs, before.Execs, "exec"},
		{c.Exits, before.Exits, "exit"},
		{c.Setsids, before.Setsids, "setsid"},
		{c.Setpgids, before.Setpgids, "setpgid"},
		{c.Setns, before.Setns, "setns call"},
		{c.Unshares, before.Unshares, "unshare"},
		{c.Prctls, before.Prctls, "prctl"},
		{c.Missed, before.Missed, "missed event"},
	} {
		switch n := k.now - k.then; n {
		case 0:
		case 1:
			words = append(words, "1 "+k.one)
		default:
			words = append(words, fmt.Sprintf("%d %ss", n, k.one))
		}
	}
	return strings.Join(words, ", ")
}
