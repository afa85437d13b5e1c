// SPDX-License-Identifier: Apache-2.0

package model

import (
	"slices"

	"github.com/pidgraft/pidgraft/forest"
)

// maxUserLevel is the deepest a user namespace can be: its parent may be at
// level 32 (create_user_ns).
const maxUserLevel = 33

// userNS is a struct user_namespace.
type userNS struct {
	id             int32
	parent         *userNS
	level          int
	setgroups      bool
	owner, group   uint32 // ids of its creator, in the initial one
	mapped         bool
	uidMap, gidMap []forest.Extent // towards the parent
}

// cred is what counts of a struct cred. The ids are those of the initial user
// namespace. caps, those in effect, are all of root's in user or none, and so
// are those permitted.
type cred struct {
	user                 *userNS
	caps, permitted      bool
	uid, euid, gid, egid uint32
	other                forest.OtherIDs
}

func (k *Kernel) newUserNS(parent *userNS, owner, group uint32) *userNS {
	u := &userNS{id: k.nrUser, parent: parent, owner: owner, group: group, setgroups: true}
	if parent != nil {
		u.level = parent.level + 1
	}
	k.nrUser++
	return u
}

// createUserNS gives t a new user namespace (create_user_ns).
func (k *Kernel) createUserNS(c *cred) Errno {
	if c.user.level >= maxUserLevel {
		return k.fail(ENOSPC, "the user namespace would be at level %d, the deepest is %d", c.user.level+1, maxUserLevel)
	}
	if _, ok := c.user.toInside(c.user.uidMap, c.euid, (*userNS).uids); !ok {
		return k.fail(EPERM, "uid %d has no number in the creator's user namespace: its map is not written", c.euid)
	}
	if _, ok := c.user.toInside(c.user.gidMap, c.egid, (*userNS).gids); !ok {
		return k.fail(EPERM, "gid %d has no number in the creator's user namespace: its map is not written", c.egid)
	}
	c.user = k.newUserNS(c.user, c.euid, c.egid)
	c.caps, c.permitted = true, true
	return 0
}

func (u *userNS) uids() []forest.Extent { return u.uidMap }
func (u *userNS) gids() []forest.Extent { return u.gidMap }

// toKernel is the id in the initial user namespace that id stands for in u.
func (u *userNS) toKernel(id uint32, extents func(*userNS) []forest.Extent) (uint32, bool) {
	for ; u.parent != nil; u = u.parent {
		found := false
		for _, e := range extents(u) {
			if id >= e.First && id-e.First < e.Count {
				id, found = e.Parent+(id-e.First), true
				break
			}
		}
		if !found {
			return 0, false
		}
	}
	return id, true
}

// toInside is what the initial user namespace's id is called in u.
func (u *userNS) toInside(m []forest.Extent, id uint32, extents func(*userNS) []forest.Extent) (uint32, bool) {
	if u.parent == nil {
		return id, true
	}
	id, ok := u.parent.toInside(extents(u.parent), id, extents)
	if !ok {
		return 0, false
	}
	for _, e := range m {
		if id >= e.Parent && id-e.Parent < e.Count {
			return e.First + (id - e.Parent), true
		}
	}
	return 0, false
}

// encloses reports whether inner is u or below it (in_userns).
func (u *userNS) encloses(inner *userNS) bool {
	for inner.level > u.level {
		inner = inner.parent
	}
	return inner == u
}

// nsCapable reports whether c has capabilities in target: rule 9
// (ns_capable, cap_capable).
func (c *cred) nsCapable(target *userNS) bool {
	for u := target; ; u = u.parent {
		if u == c.user {
			return c.caps
		}
		if u.level <= c.user.level {
			return false
		}
		if u.parent == c.user && u.owner == c.euid {
			return true
		}
	}
}

// UserMaps are the id maps of one user namespace, and whether setgroups(2) is
// allowed there.
type UserMaps struct {
	UID, GID  []forest.Extent
	Setgroups bool
}

// WriteMaps writes the id maps of the user namespace of target, once: rule 9
// (map_write, kernel/user_namespace.c). The writer must be in the parent user
// namespace itself, with capabilities there; being above is not enough.
func (k *Kernel) WriteMaps(actor, target TaskID, m UserMaps) Errno {
	cur, errno := k.actor(actor)
	if errno != 0 {
		return errno
	}
	if t := k.task(target); t != nil && t.state != released {
		if u := t.cred.user; u.parent == nil || cur.cred.user != u.parent || !cur.cred.caps {
			return k.fail(EPERM, "the writer is not in the parent user namespace, or has no capabilities there")
		}
	}
	return k.writeMaps(target, m)
}

// writeMaps is WriteMaps by a writer who may.
func (k *Kernel) writeMaps(target TaskID, m UserMaps) Errno {
	t := k.task(target)
	if t == nil || t.state == released {
		return k.fail(ESRCH, "task %d is gone", target)
	}
	u := t.cred.user
	if u.parent == nil || u.mapped {
		return k.fail(EPERM, "its maps are written already")
	}
	if !u.parent.holds(m.UID, u.parent.uidMap) || !u.parent.holds(m.GID, u.parent.gidMap) {
		return k.fail(EPERM, "the maps stand for ids that the parent user namespace does not have")
	}
	u.uidMap, u.gidMap, u.setgroups, u.mapped = m.UID, m.GID, m.Setgroups, true
	return 0
}

// holds reports whether each extent of a child's map m lies within one of u's
// own (map_id_range_down).
func (u *userNS) holds(m, own []forest.Extent) bool {
	for _, e := range m {
		if u.parent != nil && !slices.ContainsFunc(own, func(p forest.Extent) bool {
			return e.Parent >= p.First && uint64(e.Parent)+uint64(e.Count) <= uint64(p.First)+uint64(p.Count)
		}) {
			return false
		}
	}
	return true
}

// IDs are the real and effective ids of a task, as its user namespace calls
// them; the saved ones and those for files are Other, or without it the
// effective ones.
type IDs struct {
	UID, EUID, GID, EGID uint32
	Other                *forest.OtherIDs
}

// SetIDs sets the ids of the actor: of this thread alone, as the system calls
// do, setresgid and setfsgid first. If setresuid fails, the group ids are set
// already.
func (k *Kernel) SetIDs(actor TaskID, ids IDs) Errno { return k.setIDs(actor, ids, false) }

func (k *Kernel) setIDs(actor TaskID, ids IDs, keep bool) Errno {
	cur, errno := k.actor(actor)
	if errno != 0 {
		return errno
	}
	other := forest.OtherIDs{SUID: ids.EUID, FSUID: ids.EUID, SGID: ids.EGID, FSGID: ids.EGID}
	if ids.Other != nil {
		other = *ids.Other
	}
	c := cur.cred
	gids := idSet{&c.gid, &c.egid, &c.other.SGID, &c.other.FSGID}
	if errno := k.setID(&c, gids, ids.GID, ids.EGID, other.SGID, (*userNS).gids); errno != 0 {
		return errno
	}
	k.commitCreds(cur, c)
	if errno := k.setFS(cur, &c, gids, other.FSGID, (*userNS).gids); errno != 0 {
		return errno
	}
	uids := idSet{&c.uid, &c.euid, &c.other.SUID, &c.other.FSUID}
	if errno := k.setID(&c, uids, ids.UID, ids.EUID, other.SUID, (*userNS).uids); errno != 0 {
		return errno
	}
	if !keep {
		c.emulateSetxuid(&cur.cred)
	}
	k.commitCreds(cur, c)
	return k.setFS(cur, &c, uids, other.FSUID, (*userNS).uids)
}

// idSet are the uids, or the gids, of a cred.
type idSet struct{ real, effective, saved, fs *uint32 }

// has reports whether id is one of them: one may be taken that is there.
func (s *idSet) has(id uint32) bool { return id == *s.real || id == *s.effective || id == *s.saved }

// setID sets the real, effective and saved ids of c; the one for files follows
// the effective one (setresgid, setresuid).
func (k *Kernel) setID(c *cred, ids idSet, real, effective, saved uint32, of func(*userNS) []forest.Extent) Errno {
	var to [3]uint32
	for i, id := range []uint32{real, effective, saved} {
		var ok bool
		if to[i], ok = c.user.toKernel(id, of); !ok {
			return k.fail(EINVAL, "id %d is not mapped in the actor's user namespace", id)
		}
		if !c.caps && !ids.has(to[i]) {
			return k.fail(EPERM, "no capability to take id %d", to[i])
		}
	}
	*ids.real, *ids.effective, *ids.saved, *ids.fs = to[0], to[1], to[2], to[1]
	return 0
}

// setFS sets the id for files (setfsuid, setfsgid), which a capability or one
// of the others must allow.
func (k *Kernel) setFS(t *task, c *cred, ids idSet, fs uint32, of func(*userNS) []forest.Extent) Errno {
	id, ok := c.user.toKernel(fs, of)
	switch {
	case !ok:
		return k.fail(EINVAL, "id %d is not mapped in the actor's user namespace", fs)
	case id == *ids.fs:
		return 0
	case !c.caps && !ids.has(id):
		return k.fail(EPERM, "no capability to take id %d for files", id)
	}
	*ids.fs = id
	k.commitCreds(t, *c)
	return 0
}

// emulateSetxuid has capabilities go with the last id that is root's, and come
// and go with the effective one (cap_emulate_setxuid).
func (c *cred) emulateSetxuid(old *cred) {
	root, ok := old.user.toKernel(0, (*userNS).uids)
	if !ok {
		return
	}
	if (old.uid == root || old.euid == root || old.other.SUID == root) &&
		c.uid != root && c.euid != root && c.other.SUID != root {
		c.permitted, c.caps = false, false
	}
	switch was, is := old.euid == root, c.euid == root; {
	case was && !is:
		c.caps = false
	case !was && is:
		c.caps = c.permitted
	}
}

// commitCreds gives t new credentials. pdeath_signal goes with a change of an
// effective id or one for files, and with new capabilities (commit_creds): rule 18.
func (k *Kernel) commitCreds(t *task, c cred) {
	if old := &t.cred; old.euid != c.euid || old.egid != c.egid ||
		old.other.FSUID != c.other.FSUID || old.other.FSGID != c.other.FSGID || !old.includes(&c) {
		t.pdeath = 0
	}
	t.cred = c
}

// includes reports whether what c may do is no more than old might
// (cred_cap_issubset).
func (old *cred) includes(c *cred) bool {
	if old.user == c.user {
		return old.permitted || !c.permitted
	}
	for u := c.user; u.parent != nil; u = u.parent {
		if u.parent == old.user && u.owner == old.euid {
			return true
		}
	}
	return false
}

// SetIDsKeepCaps is SetIDs with SECBIT_NO_SETUID_FIXUP: capabilities stay.
func (k *Kernel) SetIDsKeepCaps(actor TaskID, ids IDs) Errno { return k.setIDs(actor, ids, true) }
