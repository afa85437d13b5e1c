// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"encoding/binary"
	"fmt"

	"github.com/pidgraft/pidgraft/collector"
)

// cursor reads the fields of a record one after the other, in the order of its
// C struct. Reading beyond the end gives zeros and is remembered.
type cursor struct {
	b     []byte
	short bool
}

func (c *cursor) take(n int) []byte {
	if len(c.b) < n {
		c.b, c.short = nil, true
		return make([]byte, n)
	}
	b := c.b[:n]
	c.b = c.b[n:]
	return b
}

func (c *cursor) u32() uint32      { return binary.LittleEndian.Uint32(c.take(4)) }
func (c *cursor) s32() int32       { return int32(c.u32()) }
func (c *cursor) u64() uint64      { return binary.LittleEndian.Uint64(c.take(8)) }
func (c *cursor) id() collector.ID { return collector.ID(c.u64()) }
func (c *cursor) skip(n int)       { c.take(n) }
func (c *cursor) done(k string) error {
	switch {
	case c.short:
		return fmt.Errorf("%s: %w", k, errShort)
	case len(c.b) > 0:
		return fmt.Errorf("%s: %d bytes too many", k, len(c.b))
	}
	return nil
}

// idMaps are the id maps of a user namespace, which come in parts.
type idMaps struct {
	uid, gid []collector.Extent
}

// userNamespace is a user namespace whose maps may not be complete.
type userNamespace struct {
	collector.UserNamespace
	uids, gids int // how many extents its maps have
}

func (r *records) addNamespace(c *cursor) error {
	ns := collector.Namespace{
		Level:     int(c.u32()),
		ID:        c.id(),
		Parent:    c.id(),
		Owner:     c.id(),
		Reaper:    c.id(),
		Cursor:    c.u32(),
		PidMax:    c.u32(),
		Inode:     c.u32(),
		Allocated: c.u32(),
	}
	if err := c.done("namespace record"); err != nil {
		return err
	}
	r.snapshot.Namespaces = append(r.snapshot.Namespaces, ns)
	return nil
}

func (r *records) addUserNamespace(c *cursor) error {
	u := userNamespace{UserNamespace: collector.UserNamespace{
		Level:    int(c.u32()),
		ID:       c.id(),
		Parent:   c.id(),
		Flags:    uint32(c.u64()),
		OwnerUID: c.u32(),
		OwnerGID: c.u32(),
		Inode:    c.u32(),
	}}
	u.uids, u.gids = int(c.u32()), int(c.u32())
	c.skip(4)
	if err := c.done("user namespace record"); err != nil {
		return err
	}
	r.userNamespaces = append(r.userNamespaces, u)
	return nil
}

func (r *records) addExtents(c *cursor) error {
	which, id := c.u32(), c.id()
	first, count := int(c.u32()), int(c.u32())
	if first > maxExtents || count > maxExtents-first {
		return fmt.Errorf("extents record: extents %d to %d; a map has %d at most", first, first+count, maxExtents)
	}
	part := make([]collector.Extent, count)
	for i := range part {
		part[i] = collector.Extent{First: c.u32(), Lower: c.u32(), Count: c.u32()}
	}
	if err := c.done("extents record"); err != nil {
		return err
	}
	if which != extentsUID && which != extentsGID {
		return fmt.Errorf("extents record: unknown map %d", which)
	}
	m := r.maps[id]
	if m == nil {
		m = new(idMaps)
		r.maps[id] = m
	}
	if which == extentsUID {
		m.uid = splice(m.uid, first, part)
	} else {
		m.gid = splice(m.gid, first, part)
	}
	return nil
}

// splice puts part into extents at index first. A part may come twice.
func splice(extents []collector.Extent, first int, part []collector.Extent) []collector.Extent {
	if missing := first + len(part) - len(extents); missing > 0 {
		extents = append(extents, make([]collector.Extent, missing)...)
	}
	copy(extents[first:], part)
	return extents
}

// finish is the snapshot of all records added. A user namespace whose maps were
// written while they were read is left out, which says that the target changed.
func (r *records) finish() *collector.Snapshot {
	if !r.allSeen() {
		r.part()
	}
	if r.last != nil {
		r.snapshot.Tasks, r.snapshot.Pids, r.snapshot.IDR = r.last.Tasks, r.last.Pids, r.last.IDR
	}
	for _, u := range r.userNamespaces {
		m := r.maps[u.ID]
		if m == nil {
			m = new(idMaps)
		}
		if len(m.uid) != u.uids || len(m.gid) != u.gids {
			continue
		}
		u.UIDMap, u.GIDMap = m.uid, m.gid
		r.snapshot.UserNamespaces = append(r.snapshot.UserNamespaces, u.UserNamespace)
	}
	r.checkChains()
	return r.snapshot
}
