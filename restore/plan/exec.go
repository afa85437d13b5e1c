// SPDX-License-Identifier: Apache-2.0

package plan

import "github.com/pidgraft/pidgraft/forest"

// Some exit signals only an exec in between leaves: a child's that would have
// ended its parent, or one that was made by CLONE_PARENT of a sibling who has
// SIGCHLD now (kernel-rules 15 and Theory). Who has to runs the stub anew when all
// births are over, and before any death.

// settleExecs finds the session leaders that are born with the exit signal of a
// sibling in their session, whom nobody else could make.
func (p *planner) settleExecs() {
	for k := range p.tasks {
		nd := &p.nodes[k]
		if nd.leader != k || nd.signal == forest.SIGCHLD || nd.parent == none || p.need(k) <= 0 {
			continue
		}
		l := p.nodeOf(p.need(k))
		if l == none || l == k || l >= p.tasks || p.nodes[l].parent != nd.parent || p.nodes[l].signal != forest.SIGCHLD || !p.canExec(l) {
			continue
		}
		p.nodes[l].signal = nd.signal
		p.execs[l] = true
	}
}

// canExec reports whether process i can run the stub anew: exec ends threads. Inside
// a user namespace it takes the capabilities, too, of who is not root there.
func (p *planner) canExec(i int32) bool {
	if i >= p.tasks || p.nodes[i].leader != i || p.isInit(i) || len(p.nodes[i].threads) > 0 {
		return false
	}
	if p.f.Tasks[i].ExitSignal != forest.SIGCHLD { // an exec sets its own back, too
		return false
	}
	if p.f.Tasks[i].UserNamespace == 0 || !p.f.Tasks[i].State.Exited() {
		return true
	}
	// It takes its ids before, and exec sets the others to the effective ones.
	ids := p.idsOf(i)
	plain := ids
	plain.effective()
	return plain == ids
}

// execute lets those run the stub anew that have to.
func (p *planner) execute() {
	for z := range p.tasks {
		nd := &p.nodes[z]
		ends := nd.leader == z && p.f.Tasks[z].State == forest.Zombie
		if parent := nd.curParent; ends && nd.signal == sigKill && parent != none && p.canExec(parent) {
			p.execs[parent] = true
		}
	}
	for i := range p.tasks {
		if !p.execs[i] {
			continue
		}
		p.joinUser(i, p.f.Tasks[i].UserNamespace) // while it has the descriptor
		nd := &p.nodes[i]
		if nd.user != 0 && p.f.Tasks[i].State.Exited() {
			p.setIDs(i) // while it has the right to
		}
		done := p.do(i, Op{Code: Exec, Child: none}, nd.changed) // its parent may no longer move it (kernel-rules 11)
		p.do(i, Op{Code: Comm, Child: none, Text: p.f.Tasks[i].Comm})
		nd.signal = forest.SIGCHLD
		nd.ids.effective()
		p.executed[i] = done
	}
}

// executedBy is when thread n has run the stub anew, or noRef.
func (p *planner) executedBy(n int32) Ref {
	if done, ok := p.executed[n]; ok {
		return done
	}
	return noRef
}
