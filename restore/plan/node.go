// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	"github.com/pidgraft/pidgraft/forest"
)

// none is the node or actor that is not there.
const none = -1

// free, as a birth session, is any session: nobody will see it.
const free = forest.Null

// node is an actor while it is being planned: what it must become, and what
// it is at the moment the planner has reached. The planner writes down one
// legal order of all operations; a node's state is that of its task in that
// order.
type node struct {
	actor  int32
	task   int32 // index in Forest.Tasks, or none for a helper
	leader int32 // node of its thread-group leader; itself for a leader
	role   Role
	why    string

	// What it must become.
	parent  int32      // node of the thread whose child it is in the end
	ns      int32      // namespace
	tag     forest.Tag // its pid object; 0 for a helper with a free number
	numbers []int32    // of a helper: its number at every level, outermost first
	session forest.Tag
	group   forest.Tag
	signal  int32   // exit signal
	leads   bool    // leads its session
	kids    []int32 // processes that become its children, in order
	threads []int32 // of a leader: the other threads, in order
	end     int32   // of a leader: one past the last task below it

	early bool // must be in its user namespace before it has threads
	outer int  // then: how many children it has borne before
	// bornUser, of a leader, is the innermost user namespace that it can be
	// born in.
	bornUser int32

	// birth is the session it must be born in if it leads one: what its
	// children need from above, or free.
	birth forest.Tag
	// nest, of a leader, is the thread below which it is born, for the sake of a child
	// of that, before its parent, further up, adopts it; or none.
	nest int32
	// want is the group that it cannot see and must be in while it bears
	// its children, or 0.
	want forest.Tag

	// What it is now.
	born        bool
	coming      bool // its birth is being planned
	stage       stage
	next        []int // of a leader: by thread, the next child to bear
	user        int32 // the user namespace it is in now; in a nested one it cannot name outer numbers
	ids         ids   // those it has now
	takes       int32 // the init whose namespace it has for its children, or none
	passing     bool  // a helper that ends as soon as its child is to be adopted
	once        bool  // a helper that bears one child only
	curParent   int32
	curSession  forest.Tag
	curGroup    forest.Tag
	standIn     int32 // node that bears its children in its place, or none
	late        int32 // helper it was born under, to arrive later; or none
	subreaper   bool
	cloned      Ref // the Clone that made it
	arrived     Ref // what made it a child of its final parent
	lastKid     Ref // the last arrival among its children
	arrivedKids Ref // when the entrant in its place left it its children
	changed     Ref // of a leader: the last change of its session or group
	lastBorn    Ref // its last Clone of a process
	held        Ref // its Hold
	kept        Ref // its Keep
	groupRef    Ref // what founded the group with its number
	founded     bool
	ended       bool // a helper that was told to end
}

// isInit reports whether n becomes number 1 of its namespace.
func (p *planner) isInit(n int32) bool {
	if p.nodes[n].ns == outside {
		return false
	}
	return p.number(n, p.nodes[n].ns) == 1
}

// chain is n's number at every level, outermost first.
func (p *planner) chain(n int32) []int32 {
	nd := &p.nodes[n]
	if nd.tag > 0 {
		return p.f.Pids[nd.tag-1].Numbers
	}
	return nd.numbers
}

// number is n's number in namespace ns, or 0 if it has none there or ns is
// outside the forest.
func (p *planner) number(n, ns int32) int32 {
	if ns == outside || p.nodes[n].ns == outside || !p.f.Encloses(int(ns), int(p.nodes[n].ns)) {
		return 0
	}
	return p.chain(n)[p.f.Namespaces[ns].Level]
}

// need is the session that n must be born in, or free.
func (p *planner) need(n int32) forest.Tag {
	if nd := &p.nodes[n]; nd.leads {
		return nd.birth
	}
	return p.nodes[n].session
}

// within reports whether task node n is top or below it in the final forest.
func (p *planner) within(n, top int32) bool {
	return n != none && n >= top && n < p.nodes[top].end
}

// index makes the nodes of all tasks and links them.
func (p *planner) index() {
	f := p.f
	x := forest.NewIndex(f)
	p.x = x
	p.nodes = make([]node, len(f.Tasks), len(f.Tasks)+len(f.Tasks)/4+8)
	first := int32(Init)
	held := f.Pid(f.Root().Pid).Numbers[0] != 1
	gone := !held && rootGone(f, x)
	if held || gone {
		first++ // Init is a holder: the root is another
	}
	for i := range f.Tasks {
		t := &f.Tasks[i]
		leader := int32(x.Leader(i))
		parent := int32(x.TaskOf(t.ParentThread))
		nd := &p.nodes[i]
		*nd = inert(first+int32(i), leader, RoleTask)
		nd.task, nd.tag, nd.ns, nd.parent = int32(i), t.Pid, int32(f.Pids[t.Pid-1].Namespace), parent
		nd.session, nd.group, nd.signal = t.SID, t.PGID, t.ExitSignal
		nd.leads = t.IsLeader() && t.SID == t.Pid
		if th := x.Threads(i); len(th) > 1 {
			nd.threads = th[1:]
		}
		nd.kids = x.Children(i)
	}
	p.tasks = int32(len(f.Tasks))
	p.ends()
	p.leaveToThreads()
	p.plan.Actors = make([]Actor, first+p.tasks, int(first)+cap(p.nodes))
	p.plan.Actors[Restorer] = Actor{Role: RoleRestorer, Task: none}
	for i := range p.nodes {
		p.plan.Actors[p.nodes[i].actor] = Actor{Role: RoleTask, Task: i}
	}
	p.plan.Root = int(p.nodes[0].actor)
	switch {
	case held:
		p.hold()
	case gone:
		p.mourn()
	}
	p.entrants()
	p.ghosts = make(map[forest.Tag]int32)
	for _, tag := range x.Ghosts() {
		p.ghosts[tag] = none
	}
	p.used = make([]bool, len(f.Pids))
	for i := range f.Tasks {
		if g := f.Tasks[i].PGID; g > 0 && g != f.Tasks[i].TGID {
			p.used[g-1] = true
		}
	}
}

// ends finds where what is below each process ends in Forest.Tasks: tree
// order keeps it together.
func (p *planner) ends() {
	for i := p.tasks - 1; i >= 0; i-- {
		nd := &p.nodes[i]
		end := i + 1
		if len(nd.kids) > 0 {
			end = p.nodes[nd.kids[len(nd.kids)-1]].end
		}
		if nd.leader == i && len(nd.threads) > 0 {
			end = max(end, p.nodes[nd.threads[len(nd.threads)-1]].end)
		}
		nd.end = end
	}
}

// leaveToThreads lets leaders that have ended bear the children of the first
// thread that lives: they pass to it when the leader ends, and only a leader
// can adopt (kernel-rules 13). Parent-death signals are set after that.
func (p *planner) leaveToThreads() {
	for i := range p.nodes {
		nd := &p.nodes[i]
		if len(nd.threads) == 0 || p.f.Tasks[i].State != forest.DeadLeader {
			continue
		}
		heir := &p.nodes[nd.threads[0]]
		for _, k := range heir.kids {
			p.nodes[k].parent = int32(i)
		}
		nd.kids, heir.kids = heir.kids, nil
	}
}

// feelsDeath reports whether a thread of the process that k leads has a
// parent-death signal.
func (p *planner) feelsDeath(k int32) bool {
	return slices.ContainsFunc(p.threadsOf(k), func(t int32) bool { return p.f.Tasks[t].PdeathSignal != 0 })
}

// waits is the thread that can wait for the children of thread n in the end.
func (p *planner) waits(n int32) int32 {
	nd := &p.nodes[n]
	if nd.task != none && p.f.Tasks[nd.task].State == forest.DeadLeader {
		return nd.threads[0]
	}
	return n
}

// helper adds a node that comes and goes, with free numbers in namespace ns
// unless tag says which it must have.
func (p *planner) helper(role Role, ns int32, tag forest.Tag, why string) int32 {
	n := int32(len(p.nodes))
	nd := p.blank(n, role)
	nd.why, nd.ns, nd.tag = why, ns, tag
	switch {
	case tag == 0 && ns != outside:
		nd.numbers = p.takeNumbers(ns)
	case tag == 0 && p.opts.Place != nil: // outside is where the root is
		nd.numbers = p.takeNumbers(0)
	}
	p.nodes = append(p.nodes, nd)
	p.plan.Actors = append(p.plan.Actors, Actor{Role: role, Task: none, Why: why})
	return n
}

// blank is node n, of which nothing is known yet but that it is no task.
func (p *planner) blank(n int32, role Role) node {
	nd := inert(int32(len(p.plan.Actors)), n, role)
	nd.signal, nd.end = forest.SIGCHLD, n+1
	return nd
}

// inert is a node to which nothing has happened yet, and which has to do with nobody
// but its process.
func inert(actor, leader int32, role Role) node {
	return node{
		actor: actor, task: none, leader: leader, role: role, parent: none,
		birth: free, nest: none, standIn: none, late: none, curParent: none, takes: none,
		cloned: noRef, arrived: noRef, lastKid: noRef, changed: noRef, held: noRef,
		lastBorn: noRef, groupRef: noRef, arrivedKids: noRef, kept: noRef,
	}
}

// nodeOf is the node that has the number tag, or none: a ghost that nobody
// carries yet.
func (p *planner) nodeOf(tag forest.Tag) int32 {
	if t := p.x.TaskOf(tag); t != forest.None {
		return int32(t)
	}
	if n, ok := p.ghosts[tag]; ok {
		return n
	}
	return none
}
