// SPDX-License-Identifier: Apache-2.0

package criu

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/checkpoint-restore/go-criu/v8/crit/images/creds"
	criucore "github.com/checkpoint-restore/go-criu/v8/crit/images/criu-core"
	"github.com/checkpoint-restore/go-criu/v8/crit/images/inventory"
	"github.com/checkpoint-restore/go-criu/v8/crit/images/pstree"
	"github.com/checkpoint-restore/go-criu/v8/crit/images/userns"
	"google.golang.org/protobuf/proto"

	"github.com/pidgraft/pidgraft/forest"
)

// File is a file to be written.
type File struct {
	Name string
	Data []byte
}

// Namespaces as CRIU numbers them: its own, and those of what it dumps.
const (
	criusPIDNS  = 1
	criusUserNS = 2
	ownPIDNS    = 3
	ownUserNS   = 4
)

// firstFree is the lowest number that stands for an inherited session: those
// below are never given without being named (RESERVED_PIDS).
const firstFree = 300

// ErrRoot is why there is nothing that could be written of a forest.
var ErrRoot = errors.New("the root has ended, and CRIU knows no tree without a root that lives")

// Write makes the files that say what CRIU can say of f, and lists what is lost
// by that: what Read would not give back, in the words of forest.Diff, and what
// a forest holds beside. Start times, inodes and where f comes from are not
// told, and not counted. The files say nothing of memory, descriptors and what
// else CRIU restores from: they are to be read, not to be restored.
//
// Equal forests are equal files. It fails with the *forest.Invalid of a forest
// that cannot be, with ErrRoot, and if what is left of f cannot be.
func Write(f *forest.Forest) (files []File, lost []string, err error) {
	if err := forest.Validate(f); err != nil {
		return nil, nil, err
	}
	if f.Root().State == forest.Zombie {
		return nil, nil, ErrRoot
	}
	w := &writer{f: f, container: f.Mode == forest.Container}
	w.findUsers()
	w.findSession()
	if err := w.write(); err != nil {
		return nil, nil, err
	}
	back := newSet(".")
	for _, file := range w.files {
		if err := back.take(file.Name, bytes.NewReader(file.Data)); err != nil {
			return nil, nil, err
		}
	}
	g, err := back.forest()
	if err != nil {
		return nil, nil, fmt.Errorf("what CRIU can say of it is no forest: %w", err)
	}
	return w.files, losses(f, g), nil
}

// losses lists what of f is not in g, which is what CRIU says of it.
func losses(f, g *forest.Forest) []string {
	lost := append([]string(nil), f.Inexact...)
	for _, d := range forest.Diff(f, g, forest.DiffOptions{LiveIDs: true}) {
		lost = append(lost, d.String())
	}
	// A new namespace has the highest there is.
	if m := f.Namespaces[0].PidMax; f.Mode == forest.Container && m != 0 && m != forest.MaxNumber+1 {
		lost = append(lost, fmt.Sprintf("the root namespace: its own pid_max of %d is not told", m))
	}
	if n := len(f.References); n > 0 {
		lost = append(lost, fmt.Sprintf("the forest: %d references, by terminals and descriptors, are not told", n))
	}
	if len(f.Origins) > 0 {
		lost = append(lost, "the forest: where its processes were born is not told")
	}
	return lost
}

// writer makes the files of one forest.
type writer struct {
	f         *forest.Forest
	container bool
	users     *forest.UserNamespace // that all are in; nil: the initial one, or it cannot be told
	session   int32                 // what stands for what the root inherited
	files     []File
}

// findUsers finds the user namespace that all tasks are in, if there is one of
// which CRIU can tell.
func (w *writer) findUsers() {
	u := w.f.Root().UserNamespace
	if u == 0 || w.f.UserNamespaces[u].Parent != 0 {
		return
	}
	users := &w.f.UserNamespaces[u]
	for i := range w.f.Tasks {
		t := &w.f.Tasks[i]
		if t.UserNamespace != u {
			return
		}
		if t.State == forest.Zombie {
			continue // whose it was is not told
		}
		for _, id := range []struct {
			of []forest.Extent
			id uint32
		}{{users.UIDMap, t.UID}, {users.UIDMap, t.EUID}, {users.GIDMap, t.GID}, {users.GIDMap, t.EGID}} {
			if _, ok := unmapID(id.of, id.id); !ok {
				return
			}
		}
	}
	w.users = users
}

// unmapID is what an id of the namespace above is in a user namespace.
func unmapID(m []forest.Extent, id uint32) (uint32, bool) {
	for _, e := range m {
		if id >= e.Parent && id-e.Parent < e.Count {
			return e.First + (id - e.Parent), true
		}
	}
	return 0, false
}

// findSession finds a number for the session and group that the root has from
// outside. In a container they have none, which is 0. In a subtree they have
// one, which a forest does not tell: CRIU replaces it by its own, and wants one
// that nobody else has.
func (w *writer) findSession() {
	if w.container {
		return
	}
	taken := make(map[int32]bool, len(w.f.Pids))
	for i := range w.f.Pids {
		taken[w.f.Pids[i].Numbers[0]] = true
	}
	for w.session = firstFree; taken[w.session]; {
		w.session++
	}
}

// id is the number of a group or session.
func (w *writer) id(tag forest.Tag) uint32 {
	switch {
	case tag.IsPid():
		return w.number(tag)
	case tag == forest.Inherited:
		return uint32(w.session)
	}
	return 0
}

// number is the number of a task or ghost in the root namespace.
func (w *writer) number(tag forest.Tag) uint32 { return uint32(w.f.Pid(tag).Numbers[0]) }

func (w *writer) file(k *kind, number uint32, entries ...proto.Message) error {
	data, err := k.encode(entries...)
	if err != nil {
		return fmt.Errorf("%s: %w", k.file(number), err)
	}
	w.files = append(w.files, File{k.file(number), data})
	return nil
}

func (w *writer) write() error {
	err := w.file(inventoryKind, 0, &inventory.InventoryEntry{
		ImgVersion: proto.Uint32(imagesV11), FdinfoPerId: proto.Bool(true), NsPerId: proto.Bool(true),
		RootIds: idsEntry(1, criusPIDNS, criusUserNS), Lsmtype: inventory.Lsmtype_NO_LSM.Enum(),
	})
	if err != nil {
		return err
	}
	index := forest.NewIndex(w.f)
	var tree []proto.Message
	for i := range w.f.Tasks {
		if w.f.Tasks[i].IsLeader() {
			tree = append(tree, w.process(i, index.Threads(i)))
		}
	}
	if err := w.file(pstreeKind, 0, tree...); err != nil {
		return err
	}
	if w.users != nil {
		m := &userns.UsernsEntry{UidMap: usersEntry(w.users.UIDMap), GidMap: usersEntry(w.users.GIDMap)}
		if err := w.file(usernsKind, ownUserNS, m); err != nil {
			return err
		}
	}
	for i := range w.f.Tasks {
		if err := w.task(i); err != nil {
			return err
		}
	}
	return nil
}

// process is the entry of pstree.img. Who entered from outside is the root's.
func (w *writer) process(i int, threads []int32) *pstree.PstreeEntry {
	t := &w.f.Tasks[i]
	e := &pstree.PstreeEntry{
		Pid: proto.Uint32(w.number(t.Pid)), Ppid: proto.Uint32(0),
		Pgid: proto.Uint32(w.id(t.PGID)), Sid: proto.Uint32(w.id(t.SID)),
	}
	switch {
	case t.Parent.IsPid():
		e.Ppid = proto.Uint32(w.number(t.Parent))
	case i > 0:
		e.Ppid = proto.Uint32(w.number(w.f.Root().Pid))
	}
	for _, thread := range threads {
		e.Threads = append(e.Threads, w.number(w.f.Tasks[thread].Pid))
	}
	return e
}

// task writes the files of a task.
func (w *writer) task(i int) error {
	t := &w.f.Tasks[i]
	n := w.number(t.Pid)
	c := &criucore.CoreEntry{Mtype: w.machine().Enum()}
	if t.IsLeader() {
		c.Tc = &criucore.TaskCoreEntry{
			TaskState: proto.Uint32(taskAlive), ExitCode: proto.Uint32(0), Personality: proto.Uint32(0),
			Flags: proto.Uint32(0), BlkSigset: proto.Uint64(0), Comm: proto.String(t.Comm),
		}
	}
	switch {
	case t.State == forest.Zombie:
		c.Tc.TaskState, c.Tc.ExitCode = proto.Uint32(taskDead), proto.Uint32(uint32(t.WaitStatus()))
		return w.file(coreKind, n, c)
	case t.IsLeader():
		c.Tc.ChildSubreaper = proto.Bool(t.Subreaper)
		if t.State == forest.Stopped {
			c.Tc.TaskState, c.Tc.StopSigno = proto.Uint32(taskStopped), proto.Uint32(uint32(t.StopSignal))
		}
		pidNS, userNS := uint32(criusPIDNS), uint32(criusUserNS)
		if w.container {
			pidNS = ownPIDNS
		}
		if w.users != nil {
			userNS = ownUserNS
		}
		if err := w.file(idsKind, n, idsEntry(uint32(i)+2, pidNS, userNS)); err != nil {
			return err
		}
	}
	c.ThreadCore = &criucore.ThreadCoreEntry{
		FutexRla: proto.Uint64(0), FutexRlaLen: proto.Uint32(0), Comm: proto.String(t.Comm), Creds: w.creds(t),
	}
	if t.PdeathSignal != 0 {
		c.ThreadCore.PdeathSig = proto.Uint32(uint32(t.PdeathSignal))
	}
	return w.file(coreKind, n, c)
}

func (w *writer) machine() criucore.CoreEntryMarch {
	switch w.f.Producer.Machine {
	case "x86_64":
		return criucore.CoreEntry_X86_64
	case "aarch64":
		return criucore.CoreEntry_AARCH64
	}
	return criucore.CoreEntry_UNKNOWN
}

// creds are the ids of a task that lives, as it sees them. Its saved and file-system
// ids are not in a forest: they are taken to be the effective ones.
func (w *writer) creds(t *forest.Task) *creds.CredsEntry {
	uid, euid, gid, egid := t.UID, t.EUID, t.GID, t.EGID
	if w.users != nil {
		uid, _ = unmapID(w.users.UIDMap, uid)
		euid, _ = unmapID(w.users.UIDMap, euid)
		gid, _ = unmapID(w.users.GIDMap, gid)
		egid, _ = unmapID(w.users.GIDMap, egid)
	}
	return &creds.CredsEntry{
		Uid: proto.Uint32(uid), Euid: proto.Uint32(euid), Suid: proto.Uint32(euid), Fsuid: proto.Uint32(euid),
		Gid: proto.Uint32(gid), Egid: proto.Uint32(egid), Sgid: proto.Uint32(egid), Fsgid: proto.Uint32(egid),
		Secbits: proto.Uint32(0),
	}
}

// idsEntry says that a task shares nothing, by a number of its own, but its
// namespaces.
func idsEntry(own, pidNS, userNS uint32) *criucore.TaskKobjIdsEntry {
	return &criucore.TaskKobjIdsEntry{
		VmId: proto.Uint32(own), FilesId: proto.Uint32(own), FsId: proto.Uint32(own), SighandId: proto.Uint32(own),
		PidNsId: proto.Uint32(pidNS), UserNsId: proto.Uint32(userNS),
	}
}

func usersEntry(m []forest.Extent) []*userns.UidGidExtent {
	var out []*userns.UidGidExtent
	for _, e := range m {
		out = append(out, &userns.UidGidExtent{
			First: proto.Uint32(e.First), LowerFirst: proto.Uint32(e.Parent), Count: proto.Uint32(e.Count),
		})
	}
	return out
}
