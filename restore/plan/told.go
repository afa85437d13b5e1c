// SPDX-License-Identifier: Apache-2.0

package plan

import "github.com/pidgraft/pidgraft/forest"

// settleTold has the leaders of ghost sessions born where they were.
func (p *planner) settleTold() {
	if !p.told {
		return
	}
	for i := range p.f.Departed {
		d := &p.f.Departed[i]
		if _, ghost := p.ghosts[d.Object]; !ghost || len(p.x.Session(d.Object)) == 0 {
			continue
		}
		// Who is gone in between need not be born again: whoever bore the first
		// of them bears the leader.
		if at := p.ancestor(&d.Origin); at != none && p.nodes[at].ns == int32(p.f.Pid(d.Object).Namespace) {
			p.homes[d.Object] = at
			p.fixed[d.Object] = true
		}
	}
}

// ancestor is the closest birth ancestor that is in the forest, or none.
func (p *planner) ancestor(o *forest.Origin) int32 {
	for o.Departed != forest.None {
		o = &p.f.Departed[o.Departed].Origin
	}
	if !o.By.IsPid() {
		return none
	}
	return int32(p.x.TaskOf(o.By))
}

// toldHome reports whether it is told whose child the leader of a ghost session
// was.
func (p *planner) toldHome(s forest.Tag) bool { return p.fixed[s] }

// toldSession is the session that process i was born in, or free. Only of one that
// leads a session it says anything new, and only of one that is there.
func (p *planner) toldSession(i int32) forest.Tag {
	if !p.told || i >= p.tasks || !p.nodes[i].leads || !p.f.Origins[i].Session.IsPid() {
		return free
	}
	return p.f.Origins[i].Session
}
