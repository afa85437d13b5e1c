// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"slices"

	"github.com/pidgraft/pidgraft/forest"
)

// links ties a task to its relatives; each is an index in Snapshot.Tasks, or
// none.
type links struct {
	leader int32 // of its process
	parent int32 // the thread it is a child of; of leaders only
	member int32 // place in collector.members

	firstChild, nextSibling int32
	nextThread              int32
	children                int32 // how many leaders name it as their parent
	threads                 int32 // of a leader: how many tasks name it as theirs
}

// order puts the tasks of the forest into tree order. The kernel's lists
// arrive as "who is before me"; a list that does not add up was changed while
// it was read.
func (c *collector) order() error {
	if err := c.link(); err != nil {
		return err
	}
	c.members = make([]int32, 0, len(c.links))
	if err := c.walk(c.root); err != nil {
		return err
	}
	if c.mode == forest.Subtree {
		return nil
	}
	entrants, err := c.entrants()
	if err != nil {
		return err
	}
	for _, i := range entrants {
		if err := c.walk(i); err != nil {
			return err
		}
	}
	return c.checkAllVisited()
}

// link resolves the relations of all tasks. Two tasks that claim the same
// place leave one of them unreachable, which walk notices by counting.
func (c *collector) link() error {
	tasks := c.s.Tasks
	c.links = make([]links, len(tasks))
	for i := range c.links {
		c.links[i] = links{leader: none, parent: none, member: none, firstChild: none, nextSibling: none, nextThread: none}
	}
	for n := range tasks {
		t, l, i := &tasks[n], &c.links[n], int32(n)
		leader, ok := c.tasks[t.GroupLeader]
		if !ok || tasks[leader].GroupLeader != t.GroupLeader {
			return changed("the process of task %s was not seen", c.describe(i))
		}
		l.leader = leader
		c.links[leader].threads++
		if t.PrevThread != 0 {
			if prev, ok := c.tasks[t.PrevThread]; ok {
				c.links[prev].nextThread = i
			}
		}
		if leader != i || i == c.root {
			continue
		}
		parent, ok := c.tasks[t.RealParent]
		if !ok {
			continue // an entrant, or beside the subtree
		}
		l.parent = parent
		c.links[parent].children++
		if t.PrevSibling == 0 {
			c.links[parent].firstChild = i
		} else if prev, ok := c.tasks[t.PrevSibling]; ok {
			c.links[prev].nextSibling = i
		}
	}
	return nil
}

// walk appends process top and all below it to the members: a task, its
// children in order, its next thread. Each task has one predecessor, so the
// walk cannot come back to where it was.
func (c *collector) walk(top int32) error {
	stack := []int32{top}
	for len(stack) > 0 {
		i := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		t, l := &c.s.Tasks[i], &c.links[i]
		if l.member != none {
			return changed("task %s was met twice", c.describe(i))
		}
		if err := c.checkLists(i); err != nil {
			return err
		}
		// What comes later is pushed first. A task that is gone but still
		// linked only leads to the next.
		if i != top && l.leader == i && l.nextSibling != none {
			stack = append(stack, l.nextSibling)
		}
		if l.nextThread != none {
			stack = append(stack, l.nextThread)
		}
		if t.ExitState&exitDead != 0 {
			if t.ExitState&exitZombie != 0 {
				return changed("task %s is being reaped by its tracer", c.describe(i))
			}
			if l.children != 0 {
				return changed("task %s is gone and has children", c.describe(i))
			}
			continue
		}
		l.member = int32(len(c.members))
		c.members = append(c.members, i)
		if l.firstChild != none {
			stack = append(stack, l.firstChild)
		}
	}
	return nil
}

// checkLists follows the list of the children of task i and, if it leads a
// process, that of its threads, and counts.
func (c *collector) checkLists(i int32) error {
	l := &c.links[i]
	var n int32
	for j := l.firstChild; j != none; j = c.links[j].nextSibling {
		if c.links[j].parent != i || n > l.children {
			return changed("task %s is listed by another parent", c.describe(j))
		}
		n++
	}
	if n != l.children {
		return changed("%d of the %d children of task %s are in its list", n, l.children, c.describe(i))
	}
	if l.leader != i {
		return nil
	}
	t := &c.s.Tasks[i]
	if t.PrevThread != 0 {
		return changed("task %s is not the first of its process", c.describe(i))
	}
	n = 0
	for j := i; j != none; j = c.links[j].nextThread {
		if c.links[j].leader != i || n > l.threads {
			return changed("thread %s is listed by another process", c.describe(j))
		}
		n++
	}
	if n != l.threads || n != t.NrThreads {
		return changed("%d of the %d threads of task %s were seen", n, t.NrThreads, c.describe(i))
	}
	return nil
}

// entrants are the processes of a container whose parent is outside it, the
// root excepted, by number.
func (c *collector) entrants() ([]int32, error) {
	type entrant struct{ number, task int32 }
	var es []entrant
	for n := range c.links {
		i := int32(n)
		l, t := &c.links[i], &c.s.Tasks[i]
		if l.member != none || l.leader != i || t.ExitState&exitDead != 0 {
			continue
		}
		inside, err := c.inside(t.Pid)
		if err != nil {
			return nil, err
		}
		if !inside {
			continue
		}
		parent := t.ParentTGID
		if l.parent != none {
			parent = c.s.Tasks[l.parent].Pid
		}
		if _, ok := c.pids[parent]; ok {
			if inside, err = c.inside(parent); err != nil {
				return nil, err
			} else if inside && l.parent == none {
				return nil, changed("the parent of task %s was not seen", c.describe(i))
			} else if inside {
				continue // below an entrant, or nowhere: checkAllVisited
			}
		}
		number := c.s.Pids[c.pids[t.Pid]].Numbers[c.rootLevel]
		es = append(es, entrant{number, i})
	}
	slices.SortFunc(es, func(a, b entrant) int { return int(a.number) - int(b.number) })
	tasks := make([]int32, len(es))
	for i := range es {
		tasks[i] = es[i].task
	}
	return tasks, nil
}

// checkAllVisited: in a container every task that can be seen in the root
// namespace belongs to the forest.
func (c *collector) checkAllVisited() error {
	for n := range c.links {
		i := int32(n)
		t := &c.s.Tasks[i]
		if c.links[i].member != none || t.ExitState&exitDead != 0 {
			continue
		}
		if inside, err := c.inside(t.Pid); err != nil {
			return err
		} else if inside {
			return changed("task %s was seen, but in no list of children or threads", c.describe(i))
		}
	}
	return nil
}
