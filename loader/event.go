// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"bytes"
	"fmt"

	"github.com/pidgraft/pidgraft/audit/event"
)

// eventSubreaper is the mark of event.marks (bpf/event.h).
const eventSubreaper = 1 << 0

// decodeEvent reads an event as bpf/event.h has it. It keeps nothing of b, which
// is as long as the room was, not as the event is.
func decodeEvent(b []byte) (event.Event, error) {
	c := &cursor{b: b}
	var e event.Event
	kind := c.u32()
	if kind < uint32(event.Birth) || kind > uint32(event.Refresh) {
		return e, fmt.Errorf("event of unknown kind %d, %d bytes", kind, len(b))
	}
	e.Kind = event.Kind(kind)
	e.CPU = c.u32()
	e.When = c.u64()
	e.Lost = c.u64()
	t := &e.Task
	t.ID = c.id()
	t.StartTime = c.u64()
	if e.Kind == event.Free {
		return e, c.done("event")
	}
	t.Pid = c.id()
	t.Process = c.id()
	t.Group = c.id()
	t.Session = c.id()
	t.Parent = c.id()
	t.ParentProcess = c.id()
	t.ChildNamespace = c.id()
	e.Detail = c.u64()
	t.ChildInode = c.u32()
	t.Subreaper = c.u32()&eventSubreaper != 0
	t.ExitState = c.u32()
	t.Flags = c.u32()
	t.ExitCode = c.s32()
	t.ExitSignal = c.s32()
	t.ProcessNr = c.s32()
	t.GroupNr = c.s32()
	t.SessNr = c.s32()
	t.UID = c.u32()
	t.Comm = c.comm()
	e.Creator = event.Creator{
		ID:        c.id(),
		Namespace: c.id(),
		Inode:     c.u32(),
		Nr:        c.s32(),
		HostNr:    c.s32(),
		UID:       c.u32(),
		Comm:      c.comm(),
	}
	level := c.u32()
	c.skip(4)
	if level > maxLevel {
		return e, fmt.Errorf("event: level %d; the kernel has %d at most", level, maxLevel)
	}
	if t.Pid != 0 {
		t.Numbers = make([]event.Number, level+1)
		for i := range t.Numbers {
			t.Numbers[i] = event.Number{Nr: c.s32(), Inode: c.u32(), Namespace: c.id()}
		}
	}
	if c.short {
		return e, fmt.Errorf("event: %w", errShort)
	}
	return e, nil
}

// comm is a name of at most 15 bytes, up to its NUL.
func (c *cursor) comm() string {
	b := c.take(16)
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}
