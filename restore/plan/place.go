// SPDX-License-Identifier: Apache-2.0

package plan

// Place is the namespace that the restorer is in, when the forest is to come
// back there and not in a new one: its root namespace is that one. Only a
// forest whose root is not number 1 can.
//
// The numbers of the forest are named as ever, and so are those of all helpers:
// none is left to an id cursor that others move. That they are free the
// restorer sees.
type Place struct {
	// Taken reports whether a number is in use there, by whomever.
	Taken func(number int32) bool
	// PidMax is one more than the largest number there; 0 is as in Options.
	PidMax int32
}

// inPlace reports whether numbers in namespace ns are shared with others.
func (p *planner) inPlace(ns int32) bool { return ns == 0 && p.opts.Place != nil }

// checkPlace refuses a root that needs a namespace of its own.
func (p *planner) checkPlace() {
	if p.opts.Place != nil && p.holder == none {
		p.refuseNode(NotHere, 0, "it is number 1 of its namespace, which only a new one can have")
	}
}

// holdInPlace makes the holder a process of the restorer's namespace, which is
// no init: it adopts as others do, as a subreaper for as long as it must.
func (p *planner) holdInPlace(n int32) {
	nd := &p.nodes[n]
	nd.numbers = p.takeNumbers(0)
	p.plan.Actors[Init].Why = "the parent of the root, from which that has its session and group; ends with the root"
	birth := &p.plan.Births[0]
	birth.Flags &^= NewPID
	birth.Numbers = nd.numbers
}

// refuseCursor refuses a birth whose number in ns an id cursor would have to
// give, if others move that.
func (p *planner) refuseCursor(ns, k int32) bool {
	if !p.inPlace(ns) {
		return false
	}
	p.refuseNode(NotHere, k, "%s", cursorOfOthers)
	return true
}

const cursorOfOthers = "it is born inside a nested user namespace, so its number here must come from the id cursor, which others move: restore into a new pid namespace"
