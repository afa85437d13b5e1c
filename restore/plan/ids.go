// SPDX-License-Identifier: Apache-2.0

package plan

// ids are a task's real and effective ids, in the initial user namespace.
type ids struct{ uid, euid, gid, egid uint32 }

// idsOf are the ids that task i has in the end.
func (p *planner) idsOf(i int32) ids {
	t := &p.f.Tasks[i]
	return ids{t.UID, t.EUID, t.GID, t.EGID}
}

// idsIn sets ids as user namespace u calls them; false if it does not map all.
func (p *planner) idsIn(u int, to ids) (op Op, ok bool) {
	op, ok = Op{Code: SetIDs, Child: none}, true
	for _, id := range []struct {
		to   *uint32
		from uint32
		uid  bool
	}{{&op.UID, to.uid, true}, {&op.EUID, to.euid, true}, {&op.GID, to.gid, false}, {&op.EGID, to.egid, false}} {
		in, found := p.idInside(u, id.from, id.uid)
		*id.to, ok = in, ok && found
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

// leavesIDs reports whether the ids of i, or of a child that it is to bear inside
// user namespace u, are seen in the end and have no name there.
func (p *planner) leavesIDs(i int32, u int) bool {
	last := i + 1
	if p.nodes[i].stage != settled {
		last = p.nodes[i].end
	}
	for t := i; t < last; t++ {
		inside := t == i || !p.nodes[t].born && p.owns(int32(u), p.f.Tasks[t].UserNamespace)
		if inside && p.f.Tasks[t].State.Exited() && p.unmapped(u, t) && p.idsOf(t) != (ids{}) {
			return true
		}
	}
	return false
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
	p.identity = append(p.identity, p.do(n, op, p.users[u].mapped))
	p.nodes[n].ids = p.idsOf(i)
}

// reboots reports whether init i ended by reboot(2) (kernel-rules 20).
func (p *planner) reboots(i int32) bool {
	sig := p.f.Tasks[i].WaitStatus() & 0x7f
	return sig == sigHup || sig == sigInt
}
