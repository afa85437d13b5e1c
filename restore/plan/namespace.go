// SPDX-License-Identifier: Apache-2.0

package plan

import "github.com/pidgraft/pidgraft/forest"

// takeNamespace plans where the next child of i would be born. All births are
// over by then; what dies with its namespace is still alive.
func (p *planner) takeNamespace(i int32) {
	t := &p.f.Tasks[i]
	ns := t.ChildNamespace
	if ns == forest.SameNamespace || t.State.Exited() {
		return
	}
	state := p.f.Namespaces[ns].State
	init := p.initOf(int32(ns))
	switch {
	case p.now(i).user != 0 && state != forest.Empty:
		p.unsupported(i, "it has another namespace for its children and must be inside a nested user namespace by then")
	case init != none:
		p.wantPidfd(init)
		done := p.do(i, Op{Code: JoinPID, Child: none, Via: p.nodes[init].actor}, p.nodes[init].cloned)
		p.holders[init] = append(p.holders[init], done)
	case p.f.Namespaces[ns].Owner != 0:
		if state == forest.Dead {
			p.unsupported(i, "its children would be born in a dead namespace that a nested user namespace owns")
		} // an empty one is unshared last: lastAttributes
	default:
		p.do(i, Op{Code: UnsharePID, Child: none, Number: int32(ns)})
		if state == forest.Dead {
			p.bearDead(i, int32(ns))
		}
	}
}

// initOf is the node that is number 1 of namespace ns, or none.
func (p *planner) initOf(ns int32) int32 {
	if n, ok := p.deadInits[ns]; ok {
		return n
	}
	return p.nodeOf(p.x.Init(int(ns)))
}

// bearDead gives namespace ns, which i has just unshared, an init that ends
// when everybody has taken the namespace: nothing else leaves it dead.
func (p *planner) bearDead(i, ns int32) {
	if p.nodes[i].ns != int32(p.f.Namespaces[ns].Parent) {
		p.unsupported(i, "the dead namespace that its children would be born in lies deeper than it could have unshared it")
		return
	}
	n := p.helper(RoleHelper, p.nodes[i].ns, 0, "is the init of a namespace that is left dead")
	nd := &p.nodes[n]
	nd.ns, nd.numbers = ns, append(nd.numbers, 1)
	nd.parent, nd.session, nd.group = i, p.now(i).curSession, p.now(i).curGroup
	nd.curSession, nd.curGroup = nd.session, nd.group
	nd.cloned = p.do(i, Op{
		Code: Clone, Child: nd.actor, Numbers: p.innermostFirst(nd.numbers), Signal: nd.signal,
	})
	p.comeAlive(n, i)
	p.deadInits[ns] = n
}
