// SPDX-License-Identifier: Apache-2.0

package plan

// noRef is the reference to nothing.
var noRef = Ref{Actor: none}

// do appends op to n's program, to run after the given operations. The order
// of all calls of do is one legal order of the whole plan, so that references
// only ever point back and no plan can wait for itself.
func (p *planner) do(n int32, op Op, after ...Ref) Ref {
	actor := p.nodes[n].actor
	return p.doAs(actor, op, after...)
}

func (p *planner) doAs(actor int32, op Op, after ...Ref) Ref {
	for _, r := range after {
		if r.Actor != none && r.Actor != actor {
			op.After = append(op.After, r)
		}
	}
	ops := &p.plan.Actors[actor].Ops
	*ops = append(*ops, op)
	return Ref{Actor: actor, Op: int32(len(*ops) - 1)}
}

// at is the operation that r names.
func (p *planner) at(r Ref) *Op { return &p.plan.Actors[r.Actor].Ops[r.Op] }
