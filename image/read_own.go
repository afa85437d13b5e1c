// SPDX-License-Identifier: Apache-2.0

package image

import "github.com/pidgraft/pidgraft/forest"

// section is a record of our own, in the order in which they come.
type section struct {
	typ      uint32
	read     func(*Decoder)
	optional bool
	// or is another type that may come instead.
	or     uint32
	readOr func(*Decoder)
}

var sections = []section{
	{typ: typeTool, read: (*Decoder).tool},
	{typ: typeCut, read: (*Decoder).cut},
	{typ: typeInexact, read: (*Decoder).inexact, optional: true},
	{typ: typeUserNamespace, read: (*Decoder).userNamespaces},
	{typ: typeNamespace, read: (*Decoder).namespaces},
	{typ: typePidNamespace, read: (*Decoder).pidNamespaces},
	{typ: typeTasks, read: (*Decoder).tasks, or: typePackedTasks, readOr: (*Decoder).packedTasks},
	{typ: typeReferences, read: (*Decoder).references, optional: true},
	{typ: typeOrigins, read: (*Decoder).origins, optional: true},
	{typ: typeExitIDs, read: (*Decoder).exitIDs, optional: true},
	{typ: typeTail, read: (*Decoder).tail},
}

// own reads our records up to the TAIL, and skips those it does not know.
func (d *Decoder) own() {
	r := d.d
	for i := 0; i < len(sections) && r.next(); {
		switch _, known := recordNames[r.typ]; {
		case r.typ == typeError:
			d.aborted()
			continue
		case !known && r.typ >= firstOwn && r.typ&required == 0:
			d.skip()
			continue
		case !known:
			r.fail("this version does not know it, and it must not be skipped: a newer version wrote it")
			continue
		case r.typ == typeFirstExitIDs:
			r.fail("a version that was never released wrote it, as one that may be skipped, which loses ids: dump again")
			continue
		}
		for sections[i].optional && sections[i].typ != r.typ {
			i++
		}
		switch r.typ {
		case sections[i].typ:
			sections[i].read(d)
		case sections[i].or:
			sections[i].readOr(d)
		default:
			r.fail("a record %s is expected here", recordName(sections[i].typ))
			continue
		}
		r.end()
		i++
	}
}

func (d *Decoder) tool() {
	r := d.d
	nanoseconds, n := r.u32(), r.u32()
	switch {
	case nanoseconds >= 1e9:
		r.fail("it has %d nanoseconds, a second or more", nanoseconds)
	case n > maxTool:
		r.fail("the tool's version has %d bytes, above %d", n, maxTool)
	default:
		d.f.Producer.Tool = string(r.entry(int(n)))
	}
	t := d.seconds*1e9 + int64(nanoseconds)
	if s, ns := splitTime(t); s != d.seconds || ns != nanoseconds {
		r.fail("the time of the dump, %d seconds, is out of range", d.seconds)
	}
	d.f.Producer.Time = t
}

func (d *Decoder) cut() {
	r := d.d
	method, flags := r.u32(), r.u32()
	d.f.Cut = forest.Cut{Method: forest.CutMethod(method), Walked: flags&cutWalked != 0}
	if method > uint32(forest.Frozen) || flags&^cutWalked != 0 {
		r.fail("method %d or flags %#x are unknown", method, flags)
	}
}

func (d *Decoder) inexact() {
	r := d.d
	n := r.u32()
	if n == 0 {
		r.fail("it has no reasons")
	}
	for ; n > 0 && r.err == nil; n-- {
		size := r.u32()
		if size > maxReason {
			r.fail("a reason has %d bytes, above %d", size, maxReason)
			return
		}
		d.f.Inexact = append(d.f.Inexact, string(r.entry(int(size))))
	}
}

func (d *Decoder) userNamespaces() {
	r := d.d
	n := r.u32()
	r.zeros(4)
	for i := uint32(0); i < n && r.err == nil; i++ {
		e := r.entry(userSize)
		u := forest.UserNamespace{Parent: int(e.s32()), OwnerUID: e.u32(), OwnerGID: e.u32()}
		flags := e.u32()
		u.Setgroups = flags&userSetgroups != 0
		u.Inode = e.u32()
		uids, gids := e.u32(), e.u32()
		switch reserved := e.u32(); {
		case flags&^userSetgroups != 0 || reserved != 0:
			r.fail("user namespace %d: flags %#x or a reserved field %#x are unknown", i, flags, reserved)
		case uids > forest.MaxExtents || gids > forest.MaxExtents:
			r.fail("user namespace %d: maps of %d and %d lines, above %d", i, uids, gids, forest.MaxExtents)
		default:
			u.UIDMap, u.GIDMap = r.extents(int(uids)), r.extents(int(gids))
		}
		d.f.UserNamespaces = append(d.f.UserNamespaces, u)
	}
}

func (d *decoder) extents(n int) []forest.Extent {
	e := d.entry(n * extentSize)
	if n == 0 || d.err != nil {
		return nil
	}
	m := make([]forest.Extent, n)
	for i := range m {
		m[i] = forest.Extent{First: e.u32(), Parent: e.u32(), Count: e.u32()}
	}
	return m
}

func (d *Decoder) namespaces() {
	r := d.d
	n := r.u32()
	r.zeros(4)
	for i := uint32(0); i < n && r.err == nil; i++ {
		e := r.entry(namespaceSize)
		parent, level, owner, state := e.s32(), e.u32(), e.s32(), e.u32()
		ns := forest.Namespace{
			Parent: int(parent), Level: int(int32(level)), Owner: int(owner), State: forest.NamespaceState(state),
			Cursor: e.u32(), PidMax: e.u32(), Inode: e.u32(),
		}
		if reserved := e.u32(); state > uint32(forest.Spoilt) || reserved != 0 {
			r.fail("namespace %d: state %d or a reserved field %#x are unknown", i, state, reserved)
		}
		d.f.Namespaces = append(d.f.Namespaces, ns)
	}
}

func (d *Decoder) pidNamespaces() {
	r := d.d
	for i := range d.f.Pids {
		d.f.Pids[i].Namespace = int(int32(r.u32()))
		if r.err != nil {
			return
		}
	}
}

func (d *Decoder) tasks() {
	r := d.d
	for i := range d.f.Tasks {
		t, e := &d.f.Tasks[i], r.entry(taskSize)
		if r.err != nil {
			return
		}
		t.ParentThread = forest.Tag(e.s32())
		k := kind(e[:kindSize])
		flags, state, known := k.set(t)
		e = e[kindSize:]
		comm, ok := d.comm(e[:commLen])
		t.Comm = comm
		e = e[commLen:]
		t.StartTime = e.u64()
		if !known {
			r.fail("task %d: flags %#x or state %d are unknown", i, flags, state)
		}
		if !ok {
			r.fail("task %d: its name has no NUL, or bytes after it", i)
		}
	}
}

// comm is a task's name. Most tasks share theirs with others.
func (d *Decoder) comm(b fields) (name string, ok bool) {
	n := 0
	for n < len(b) && b[n] != 0 {
		n++
	}
	for _, c := range b[n:] {
		if c != 0 {
			return "", false
		}
	}
	name, seen := d.comms[string(b[:n])]
	if !seen {
		name = string(b[:n])
		d.comms[name] = name
	}
	return name, n < len(b)
}

func (d *Decoder) references() {
	r := d.d
	n := r.u32()
	r.zeros(4)
	if n == 0 {
		r.fail("it has no references")
	}
	for i := uint32(0); i < n && r.err == nil; i++ {
		e := r.entry(referenceSize)
		object, kind := forest.Tag(e.s32()), e.u32()
		ref := forest.Reference{
			Object: object, Kind: forest.ReferenceKind(kind), Holder: forest.Tag(e.s32()), FD: e.s32(),
		}
		switch size := e.u32(); {
		case kind > uint32(forest.PIDFD):
			r.fail("reference %d: kind %d is unknown", i, kind)
		case size > forest.MaxTerminal:
			r.fail("reference %d: a terminal's name has %d bytes, above %d", i, size, forest.MaxTerminal)
		default:
			ref.Terminal = string(r.entry(int(size)))
		}
		d.f.References = append(d.f.References, ref)
	}
}

func (d *Decoder) origins() {
	r := d.d
	n := r.u32()
	r.zeros(4)
	for i := uint32(0); i < n && r.err == nil; i++ {
		e := r.entry(departedSize)
		d.f.Departed = append(d.f.Departed, forest.Departed{Origin: e.origin(), Object: forest.Tag(e.s32())})
	}
	for i := 0; i < len(d.f.Tasks) && r.err == nil; i++ {
		e := r.entry(originSize)
		d.f.Origins = append(d.f.Origins, e.origin())
	}
}

func (f *fields) origin() forest.Origin {
	return forest.Origin{
		By: forest.Tag(f.s32()), Departed: int(f.s32()), Between: f.u32(),
		Session: forest.Tag(f.s32()), Group: forest.Tag(f.s32()),
	}
}

func (d *Decoder) exitIDs() {
	r := d.d
	n := r.u32()
	r.zeros(4)
	if n == 0 {
		r.fail("it has no tasks")
	}
	for i := uint32(0); i < n && r.err == nil; i++ {
		e := r.entry(exitIDsSize)
		x := forest.ExitIDs{Task: forest.Tag(e.s32())}
		x.SUID, x.FSUID, x.SGID, x.FSGID = e.u32(), e.u32(), e.u32(), e.u32()
		d.f.ExitIDs = append(d.f.ExitIDs, x)
	}
}

func (d *Decoder) tail() {
	r := d.d
	want := r.before
	e := r.entry(tailSize - headSize)
	if magic := e.u64(); magic != tailMagic {
		r.fail("its magic is %#x, not %#x", magic, uint64(tailMagic))
	}
	if sum := e.u32(); sum != want {
		r.fail("its checksum is %#x, and that of the image is %#x: bytes were changed", sum, want)
	}
	if reserved := e.u32(); reserved != 0 {
		r.fail("a reserved field is %#x, not 0", reserved)
	}
}
