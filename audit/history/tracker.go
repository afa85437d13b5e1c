// SPDX-License-Identifier: Apache-2.0

package history

import (
	"github.com/pidgraft/pidgraft/audit/event"
	"github.com/pidgraft/pidgraft/audit/follow"
	"github.com/pidgraft/pidgraft/audit/state"
	"github.com/pidgraft/pidgraft/collector"
)

// Key is the number of a process in its own pid namespace.
type Key struct {
	Inode uint32
	Nr    int32
}

// node is a process: one that lives, the dead leader of a ghost, or a dead
// ancestor of more than one.
type node struct {
	key   Key
	id    collector.ID // its pid object
	start uint64       // of its leader, since boot; 0: not known
	seen  bool         // its birth was
	dead  bool
	ghost bool // dead, and its pid object is still used
	gone  bool // neither that nor an ancestor any more: kept by pointers only

	// parent bore it, or the first of those in between, who are dead and bore
	// nobody else. nil: not known, or outside.
	parent  *node
	outside bool
	between uint32
	// children are those whose parent it is.
	first, next, prev *node
	kids              int32

	session, group *node // that it was born in; nil: not known
	// When it was born, last led a session, changed its group and the
	// namespace of its children; CLOCK_MONOTONIC, 0: not seen.
	born, led, moved, entered uint64
}

// elsewhere stands for a session or group that is not visible in the namespace
// that is audited.
var elsewhere = &node{dead: true}

// Tracker remembers births.
type Tracker struct {
	nodes  map[collector.ID]*node // by pid object: processes, and leaders of ghosts
	ghosts int                    // of these
	swept  int                    // ghosts after the last look for those that are no more
	loaded map[Key]*node          // of a File, until the first state: likewise
}

// NewTracker is a Tracker that knows nobody.
func NewTracker() *Tracker { return &Tracker{nodes: make(map[collector.ID]*node)} }

// Len is how many processes and leaders of ghosts are known.
func (t *Tracker) Len() int { return len(t.nodes) }

// Event takes in an event that has been applied to s; task is as for
// follow.Handler.
func (t *Tracker) Event(s *state.State, e event.Event, was follow.Before, task *state.Task) {
	if e.Kind == event.Free {
		if was.Known {
			t.freed(s, was.Object)
		}
		return
	}
	// An event older than the state may be about another with that address.
	if task == nil || task.StartTime != e.Task.StartTime {
		return
	}
	if e.Kind == event.Birth {
		if task.Leader() {
			t.birth(s, e, task)
		}
		return
	}
	n := t.nodes[task.Process.Object.ID]
	if n == nil || !was.Known {
		return
	}
	if was.Session != task.Process.Session && task.Process.Session == task.Process.Object {
		n.led = e.When
	}
	if was.Group != task.Process.Group {
		n.moved = e.When
	}
	if was.ChildNamespace != task.ChildNamespace && task.ChildNamespace != 0 {
		n.entered = e.When
	}
}

func (t *Tracker) birth(s *state.State, e event.Event, task *state.Task) {
	n := t.put(task.Process.Object, task.StartTime)
	if n.seen {
		return // told twice
	}
	n.seen, n.born = true, e.When
	n.session, n.group = t.use(s, e.Task.Session, n.start), t.use(s, e.Task.Group, n.start)
	c := s.Task(e.Creator.ID)
	switch {
	case c != nil && len(c.Process.Object.Numbers) > 0 && c.Process.Object.Numbers[0] == e.Creator.HostNr:
		if p := t.nodes[c.Process.Object.ID]; p != nil && p != n && p.start <= n.start {
			n.setParent(p)
		}
	case e.Creator.Nr == 0:
		n.outside = true
	}
}

// use is who leads the session or group that an object is, for one who was born
// in it at a time: whoever began later has only come by the object's address.
func (t *Tracker) use(s *state.State, id collector.ID, born uint64) *node {
	if n := t.nodes[id]; n != nil && n.start > born {
		return nil
	} else if n != nil {
		return n
	}
	switch o := s.Object(id); {
	case o == nil:
		return nil
	case o.Idle(), o.Namespace == nil && o.Nr == 0:
		return elsewhere
	case o.Namespace != nil && o.Process == nil:
		return t.putGhost(o)
	}
	return nil
}

// put is the node of a process, which may be new. Whoever had its object before
// is gone.
func (t *Tracker) put(o *state.Object, start uint64) *node {
	key := keyOf(o)
	n := t.nodes[o.ID]
	if n != nil && n.start == start && n.key == key && !n.dead {
		return n
	}
	if n != nil {
		t.end(n, false)
	}
	if n = t.loaded[key]; n != nil && n.start == start && !n.dead {
		delete(t.loaded, key)
	} else {
		n = &node{key: key, start: start}
	}
	n.id = o.ID
	t.nodes[o.ID] = n
	return n
}

func (t *Tracker) putGhost(o *state.Object) *node {
	n := t.nodes[o.ID]
	key := keyOf(o)
	if n != nil && n.dead && n.key == key {
		return n
	}
	if n != nil {
		t.end(n, false)
	}
	if n = t.loaded[key]; n != nil && t.hasLed(n, o) {
		delete(t.loaded, key)
	} else {
		n = &node{key: key}
	}
	n.id, n.dead, n.ghost = o.ID, true, true
	t.nodes[o.ID] = n
	t.ghosts++
	return n
}

// hasLed reports whether n, of a File, is who led the ghost o, and not somebody who
// had that number before: someone who is still there was born in its session or
// group.
func (t *Tracker) hasLed(n *node, o *state.Object) bool {
	for _, p := range o.Session {
		if m := t.nodes[p.Object.ID]; m != nil && m.session == n {
			return true
		}
	}
	for _, p := range o.Group {
		if m := t.nodes[p.Object.ID]; m != nil && m.group == n {
			return true
		}
	}
	return false
}

func keyOf(o *state.Object) Key { return Key{o.Namespace.Inode, o.Numbers[len(o.Numbers)-1]} }

// freed is for a task that has been freed.
func (t *Tracker) freed(s *state.State, was *state.Object) {
	n := t.nodes[was.ID]
	if n == nil || n.dead || was.Namespace == nil || n.key != keyOf(was) {
		return // a thread's, or somebody else's by now
	}
	o := s.Object(was.ID)
	if o != nil && o.Process != nil {
		return // an exec took the number over
	}
	t.end(n, o != nil && o.Namespace != nil && keyOf(o) == n.key)
	if t.ghosts > 2*t.swept+64 {
		t.sweep(s)
	}
}

// end is for a process that has been reaped, or a ghost that is no more.
func (t *Tracker) end(n *node, ghost bool) {
	if n.ghost && !ghost {
		t.ghosts--
	} else if !n.ghost && ghost {
		t.ghosts++
	}
	n.dead, n.ghost = true, ghost
	if ghost {
		return
	}
	if t.nodes[n.id] == n {
		delete(t.nodes, n.id)
	}
	n.fold()
}

// sweep ends ghosts that nobody uses any more, of which there is no event.
func (t *Tracker) sweep(s *state.State) {
	for id, n := range t.nodes {
		if !n.ghost {
			continue
		}
		if o := s.Object(id); o == nil || o.Namespace == nil || o.Process != nil || keyOf(o) != n.key {
			t.end(n, false)
		}
	}
	t.swept = t.ghosts
}

// Renewed brings the Tracker in line with a state that was made anew: who is not
// in it is gone, and who is and is not known was born when nobody looked, or its
// birth was lost.
func (t *Tracker) Renewed(s *state.State) {
	for o := range s.Objects() {
		if p := o.Process; o.Namespace != nil && p != nil && p.Leader() != nil {
			t.put(o, p.Leader().StartTime)
		}
	}
	for o := range s.Objects() {
		if o.Namespace != nil && o.Process == nil && o.Ghost() && t.nodes[o.ID] == nil {
			t.putGhost(o)
		}
	}
	for id, n := range t.nodes {
		if o := s.Object(id); !n.dead && (o == nil || o.Process == nil) {
			t.end(n, o != nil && o.Namespace != nil && keyOf(o) == n.key)
		}
	}
	t.sweep(s)
	for _, n := range t.loaded {
		n.dead, n.ghost = true, false
		n.fold()
	}
	t.loaded = nil
}

func (n *node) setParent(p *node) {
	n.parent = p
	if n.next = p.first; n.next != nil {
		n.next.prev = n
	}
	n.prev, p.first = nil, n
	p.kids++
}

func (n *node) leave() {
	p := n.parent
	if p == nil {
		return
	}
	if n.prev != nil {
		n.prev.next = n.next
	} else {
		p.first = n.next
	}
	if n.next != nil {
		n.next.prev = n.prev
	}
	n.parent, n.next, n.prev = nil, nil, nil
	p.kids--
}

// fold takes out a dead node that tells nobody apart: one without children, or
// with one, which becomes its parent's. So may its ancestors be then.
func (n *node) fold() {
	for n != nil && n.dead && !n.ghost && !n.gone && n.kids < 2 {
		up := n.parent
		if c := n.first; c != nil {
			c.leave()
			c.between += n.between + 1
			if c.outside = n.outside; up != nil {
				c.setParent(up)
			}
		}
		n.leave()
		// Who was born in its session may still point to it, and to nobody else.
		n.gone, n.session, n.group = true, nil, nil
		n = up
	}
}
