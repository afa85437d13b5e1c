// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/pidgraft/pidgraft/collector"
)

// Kinds and marks of records, as bpf/record.h has them.
const (
	recordTask = 1 + iota
	recordPid
	recordNamespace
	recordUserNamespace
	recordExtents
)

const (
	taskSubreaper = 1 << 0
	taskUndecided = 1 << 1

	pidUsesMask = 0xf // 1 << PIDTYPE_{PID,TGID,PGID,SID}
	pidFromIDR  = 1 << 4

	maxLevel   = 32
	maxExtents = 340

	extentsUID = 0
	extentsGID = 1
)

var errShort = errors.New("record ends early")

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
func (c *cursor) bytes(dst []byte) { copy(dst, c.take(len(dst))) }
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

// records collects what the programs write into the ring, one pass at a time.
type records struct {
	snapshot       *collector.Snapshot
	maps           map[collector.ID]*idMaps
	userNamespaces []userNamespace
	// undecided are tasks with more ancestors than the programs climb.
	undecided map[collector.ID]bool
	// numbers is where Pid.Numbers are cut from, a few thousand at a time.
	numbers []int32
}

func newRecords(sizeHint int) *records {
	return &records{
		snapshot: &collector.Snapshot{
			Tasks: make([]collector.Task, 0, sizeHint),
			Pids:  make([]collector.Pid, 0, sizeHint),
		},
		maps:      make(map[collector.ID]*idMaps),
		undecided: make(map[collector.ID]bool),
	}
}

// add decodes one record. It keeps nothing of b.
func (r *records) add(b []byte) error {
	c := &cursor{b: b}
	switch kind := c.u32(); kind {
	case recordTask:
		return r.addTask(c)
	case recordPid:
		return r.addPid(c)
	case recordNamespace:
		return r.addNamespace(c)
	case recordUserNamespace:
		return r.addUserNamespace(c)
	case recordExtents:
		return r.addExtents(c)
	default:
		return fmt.Errorf("record of unknown kind %d, %d bytes", kind, len(b))
	}
}

func (r *records) addTask(c *cursor) error {
	r.snapshot.Tasks = append(r.snapshot.Tasks, collector.Task{})
	t := &r.snapshot.Tasks[len(r.snapshot.Tasks)-1]
	marks := c.u32()
	t.Subreaper = marks&taskSubreaper != 0
	t.ID = c.id()
	t.RealParent = c.id()
	t.GroupLeader = c.id()
	t.PrevSibling = c.id()
	t.PrevThread = c.id()
	t.Pid = c.id()
	t.TGID = c.id()
	t.PGID = c.id()
	t.SID = c.id()
	t.ParentTGID = c.id()
	t.UserNamespace = c.id()
	t.ChildNamespace = c.id()
	t.StartTime = c.u64()
	t.Jobctl = c.u64()
	t.ExitState = c.u32()
	t.RunState = c.u32()
	t.TaskFlags = c.u32()
	t.SignalFlags = c.u32()
	t.Ptrace = c.u32()
	t.ExitCode = c.s32()
	t.GroupExitCode = c.s32()
	t.ExitSignal = c.s32()
	t.PdeathSignal = c.s32()
	t.NrThreads = c.s32()
	t.UID = c.u32()
	t.EUID = c.u32()
	t.GID = c.u32()
	t.EGID = c.u32()
	c.bytes(t.Comm[:])
	p, err := r.pid(c, t.Pid, c.u32(), c.u32())
	if err != nil {
		r.snapshot.Tasks = r.snapshot.Tasks[:len(r.snapshot.Tasks)-1]
		return fmt.Errorf("task record: %w", err)
	}
	if err := c.done("task record"); err != nil {
		r.snapshot.Tasks = r.snapshot.Tasks[:len(r.snapshot.Tasks)-1]
		return err
	}
	r.snapshot.Pids = append(r.snapshot.Pids, p)
	if marks&taskUndecided != 0 {
		r.undecided[t.ID] = true
	}
	return nil
}

func (r *records) addPid(c *cursor) error {
	marks, id, level := c.u32(), c.id(), c.u32()
	c.skip(4)
	p, err := r.pid(c, id, marks&^pidFromIDR, level)
	if err != nil {
		return fmt.Errorf("pid record: %w", err)
	}
	if err := c.done("pid record"); err != nil {
		return err
	}
	r.snapshot.Pids = append(r.snapshot.Pids, p)
	if marks&pidFromIDR != 0 {
		r.snapshot.IDR = append(r.snapshot.IDR, p.ID)
	}
	return nil
}

// pid reads the numbers of a pid object.
func (r *records) pid(c *cursor, id collector.ID, uses, level uint32) (collector.Pid, error) {
	if uses&^pidUsesMask != 0 {
		return collector.Pid{}, fmt.Errorf("unknown uses %#x", uses)
	}
	if level > maxLevel {
		return collector.Pid{}, fmt.Errorf("level %d; the kernel has %d at most", level, maxLevel)
	}
	p := collector.Pid{
		ID:      id,
		Level:   int(level),
		Numbers: r.cut(int(level) + 1),
		HasPID:  uses&(1<<0) != 0,
		HasTGID: uses&(1<<1) != 0,
		HasPGID: uses&(1<<2) != 0,
		HasSID:  uses&(1<<3) != 0,
	}
	for i := range p.Numbers {
		p.Numbers[i] = c.s32()
		c.skip(4)
		p.Namespace = c.id()
	}
	return p, nil
}

// cut is a slice of n numbers; one allocation serves thousands.
func (r *records) cut(n int) []int32 {
	if len(r.numbers) < n {
		r.numbers = make([]int32, 8192)
	}
	s := r.numbers[:n:n]
	r.numbers = r.numbers[n:]
	return s
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
	return r.snapshot
}
