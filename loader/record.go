// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/pidgraft/pidgraft/collector"
)

// Kinds and marks of records, as bpf/record.h has them.
const (
	recordTask = 1 + iota
	recordPid
	recordNamespace
	recordUserNamespace
	recordExtents
	recordReference
)

const (
	taskSubreaper = 1 << 0
	taskUndecided = 1 << 1
	taskFromIDR   = 1 << 2

	pidUsesMask = 0xf // 1 << PIDTYPE_{PID,TGID,PGID,SID}
	pidFromIDR  = 1 << 4

	maxLevel   = 32
	maxExtents = 340

	extentsUID = 0
	extentsGID = 1
)

var errShort = errors.New("record ends early")

// records collects what the programs write into the ring in one pass.
//
// A second pass over a target at rest shows what the first did, in the same
// order. As long as it does, nothing is stored: the records are compared with
// the last snapshot, to whose tasks and pid objects the new one then refers.
type records struct {
	snapshot       *collector.Snapshot
	maps           map[collector.ID]*idMaps
	userNamespaces []userNamespace
	// undecided are tasks with more ancestors than the programs climb.
	undecided map[collector.ID]bool
	// numbers is where Pid.Numbers are cut from, a few thousand at a time.
	numbers []int32

	// chains are the namespaces of the numbers of one object in each
	// namespace, the initial one's first; chain is that of chainOf.
	chains  map[collector.ID]chain
	chain   chain
	chainOf collector.ID

	last *collector.Snapshot // nil once something differed
	seen struct{ tasks, pids, idr int }
	size int                 // records to make room for
	room *collector.Snapshot // with some already, or nil

	tasks int // how many were added
	// shown, if not nil, counts them, of all lanes; told are those that it has.
	shown *atomic.Int64
	told  int
}

// show counts what was added.
func (r *records) show() {
	if r.shown != nil {
		r.shown.Add(int64(r.tasks - r.told))
		r.told = r.tasks
	}
}

// newRecords begins a pass. last may be nil.
func newRecords(last *collector.Snapshot, sizeHint int) *records {
	return newRecordsIn(nil, last, sizeHint)
}

// newRecordsIn begins one in the room that another had, if that is not nil.
func newRecordsIn(room, last *collector.Snapshot, sizeHint int) *records {
	r := &records{
		snapshot:  new(collector.Snapshot),
		room:      room,
		maps:      make(map[collector.ID]*idMaps),
		undecided: make(map[collector.ID]bool),
		chains:    make(map[collector.ID]chain),
		last:      last,
		size:      sizeHint,
	}
	if last == nil {
		r.makeRoom()
	}
	return r
}

func (r *records) makeRoom() {
	if r.room != nil {
		r.snapshot.Tasks, r.snapshot.Pids, r.snapshot.IDR = r.room.Tasks[:0], r.room.Pids[:0], r.room.IDR[:0]
	}
	r.grow(r.size)
}

// grow makes room for n more.
func (r *records) grow(n int) {
	r.snapshot.Tasks = slices.Grow(r.snapshot.Tasks, n)
	r.snapshot.Pids = slices.Grow(r.snapshot.Pids, n)
	r.snapshot.IDR = slices.Grow(r.snapshot.IDR, n)
}

// part ends the comparison with the last snapshot, of which what was the same
// is copied.
func (r *records) part() {
	if r.last == nil {
		return
	}
	r.makeRoom()
	r.snapshot.Tasks = append(r.snapshot.Tasks, r.last.Tasks[:r.seen.tasks]...)
	r.snapshot.Pids = append(r.snapshot.Pids, r.last.Pids[:r.seen.pids]...)
	r.snapshot.IDR = append(r.snapshot.IDR, r.last.IDR[:r.seen.idr]...)
	r.last = nil
}

// add decodes one record. It keeps nothing of b.
func (r *records) add(b []byte) error {
	c := &cursor{b: b}
	switch kind := c.u32(); kind {
	case recordTask:
		return r.addTask(b)
	case recordPid:
		return r.addPid(b)
	case recordNamespace:
		return r.addNamespace(c)
	case recordUserNamespace:
		return r.addUserNamespace(c)
	case recordExtents:
		return r.addExtents(c)
	case recordReference:
		return r.addReference(c)
	default:
		return fmt.Errorf("record of unknown kind %d, %d bytes", kind, len(b))
	}
}

// Where the numbers of records begin, and how long each is.
const (
	taskHead   = 208
	pidHead    = 24
	numberSize = 16
)

// Tasks and pid objects are most of a pass: their fields are taken by offset,
// which TestLayout compares with struct record_task and record_pid.
func (r *records) addTask(b []byte) error {
	if len(b) < taskHead {
		return fmt.Errorf("task record: %w", errShort)
	}
	head := b[:taskHead:taskHead]
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(head[at:]) }
	id := func(at int) collector.ID { return collector.ID(binary.LittleEndian.Uint64(head[at:])) }
	marks := u32(4)
	t := collector.Task{
		Subreaper:      marks&taskSubreaper != 0,
		ID:             id(8),
		RealParent:     id(16),
		GroupLeader:    id(24),
		PrevSibling:    id(32),
		PrevThread:     id(40),
		Pid:            id(48),
		TGID:           id(56),
		PGID:           id(64),
		SID:            id(72),
		ParentTGID:     id(80),
		UserNamespace:  id(88),
		ChildNamespace: id(96),
		StartTime:      binary.LittleEndian.Uint64(head[104:]),
		Jobctl:         uint64(u32(112)),
		ExitState:      u32(116),
		TaskFlags:      u32(120),
		SignalFlags:    u32(124),
		Ptrace:         u32(128),
		ExitCode:       int32(u32(132)),
		GroupExitCode:  int32(u32(136)),
		ExitSignal:     int32(u32(140)),
		PdeathSignal:   int32(u32(144)),
		NrThreads:      int32(u32(148)),
		UID:            u32(152),
		EUID:           u32(156),
		GID:            u32(160),
		EGID:           u32(164),
		SUID:           u32(168),
		FSUID:          u32(172),
		SGID:           u32(176),
		FSGID:          u32(180),
		Comm:           [16]byte(head[184:200]),
	}
	p, err := newPidRecord(t.Pid, u32(200), u32(204), b[taskHead:])
	if err != nil {
		return fmt.Errorf("task record: %w", err)
	}
	if marks&taskUndecided != 0 {
		r.part() // what the last snapshot has was decided
		r.undecided[t.ID] = true
	}
	if n := r.seen.tasks; r.last != nil && (n == len(r.last.Tasks) || r.last.Tasks[n] != t) {
		r.part()
	}
	if r.last != nil {
		r.seen.tasks++
	} else {
		r.snapshot.Tasks = append(r.snapshot.Tasks, t)
	}
	r.tasks++
	r.keepPid(&p, marks&taskFromIDR != 0)
	return nil
}

func (r *records) addPid(b []byte) error {
	if len(b) < pidHead {
		return fmt.Errorf("pid record: %w", errShort)
	}
	marks, level := binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[16:])
	id := collector.ID(binary.LittleEndian.Uint64(b[8:]))
	p, err := newPidRecord(id, marks&^pidFromIDR, level, b[pidHead:])
	if err != nil {
		return fmt.Errorf("pid record: %w", err)
	}
	r.keepPid(&p, marks&pidFromIDR != 0)
	return nil
}

// pidRecord is a pid object whose numbers are still in the ring.
type pidRecord struct {
	collector.Pid
	numbers []byte
}

func newPidRecord(id collector.ID, uses, level uint32, numbers []byte) (pidRecord, error) {
	switch {
	case uses&^pidUsesMask != 0:
		return pidRecord{}, fmt.Errorf("unknown uses %#x", uses)
	case level > maxLevel:
		return pidRecord{}, fmt.Errorf("level %d; the kernel has %d at most", level, maxLevel)
	case len(numbers) < numberSize*(int(level)+1):
		return pidRecord{}, errShort
	case len(numbers) > numberSize*(int(level)+1):
		return pidRecord{}, fmt.Errorf("%d bytes too many", len(numbers)-numberSize*(int(level)+1))
	}
	return pidRecord{collector.Pid{
		ID:        id,
		Level:     int(level),
		Namespace: collector.ID(binary.LittleEndian.Uint64(numbers[numberSize*level+8:])),
		HasPID:    uses&(1<<0) != 0,
		HasTGID:   uses&(1<<1) != 0,
		HasPGID:   uses&(1<<2) != 0,
		HasSID:    uses&(1<<3) != 0,
	}, numbers}, nil
}

func (p *pidRecord) number(level int) int32 {
	return int32(binary.LittleEndian.Uint32(p.numbers[numberSize*level:]))
}

// is reports whether old is the same object with the same numbers and uses.
func (p *pidRecord) is(old *collector.Pid) bool {
	if p.ID != old.ID || p.Namespace != old.Namespace || p.Level != old.Level ||
		p.HasPID != old.HasPID || p.HasTGID != old.HasTGID || p.HasPGID != old.HasPGID || p.HasSID != old.HasSID {
		return false
	}
	for i, n := range old.Numbers {
		if p.number(i) != n {
			return false
		}
	}
	return true
}

func (p *pidRecord) namespace(level int) collector.ID {
	return collector.ID(binary.LittleEndian.Uint64(p.numbers[numberSize*level+8:]))
}

// chain is the namespaces of an object's numbers.
type chain struct {
	object     collector.ID
	namespaces []collector.ID
}

// checkChain holds the namespaces of an object's numbers against those of the
// first object that was seen of its own.
func (r *records) checkChain(p *pidRecord) {
	if r.chainOf != p.Namespace {
		c, ok := r.chains[p.Namespace]
		if !ok {
			c = chain{p.ID, make([]collector.ID, p.Level+1)}
			for i := range c.namespaces {
				c.namespaces[i] = p.namespace(i)
			}
			r.chains[p.Namespace] = c
		}
		r.chainOf, r.chain = p.Namespace, c
	}
	same := len(r.chain.namespaces) == p.Level+1
	for i := 0; same && i < p.Level; i++ {
		same = r.chain.namespaces[i] == p.namespace(i)
	}
	if !same {
		r.snapshot.Misnumbered = append(r.snapshot.Misnumbered, p.ID)
	}
}

// checkChains holds those of the first objects against the parents of the
// namespaces.
func (r *records) checkChains() {
	parents := make(map[collector.ID]collector.ID, len(r.snapshot.Namespaces))
	for i := range r.snapshot.Namespaces {
		parents[r.snapshot.Namespaces[i].ID] = r.snapshot.Namespaces[i].Parent
	}
	for _, c := range r.chains {
		for i, ns := range c.namespaces {
			parent, known := parents[ns]
			if known && (i == 0 && parent != 0 || i > 0 && parent != c.namespaces[i-1]) {
				r.snapshot.Misnumbered = append(r.snapshot.Misnumbered, c.object)
				break
			}
		}
	}
	slices.Sort(r.snapshot.Misnumbered)
	r.snapshot.Misnumbered = slices.Compact(r.snapshot.Misnumbered)
}

func (r *records) keepPid(p *pidRecord, fromIDR bool) {
	r.checkChain(p)
	if n := r.seen.pids; r.last != nil && (n == len(r.last.Pids) || !p.is(&r.last.Pids[n])) {
		r.part()
	}
	if n := r.seen.idr; r.last != nil && fromIDR && (n == len(r.last.IDR) || r.last.IDR[n] != p.ID) {
		r.part()
	}
	if r.last != nil {
		r.seen.pids++
		if fromIDR {
			r.seen.idr++
		}
		return
	}
	p.Numbers = r.takeNumbers(p.Level + 1)
	for i := range p.Numbers {
		p.Numbers[i] = p.number(i)
	}
	r.snapshot.Pids = append(r.snapshot.Pids, p.Pid)
	if fromIDR {
		r.snapshot.IDR = append(r.snapshot.IDR, p.ID)
	}
}

// takeNumbers gives room for n numbers.
func (r *records) takeNumbers(n int) []int32 {
	if len(r.numbers) < n {
		r.numbers = make([]int32, 4096)
	}
	numbers := r.numbers[:n:n]
	r.numbers = r.numbers[n:]
	return numbers
}
