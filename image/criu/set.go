// SPDX-License-Identifier: Apache-2.0

package criu

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	criucore "github.com/checkpoint-restore/go-criu/v8/crit/images/criu-core"
	"github.com/checkpoint-restore/go-criu/v8/crit/images/inventory"
	"github.com/checkpoint-restore/go-criu/v8/crit/images/pstree"
	"github.com/checkpoint-restore/go-criu/v8/crit/images/userns"

	"github.com/pidgraft/pidgraft/forest"
)

// set is what the files of one dump say, in whatever order they come; of each
// only what a forest needs.
type set struct {
	dir       string // where they are, for the names in errors
	seen      map[string]bool
	inventory *inventory.InventoryEntry
	tree      []process
	cores     map[uint32]core
	ids       map[uint32]ids
	users     map[uint32]users
}

// process is an entry of pstree.img.
type process struct {
	pid, ppid, pgid, sid uint32
	threads              []uint32
}

// core is what a core file says of a task.
type core struct {
	machine criucore.CoreEntryMarch
	task    *taskCore   // only of a process's leader
	thread  *threadCore // not of the dead
	ids     *ids        // where they were before CRIU 1.0
}

type taskCore struct {
	state, exitCode uint32
	comm            string
	subreaper       bool
	stop            uint32 // 0: not said
}

type threadCore struct {
	pdeath               uint32
	comm                 *string
	creds                bool // the next four are said
	uid, euid, gid, egid uint32
}

// ids are the namespaces of a process, by the numbers that CRIU gave them.
type ids struct{ pid, user uint32 }

type users struct{ uid, gid []forest.Extent }

func newSet(dir string) *set {
	return &set{
		dir: dir, seen: map[string]bool{},
		cores: map[uint32]core{}, ids: map[uint32]ids{}, users: map[uint32]users{},
	}
}

// Read makes a forest of the images in a directory, or in its subdirectory
// "checkpoint", which is where an unpacked archive has them. Its errors are
// *Error, or of fsys.
func Read(fsys fs.FS) (*forest.Forest, error) {
	dir := "."
	if !there(fsys, pstreeKind.file(0)) && there(fsys, path.Join(checkpointDir, pstreeKind.file(0))) {
		dir = checkpointDir
	}
	files, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return nil, err
	}
	s := newSet(dir)
	for _, e := range files {
		if _, _, ok := parseName(e.Name()); !ok {
			continue
		}
		if err := s.open(fsys, e.Name()); err != nil {
			return nil, err
		}
	}
	return s.forest()
}

func there(fsys fs.FS, name string) bool {
	_, err := fs.Stat(fsys, name)
	return err == nil
}

func (s *set) open(fsys fs.FS, name string) error {
	full := path.Join(s.dir, name)
	info, err := fs.Stat(fsys, full)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return s.fail(name, "it is no regular file")
	}
	f, err := fsys.Open(full)
	if err != nil {
		return err
	}
	defer f.Close()
	return s.take(name, f)
}

// fail is what is wrong with a file.
func (s *set) fail(name, format string, args ...any) error {
	return s.wrap(name, fmt.Errorf(format, args...))
}

func (s *set) wrap(name string, err error) error {
	return &Error{File: path.Join(s.dir, name), Err: err}
}

// take reads a file, if it is one that is needed.
func (s *set) take(name string, r io.Reader) error {
	k, number, ok := parseName(name)
	if !ok {
		return nil
	}
	if s.seen[name] {
		return s.fail(name, "it is there twice")
	}
	s.seen[name] = true
	e, err := openEntries(bufio.NewReader(r), k)
	if err == nil {
		switch k {
		case inventoryKind:
			s.inventory = &inventory.InventoryEntry{}
			err = e.only(s.inventory)
		case pstreeKind:
			err = s.takeTree(e)
		case coreKind:
			err = s.takeCore(e, number)
		case idsKind:
			var m criucore.TaskKobjIdsEntry
			err = e.only(&m)
			s.ids[number] = idsOf(&m)
		case usernsKind:
			var m userns.UsernsEntry
			err = e.only(&m)
			s.users[number] = users{uid: extents(m.GetUidMap()), gid: extents(m.GetGidMap())}
		}
	}
	if err != nil {
		return s.wrap(name, err)
	}
	return nil
}

func (s *set) takeTree(e *entries) error {
	tasks := 0
	for {
		var m pstree.PstreeEntry
		if err := e.next(&m); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if tasks += 1 + len(m.GetThreads()); tasks > 2*forest.MaxNumber {
			return errors.New("it has more processes and threads than there are numbers")
		}
		s.tree = append(s.tree, process{
			pid: m.GetPid(), ppid: m.GetPpid(), pgid: m.GetPgid(), sid: m.GetSid(), threads: m.GetThreads(),
		})
	}
}

func (s *set) takeCore(e *entries, number uint32) error {
	var m criucore.CoreEntry
	if err := e.only(&m); err != nil {
		return err
	}
	c := core{machine: m.GetMtype()}
	if t := m.GetTc(); t != nil {
		c.task = &taskCore{
			state: t.GetTaskState(), exitCode: t.GetExitCode(), comm: t.GetComm(),
			subreaper: t.GetChildSubreaper(), stop: t.GetStopSigno(),
		}
	}
	if t := m.GetThreadCore(); t != nil {
		p := t.GetCreds()
		c.thread = &threadCore{
			pdeath: t.GetPdeathSig(), comm: t.Comm,
			creds: p != nil, uid: p.GetUid(), euid: p.GetEuid(), gid: p.GetGid(), egid: p.GetEgid(),
		}
	}
	if m.GetIds() != nil {
		i := idsOf(m.GetIds())
		c.ids = &i
	}
	s.cores[number] = c
	return nil
}

func idsOf(m *criucore.TaskKobjIdsEntry) ids { return ids{pid: m.GetPidNsId(), user: m.GetUserNsId()} }

func extents(m []*userns.UidGidExtent) []forest.Extent {
	var out []forest.Extent
	for _, e := range m {
		out = append(out, forest.Extent{First: e.GetFirst(), Parent: e.GetLowerFirst(), Count: e.GetCount()})
	}
	return out
}
