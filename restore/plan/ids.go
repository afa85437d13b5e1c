// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	"github.com/pidgraft/pidgraft/forest"
)

// ids are a task's ids, in the initial user namespace.
type ids struct {
	uid, euid, gid, egid uint32
	other                forest.OtherIDs
}

// effective has the other ids follow the effective ones, as a change of those
// does.
func (x *ids) effective() {
	x.other = forest.OtherIDs{SUID: x.euid, FSUID: x.euid, SGID: x.egid, FSGID: x.egid}
}

// own gives x the ids of the owner of us while it makes that. The stub changes
// nothing if they are the effective ones already.
func (x *ids) own(us *forest.UserNamespace) {
	if x.euid != us.OwnerUID || x.egid != us.OwnerGID {
		x.euid, x.egid = us.OwnerUID, us.OwnerGID
		x.effective()
	}
}

// disown is what is left of x when it is the owner of us no longer: the stub
// puts back the effective ids only.
func (x *ids) disown(us *forest.UserNamespace) {
	if x.euid != us.OwnerUID || x.egid != us.OwnerGID {
		x.effective()
	}
}

// idsOf are the ids that task i has in the end.
func (p *planner) idsOf(i int32) ids {
	t := &p.f.Tasks[i]
	return ids{t.UID, t.EUID, t.GID, t.EGID, p.f.OtherIDs(int(i))}
}

// idsIn sets ids as user namespace u calls them; false if it does not map all.
func (p *planner) idsIn(u int, to ids) (op Op, ok bool) {
	op, ok = Op{Code: SetIDs, Child: none}, true
	var other forest.OtherIDs
	for _, id := range []struct {
		to   *uint32
		from uint32
		uid  bool
	}{
		{&op.UID, to.uid, true}, {&op.EUID, to.euid, true}, {&other.SUID, to.other.SUID, true}, {&other.FSUID, to.other.FSUID, true},
		{&op.GID, to.gid, false}, {&op.EGID, to.egid, false}, {&other.SGID, to.other.SGID, false}, {&other.FSGID, to.other.FSGID, false},
	} {
		in, found := p.idInside(u, id.from, id.uid)
		*id.to, ok = in, ok && found
	}
	plain := to
	if plain.effective(); plain != to {
		op.Other = &other
	}
	return op, ok
}

// unmapped reports whether task i has ids in the end that user namespace u does
// not map, so that it or who bore it had them before it came there.
func (p *planner) unmapped(u int, i int32) bool {
	_, ok := p.idsIn(u, p.idsOf(i))
	return !ok
}

// setIDsBefore lets n take the ids of task i while it is where they are mapped,
// and keep its capabilities: they have no name in user namespace u, which it is
// about to enter.
func (p *planner) setIDsBefore(n, i int32, u int) {
	if want := p.idsOf(i); want != p.nodes[n].ids && p.unmapped(u, i) {
		p.changeIDs(n, i, 1)
	}
}

// leavesIDs is who has ids that are seen in the end and have no name in user
// namespace u: i, or a child that it is to bear inside; or none. Its own are not
// seen while it lives.
func (p *planner) leavesIDs(i int32, u int) int32 {
	last := i + 1
	if p.nodes[i].stage != settled {
		last = p.nodes[i].end
	}
	for t := i; t < last; t++ {
		inside := t == i || !p.nodes[t].born && p.owns(int32(u), p.f.Tasks[t].UserNamespace)
		if inside && p.f.Tasks[t].State.Exited() && p.unmapped(u, t) && p.idsOf(t) != p.nodes[i].ids {
			return t
		}
	}
	return none
}

// setIDs gives a task that is about to end the ids that its status shows.
func (p *planner) setIDs(i int32) {
	if p.idsOf(i) == p.nodes[i].ids {
		return
	}
	keep := int32(0)
	if p.isInit(i) && p.reboots(i) {
		keep = 1 // it needs the right to
	}
	p.changeIDs(i, i, keep)
}

// changeIDs gives n the ids of task i.
func (p *planner) changeIDs(n, i, keep int32) {
	u := int(p.now(n).user)
	op, ok := p.idsIn(u, p.idsOf(i))
	if !ok {
		p.unsupported(i, "it ended with an id (uid %d, gid %d) that is not mapped where it was born", p.f.Tasks[i].UID, p.f.Tasks[i].GID)
		return
	}
	op.Number = keep
	if op.Other != nil && op.EUID != 0 && !slices.Contains([]uint32{op.UID, op.EUID, op.Other.SUID}, op.Other.FSUID) {
		op.Number = 1 // setfsuid comes last, and takes a right that setresuid takes away
	}
	p.identity = append(p.identity, p.do(n, op, p.users[u].mapped))
	p.nodes[n].ids = p.idsOf(i)
}

// reboots reports whether init i ended by reboot(2) (kernel-rules 20).
func (p *planner) reboots(i int32) bool {
	sig := p.f.Tasks[i].WaitStatus() & 0x7f
	return sig == sigHup || sig == sigInt
}
