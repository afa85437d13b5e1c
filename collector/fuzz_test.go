// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"errors"
	"testing"

	"github.com/pidgraft/pidgraft/forest"
)

// tape hands out the fuzzer's bytes.
type tape struct{ data []byte }

func (t *tape) next() byte {
	if len(t.data) == 0 {
		return 0
	}
	b := t.data[0]
	t.data = t.data[1:]
	return b
}

// spoil makes any Snapshot of a sound one: pointers that lead in circles, to
// nothing or to the wrong kind of thing, records that are missing or lie.
func (t *tape) spoil(s *Snapshot) {
	var ids []ID
	for i := range s.Tasks {
		ids = append(ids, s.Tasks[i].ID)
	}
	for i := range s.Pids {
		ids = append(ids, s.Pids[i].ID)
	}
	for i := range s.Namespaces {
		ids = append(ids, s.Namespaces[i].ID)
	}
	id := func() ID {
		b := int(t.next())
		if b == 255 {
			return 0
		}
		return ids[b%len(ids)]
	}
	for len(t.data) > 0 {
		k := &s.Tasks[int(t.next())%len(s.Tasks)]
		p := &s.Pids[int(t.next())%len(s.Pids)]
		n := &s.Namespaces[int(t.next())%len(s.Namespaces)]
		u := &s.UserNamespaces[int(t.next())%len(s.UserNamespaces)]
		switch t.next() % 24 {
		case 0:
			k.RealParent = id()
		case 1:
			k.GroupLeader = id()
		case 2:
			k.PrevSibling = id()
		case 3:
			k.PrevThread = id()
		case 4:
			k.Pid = id()
		case 5:
			k.TGID = id()
		case 6:
			k.PGID = id()
		case 7:
			k.SID = id()
		case 8:
			k.ParentTGID = id()
		case 9:
			k.ExitState = uint32(t.next())
		case 10:
			k.SignalFlags, k.Jobctl = uint32(t.next()), uint64(t.next())
		case 11:
			k.UserNamespace, k.ChildNamespace = id(), id()
		case 12:
			k.NrThreads = int32(int8(t.next()))
		case 13:
			p.ID = id()
		case 14:
			p.Level = int(int8(t.next()))
		case 15:
			p.Numbers = p.Numbers[:int(t.next())%(len(p.Numbers)+1)]
		case 16:
			p.Namespace = id()
		case 17:
			n.Parent = id()
		case 18:
			n.Level = int(int8(t.next()))
		case 19:
			n.Owner = id()
		case 20:
			u.Parent, u.UIDMap = s.UserNamespaces[int(t.next())%len(s.UserNamespaces)].ID, []Extent{{0, uint32(t.next()), 1}}
		case 21:
			s.Root = id()
		case 22:
			s.Namespace = id()
		case 23:
			s.Tasks = s.Tasks[:1+int(t.next())%len(s.Tasks)]
		}
	}
}

// FuzzCollect: whatever the kernel shows, and whatever an attacker makes of
// it, is a forest or an error, and soon.
func FuzzCollect(f *testing.F) {
	f.Add(uint64(1), false, []byte{})
	f.Add(uint64(2), true, []byte{1, 2, 3, 4, 0, 5})
	f.Add(uint64(3), false, []byte{1, 2, 0, 0, 2, 5, 2, 2, 0, 0, 2, 1})
	f.Fuzz(func(t *testing.T, seed uint64, subtree bool, data []byte) {
		mode := forest.Container
		if subtree {
			mode = forest.Subtree
		}
		s := liftForest(big(12), 1+int(seed%3), seed)
		(&tape{data[:min(len(data), 200)]}).spoil(s)
		g, err := Collect(s, mode, Options{})
		if err != nil {
			if !errors.Is(err, ErrChanged) && !errors.Is(err, ErrRefused) && !errors.Is(err, ErrTarget) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		checkSound(t, g)
	})
}

// checkSound is what holds for any forest that Collect returns.
func checkSound(t *testing.T, f *forest.Forest) {
	t.Helper()
	seen := map[forest.Tag]bool{}
	for i := range f.Tasks {
		k := &f.Tasks[i]
		if f.Pid(k.Pid) == nil || f.Pid(k.TGID) == nil || seen[k.Pid] {
			t.Fatalf("task %d: %+v", i, k)
		}
		seen[k.Pid] = true
		for _, tag := range []forest.Tag{k.PGID, k.SID, k.Parent, k.ParentThread} {
			if tag.IsPid() && f.Pid(tag) == nil {
				t.Fatalf("task %d: %+v", i, k)
			}
		}
		if k.ChildNamespace >= len(f.Namespaces) || k.UserNamespace >= len(f.UserNamespaces) {
			t.Fatalf("task %d: %+v", i, k)
		}
	}
	for i := range f.Pids {
		p := &f.Pids[i]
		if p.Namespace >= len(f.Namespaces) || p.Depth() != f.Namespaces[p.Namespace].Level {
			t.Fatalf("pid %d: %+v", i, p)
		}
	}
	for i := range f.Namespaces {
		if n := &f.Namespaces[i]; n.Parent >= i || n.Owner >= len(f.UserNamespaces) {
			t.Fatalf("namespace %d: %+v", i, n)
		}
	}
}
