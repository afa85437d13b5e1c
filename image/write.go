// SPDX-License-Identifier: Apache-2.0

package image

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/pidgraft/pidgraft/forest"
)

// Write writes f as an image. A forest that is impossible (a *forest.Invalid),
// or has strings that do not fit, is refused before the first byte; any other
// error is w's, and what was written is then no image.
func Write(w io.Writer, f *forest.Forest) error {
	if err := forest.Validate(f); err != nil {
		return fmt.Errorf("image: not written: %w", err)
	}
	if err := checkStrings(f); err != nil {
		return fmt.Errorf("image: not written: %w", err)
	}
	e := newEncoder(w)
	e.image(f)
	if err := e.close(); err != nil {
		return fmt.Errorf("image: write: %w", err)
	}
	return nil
}

// image appends all records. It needs objects for the pids of tasks, and
// nothing else of what Validate checks.
func (e *encoder) image(f *forest.Forest) {
	e.header(f)
	e.container()
	e.pids(f)
	e.tree(f)
	e.tool(f)
	e.cut(f)
	e.inexact(f)
	e.userNamespaces(f)
	e.namespaces(f)
	e.pidNamespaces(f)
	e.tasks(f)
	e.references(f)
	e.origins(f)
	e.exitIDs(f)
	e.tail()
}

// WriteAbort ends an image that will not be finished: a reader refuses it and
// shows message (of which at most 4000 bytes are kept). It may come after any
// record, also as the first.
func WriteAbort(w io.Writer, message string) error {
	message = strings.ReplaceAll(message, "\x00", " ")
	if len(message) > maxMessage {
		n := maxMessage
		for n > maxMessage-utf8.UTFMax && !utf8.RuneStart(message[n]) {
			n--
		}
		message = message[:n]
	}
	e := newEncoder(w)
	e.record(typeError, headSize)
	size := uint64(headSize + 1 + len(message) + 1)
	e.record(typeString, size+uint64(pad(size)))
	e.zeros(1)
	e.text(message, len(message)+1+pad(size))
	if err := e.close(); err != nil {
		return fmt.Errorf("image: write: %w", err)
	}
	return nil
}

func checkStrings(f *forest.Forest) error {
	p := &f.Producer
	for _, s := range []struct{ what, is string }{
		{"release", p.Release}, {"version", p.Version}, {"machine", p.Machine},
	} {
		if len(s.is) >= utsLen || strings.IndexByte(s.is, 0) >= 0 {
			return fmt.Errorf("the kernel's %s has %d bytes or holds a NUL; uname gives at most %d", s.what, len(s.is), utsLen-1)
		}
	}
	if len(p.Tool) > maxTool {
		return fmt.Errorf("the tool's version has %d bytes; at most %d fit", len(p.Tool), maxTool)
	}
	for i, reason := range f.Inexact {
		if len(reason) > maxReason {
			return fmt.Errorf("reason %d of inexactness has %d bytes; at most %d fit", i+1, len(reason), maxReason)
		}
	}
	return nil
}

// header is struct ckpt_hdr_header and the three strings after it, then an
// empty HEADER_ARCH.
func (e *encoder) header(f *forest.Forest) {
	p := &f.Producer
	e.record(typeHeader, headerSize)
	e.u64(headMagic)
	e.u16(archID(p.Machine))
	for _, v := range kernelVersion(p.Release) {
		e.u16(v)
	}
	e.u16(revision)
	e.zeros(6) // struct ckpt_const is aligned to 8
	for _, v := range []uint16{
		commLen, 0 /* at_vector_size */, nsig,
		utsLen, utsLen, utsLen, utsLen, utsLen, utsLen,
		0 /* rlimit_nlimits */, 0 /* n_tty_buf_size */, 0, /* tty_termios_nccs */
	} {
		e.u16(v)
	}
	seconds, _ := splitTime(p.Time)
	e.u64(uint64(seconds))
	uflags := uint64(0)
	if f.Mode == forest.Subtree {
		uflags |= flagSubtree
	}
	e.u64(uflags)
	for _, s := range []string{p.Release, p.Version, p.Machine} {
		e.record(typeBuffer, headSize+utsLen)
		e.text(s, utsLen)
	}
	e.record(typeHeaderArch, headSize)
}

// splitTime splits nanoseconds into whole seconds and 0 to 999,999,999 more.
func splitTime(t int64) (seconds int64, nanoseconds uint32) {
	seconds, rest := t/1e9, t%1e9
	if rest < 0 {
		seconds, rest = seconds-1, rest+1e9
	}
	return seconds, uint32(rest)
}

// container is struct ckpt_hdr_container, the name of no LSM, and nothing
// about it.
func (e *encoder) container() {
	e.record(typeContainer, headSize)
	e.record(typeBuffer, headSize+lsmNameLen)
	e.zeros(lsmNameLen)
	e.record(typeLSMInfo, headSize)
}

// pids is struct ckpt_hdr_pids and an array of struct ckpt_pids, each as long
// as its depth says.
func (e *encoder) pids(f *forest.Forest) {
	nrVpids := f.NrVpids()
	e.record(typePids, pidsSize)
	e.u32(uint32(len(f.Pids)))
	e.u32(uint32(nrVpids))
	e.u32(1)
	e.zeros(4)
	e.record(typeBuffer, headSize+pidSize*uint64(len(f.Pids))+4*uint64(nrVpids))
	for i := range f.Pids {
		e.u32(uint32(f.Pids[i].Depth()))
		for _, n := range f.Pids[i].Numbers {
			e.s32(n)
		}
		e.flush()
	}
}

// tree is struct ckpt_hdr_tree and an array of struct ckpt_task_pids.
func (e *encoder) tree(f *forest.Forest) {
	e.record(typeTree, treeSize)
	e.u32(uint32(len(f.Tasks)))
	e.zeros(4)
	e.record(typeBuffer, headSize+taskPidsSize*uint64(len(f.Tasks)))
	for i := range f.Tasks {
		t := &f.Tasks[i]
		e.s32(int32(t.Pid))
		e.s32(int32(t.Parent))
		e.s32(int32(t.TGID))
		e.s32(int32(t.PGID))
		e.s32(int32(t.SID))
		e.u32(uint32(f.Pid(t.Pid).Depth()))
		e.flush()
	}
}

func (e *encoder) tool(f *forest.Forest) {
	tool := f.Producer.Tool
	size := uint64(headSize + 8 + len(tool))
	_, nanoseconds := splitTime(f.Producer.Time)
	e.record(typeTool, size+uint64(pad(size)))
	e.u32(nanoseconds)
	e.u32(uint32(len(tool)))
	e.text(tool, len(tool)+pad(size))
}

func (e *encoder) cut(f *forest.Forest) {
	e.record(typeCut, cutSize)
	e.u32(uint32(f.Cut.Method))
	e.u32(bit(f.Cut.Walked, cutWalked))
}

func bit(is bool, mask uint32) uint32 {
	if is {
		return mask
	}
	return 0
}

// inexact is there only if the forest is; a reader must not overlook it.
func (e *encoder) inexact(f *forest.Forest) {
	if len(f.Inexact) == 0 {
		return
	}
	size := uint64(headSize + 4)
	for _, reason := range f.Inexact {
		size += 4 + uint64(len(reason))
	}
	e.record(typeInexact, size+uint64(pad(size)))
	e.u32(uint32(len(f.Inexact)))
	for _, reason := range f.Inexact {
		e.u32(uint32(len(reason)))
		e.text(reason, len(reason))
		e.flush()
	}
	e.zeros(pad(size))
}

func (e *encoder) userNamespaces(f *forest.Forest) {
	size := uint64(headSize + 8)
	for i := range f.UserNamespaces {
		u := &f.UserNamespaces[i]
		size += userSize + extentSize*uint64(len(u.UIDMap)+len(u.GIDMap))
	}
	e.record(typeUserNamespace, size+uint64(pad(size)))
	e.u32(uint32(len(f.UserNamespaces)))
	e.zeros(4)
	for i := range f.UserNamespaces {
		u := &f.UserNamespaces[i]
		e.s32(int32(u.Parent))
		e.u32(u.OwnerUID)
		e.u32(u.OwnerGID)
		e.u32(bit(u.Setgroups, userSetgroups))
		e.u32(u.Inode)
		e.u32(uint32(len(u.UIDMap)))
		e.u32(uint32(len(u.GIDMap)))
		e.zeros(4)
		e.extents(u.UIDMap)
		e.extents(u.GIDMap)
		e.flush()
	}
	e.zeros(pad(size))
}

func (e *encoder) extents(m []forest.Extent) {
	for _, x := range m {
		e.u32(x.First)
		e.u32(x.Parent)
		e.u32(x.Count)
	}
}

func (e *encoder) namespaces(f *forest.Forest) {
	e.record(typeNamespace, headSize+8+namespaceSize*uint64(len(f.Namespaces)))
	e.u32(uint32(len(f.Namespaces)))
	e.zeros(4)
	for i := range f.Namespaces {
		n := &f.Namespaces[i]
		e.s32(int32(n.Parent))
		e.u32(uint32(n.Level))
		e.s32(int32(n.Owner))
		e.u32(uint32(n.State))
		e.u32(n.Cursor)
		e.u32(n.PidMax)
		e.u32(n.Inode)
		e.zeros(4)
		e.flush()
	}
}

// pidNamespaces has the namespace of each pid object, in the order of PIDS.
func (e *encoder) pidNamespaces(f *forest.Forest) {
	size := headSize + 4*uint64(len(f.Pids))
	e.record(typePidNamespace, size+uint64(pad(size)))
	for i := range f.Pids {
		e.s32(int32(f.Pids[i].Namespace))
		e.flush()
	}
	e.zeros(pad(size))
}

// tasks has the rest of each task, in the order of TREE.
func (e *encoder) tasks(f *forest.Forest) {
	if len(f.Tasks) > e.packedAbove {
		e.packedTasks(f)
		return
	}
	e.record(typeTasks, headSize+taskSize*uint64(len(f.Tasks)))
	for i := range f.Tasks {
		t := &f.Tasks[i]
		e.s32(int32(t.ParentThread))
		k := kindOf(t)
		e.buf = append(e.buf, k[:]...)
		e.text(t.Comm, commLen)
		e.u64(t.StartTime)
		e.flush()
	}
}

// references is there only if the forest has any.
func (e *encoder) references(f *forest.Forest) {
	if len(f.References) == 0 {
		return
	}
	size := uint64(headSize + 8)
	for i := range f.References {
		size += referenceSize + uint64(len(f.References[i].Terminal))
	}
	e.record(typeReferences, size+uint64(pad(size)))
	e.u32(uint32(len(f.References)))
	e.zeros(4)
	for i := range f.References {
		r := &f.References[i]
		e.s32(int32(r.Object))
		e.u32(uint32(r.Kind))
		e.s32(int32(r.Holder))
		e.s32(r.FD)
		e.u32(uint32(len(r.Terminal)))
		e.text(r.Terminal, len(r.Terminal))
		e.flush()
	}
	e.zeros(pad(size))
}

// origins is there only if a history told of them.
func (e *encoder) origins(f *forest.Forest) {
	if len(f.Origins) == 0 {
		return
	}
	size := headSize + 8 + departedSize*uint64(len(f.Departed)) + originSize*uint64(len(f.Origins))
	e.record(typeOrigins, size+uint64(pad(size)))
	e.u32(uint32(len(f.Departed)))
	e.zeros(4)
	for i := range f.Departed {
		e.origin(&f.Departed[i].Origin)
		e.s32(int32(f.Departed[i].Object))
		e.flush()
	}
	for i := range f.Origins {
		e.origin(&f.Origins[i])
		e.flush()
	}
	e.zeros(pad(size))
}

func (e *encoder) origin(o *forest.Origin) {
	e.s32(int32(o.By))
	e.s32(int32(o.Departed))
	e.u32(o.Between)
	e.s32(int32(o.Session))
	e.s32(int32(o.Group))
}

// exitIDs is there only if the forest has any.
func (e *encoder) exitIDs(f *forest.Forest) {
	if len(f.ExitIDs) == 0 {
		return
	}
	size := headSize + 8 + exitIDsSize*uint64(len(f.ExitIDs))
	e.record(typeExitIDs, size+uint64(pad(size)))
	e.u32(uint32(len(f.ExitIDs)))
	e.zeros(4)
	for i := range f.ExitIDs {
		x := &f.ExitIDs[i]
		e.s32(int32(x.Task))
		e.u32(x.SUID)
		e.u32(x.FSUID)
		e.u32(x.SGID)
		e.u32(x.FSGID)
		e.flush()
	}
	e.zeros(pad(size))
}

// tail is struct ckpt_hdr_tail with the checksum of all that comes before it.
func (e *encoder) tail() {
	sum := e.checksum()
	e.record(typeTail, tailSize)
	e.u64(tailMagic)
	e.u32(sum)
	e.zeros(4)
}
