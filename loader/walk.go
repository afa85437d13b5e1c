// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"context"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/pidgraft/pidgraft/bpf"
)

// What a run of walk_idr says (bpf/idr.h, enum walk_status).
const (
	walkMore = iota
	walkDone
	walkFull
	walkAgain
	walkCannot
)

// walk reads the pid objects of the target's namespace out of its idr, one leaf
// of 64 numbers a run, and for a Container the tasks that have them. It reports
// false, and notes why in walkErr, when this kernel cannot.
//
// The namespace cannot go away meanwhile: the pidfd holds the root's pid object,
// and that its namespace.
func (l *Loader) walk(ctx context.Context, recs *records) (bool, error) {
	prog := l.coll.Programs[bpf.PidsProgWalkIdr]
	if err := l.set(bpf.PidsVarWalk, &bpf.PidsWalk{}); err != nil {
		return false, err
	}
	var at bpf.PidsWalk
	for stuck := 0; stuck < 10_000; stuck++ {
		status, err := prog.Run(&ebpf.RunOptions{})
		if err != nil {
			l.walkErr = explain("run the idr walk", err)
			return false, nil
		}
		if err := ctx.Err(); err != nil {
			return false, err
		}
		before := at
		if err := l.get(bpf.PidsVarWalk, &at); err != nil {
			return false, err
		}
		if at != before {
			stuck = 0
		}
		switch status {
		case walkMore, walkAgain:
		case walkFull:
			err = l.drain(recs)
		case walkDone:
			return true, l.drain(recs)
		case walkCannot:
			l.walkErr = fmt.Errorf("walk the idr: %w: its nodes, or the pid objects in them, are not as expected", ErrUnsupported)
			return false, l.drain(recs)
		default:
			err = fmt.Errorf("walk the idr: unknown status %d", status)
		}
		if err != nil {
			return false, err
		}
	}
	return false, fmt.Errorf("walk the idr: no progress at number %d", at.Next)
}
