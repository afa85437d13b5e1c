// SPDX-License-Identifier: Apache-2.0

package plan

import "github.com/pidgraft/pidgraft/forest"

// nameOuter arranges that a, inside a nested user namespace, can make k with
// all its numbers: it names those that it may, and the id cursors of the other
// namespaces are put just before the numbers that k is to get. It returns the
// numbers to name, innermost first, and what the Clone comes after.
func (p *planner) nameOuter(a, k int32) ([]int32, []Ref) {
	chain := p.chain(k)
	u := p.now(a).user
	ns := p.nodes[k].ns
	if p.isInit(k) {
		ns = int32(p.f.Namespaces[ns].Parent) // its own belongs to u or below
	}
	for ns >= 0 && p.owns(u, p.f.Namespaces[ns].Owner) {
		ns = int32(p.f.Namespaces[ns].Parent)
	}
	if ns < 0 {
		return p.innermostFirst(chain), nil
	}
	outer := p.f.Namespaces[ns].Level + 1
	after := []Ref{p.lastUnnamed}
	for ; ns >= 0; ns = int32(p.f.Namespaces[ns].Parent) {
		if p.refuseCursor(ns, k) {
			return nil, nil
		}
		by := p.writer(ns)
		if len(p.refusals) > 0 {
			return nil, nil
		}
		if by == none || !p.nodes[by].born || !p.cursorMoves(ns) {
			p.unsupported(k, "its number in namespace %s must come from an id cursor, and nobody could write that, or undo it", p.nsName(ns))
			return nil, nil
		}
		number := chain[p.f.Namespaces[ns].Level]
		after = append(after, p.do(by, Op{Code: Cursor, Child: none, Number: number - 1}, p.lastUnnamed, p.nodes[by].cloned))
	}
	return p.innermostFirst(chain[outer:]), after
}

// cursorMoves reports whether the id cursor of namespace ns may be written: it
// can be put where it was, or is not the forest's. One that never moved cannot.
func (p *planner) cursorMoves(ns int32) bool {
	return p.f.Namespaces[ns].Cursor > 0 || p.f.Mode == forest.Subtree && (p.hidden(ns) || p.nodeOf(p.x.Init(int(ns))) == none)
}

// writer is who can write the id cursor and pid_max of namespace ns: its init,
// if that has the capability now, or else a helper from outside; none if there
// is no init yet.
func (p *planner) writer(ns int32) int32 {
	if w, ok := p.writers[ns]; ok {
		return w
	}
	by := p.initOf(ns)
	if ns == 0 && p.holder != none {
		by = p.holder
	}
	if by == none || !p.nodes[by].born || p.owns(p.nodes[by].user, p.f.Namespaces[ns].Owner) {
		return by
	}
	w := p.fromOutside(ns, "writes the id cursor of namespace "+p.nsName(ns)+", whose init no longer can")
	p.writers[ns] = w
	return w
}

// writeCursors puts the id cursors where they were; births that name their
// number do not move them (kernel-rules 3). A pid_max is written last, after
// every birth: it may be below numbers in use (kernel-rules 4).
func (p *planner) writeCursors() {
	for ns := range p.f.Namespaces {
		n := &p.f.Namespaces[ns]
		if n.State == forest.Empty || n.Cursor == 0 && (n.PidMax == 0 || n.PidMax == defaultOwnPidMax) {
			continue
		}
		by := p.writer(int32(ns))
		if by == none || len(p.refusals) > 0 {
			continue
		}
		if n.Cursor > 0 {
			p.do(by, Op{Code: Cursor, Child: none, Number: int32(n.Cursor - 1)}, p.lastUnnamed)
		}
		if n.PidMax != 0 && n.PidMax != defaultOwnPidMax {
			p.do(by, Op{Code: PidMax, Child: none, Number: int32(n.PidMax)}, p.births()...)
		}
	}
}

// births are the last Clone of every actor.
func (p *planner) births() []Ref {
	var refs []Ref
	for a := range p.plan.Actors {
		ops := p.plan.Actors[a].Ops
		for i := len(ops) - 1; i >= 0; i-- {
			if ops[i].Code == Clone {
				refs = append(refs, Ref{int32(a), int32(i)})
				break
			}
		}
	}
	return refs
}
