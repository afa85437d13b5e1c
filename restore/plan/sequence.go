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
			if op.After == nil {
				op.After = p.refs(len(after))
			}
			op.After = append(op.After, r)
		}
	}
	ops := &p.plan.Actors[actor].Ops
	if *ops == nil {
		*ops = p.program(actor)
	}
	*ops = append(*ops, op)
	return Ref{Actor: actor, Op: int32(len(*ops) - 1)}
}

// at is the operation that r names.
func (p *planner) at(r Ref) *Op { return &p.plan.Actors[r.Actor].Ops[r.Op] }

// usual is how many operations most programs have: a name, a hold, and one
// more.
const usual = 3

// program is an empty program with room for the usual, cut from a larger
// piece: a plan for a million tasks is a million of them. Who bears many has one
// of his own, or growing it would cost more than filling it.
func (p *planner) program(actor int32) []Op {
	if task := p.plan.Actors[actor].Task; task != none {
		if kids := len(p.nodes[task].kids); kids > 16 {
			return make([]Op, 0, kids+usual)
		}
	}
	if len(p.opSlab) < usual {
		p.opSlab = make([]Op, min(1024, len(p.nodes)+8)*usual)
	}
	ops := p.opSlab[:0:usual]
	p.opSlab = p.opSlab[usual:]
	return ops
}

// refs is an empty list with room for n, cut from a larger piece.
func (p *planner) refs(n int) []Ref {
	if len(p.refSlab) < n {
		p.refSlab = make([]Ref, max(min(1024, 2*len(p.nodes)), n))
	}
	refs := p.refSlab[:0:n]
	p.refSlab = p.refSlab[n:]
	return refs
}

// innermostFirst is a chain as set_tid wants it.
func (p *planner) innermostFirst(chain []int32) []int32 {
	n := len(chain)
	if len(p.numberSlab) < n {
		p.numberSlab = make([]int32, max(min(4096, 4*len(p.nodes)), n))
	}
	out := p.numberSlab[:n:n]
	p.numberSlab = p.numberSlab[n:]
	for i, number := range chain {
		out[n-1-i] = number
	}
	return out
}
