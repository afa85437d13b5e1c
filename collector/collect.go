// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"bytes"
	"fmt"

	"github.com/pidgraft/pidgraft/forest"
)

// Options are what a Snapshot cannot know about its making.
type Options struct {
	Method   forest.CutMethod
	Producer forest.Producer
	// Retries is how many passes Cut makes beyond the least it needs.
	Retries int
	// Pause, if not nil, waits before Cut looks again at a target that was
	// seen on its way: the longer, the more often it has paused before.
	Pause func(before int)
	// Prepare, if not nil, is called by Cut with each forest that it may
	// return, and has returned for the one that it does. It runs beside the
	// next pass, and maybe beside another call of it.
	Prepare func(*forest.Forest)
	// Looked, if not nil, is called by Cut after each pass.
	Looked func(Look)
	// All goes on after a task that stands against a dump, and gathers all
	// of them: the error is of type Refusals then, and comes with a forest
	// to look at, not to write: what is led from outside is Outside in it.
	All bool
}

// Collect assembles the forest that s shows, by the rules of "c/r: checkpoint
// and restart pids objects": objects are tagged in order of first appearance,
// for each task in tree order its pid, its tgid, its group and its session;
// namespaces are listed in the same order, each with its ancestors and its
// owner before it, a task's ChildNamespace after its objects.
//
// It fails with an ErrTarget if the target does not fit the mode, with an
// ErrRefused if it cannot be represented, and with an ErrChanged if s
// contradicts itself, which is how a pass that raced with the target looks.
// Whatever s holds, Collect ends.
//
// In a Subtree, Cursor and PidMax of a namespace whose init is not in the
// forest are 0: they move and are set for others.
func Collect(s *Snapshot, mode forest.Mode, opts Options) (*forest.Forest, error) {
	c := &collector{s: s, mode: mode, all: opts.All}
	c.f = &forest.Forest{
		Mode:     mode,
		Cut:      forest.Cut{Method: opts.Method, Walked: s.Walked && mode == forest.Container},
		Producer: opts.Producer,
	}
	for _, step := range []func() error{
		c.index, c.checkTarget, c.order, c.checkMembers,
		c.findInherited, c.addTasks, c.addExitIDs, c.checkIDR, c.describeNamespaces, c.addReferences,
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	if len(c.refused) > 0 {
		return c.f, c.refused
	}
	return c.f, nil
}

// none is the index of nothing.
const none = -1

// collector is the state of one Collect. Tasks and records of the Snapshot
// are named by their index in it.
type collector struct {
	s    *Snapshot
	mode forest.Mode
	f    *forest.Forest

	all     bool
	refused Refusals

	tasks   map[ID]int32
	pids    map[ID]int32
	pidns   map[ID]int32
	userns  map[ID]int32
	links   []links // of Snapshot.Tasks
	members []int32 // the forest's tasks in tree order

	tag       []forest.Tag // of Snapshot.Pids; 0: not in the forest
	carried   []bool       // of Snapshot.Pids: a task of the forest has it as its pid
	nsIndex   []int        // of Snapshot.Namespaces in the forest, or none
	nsRecord  []int32      // the reverse: record of Forest.Namespaces[i]
	nsVisible []visibility // of Snapshot.Namespaces
	userIndex []int        // of Snapshot.UserNamespaces in the forest, or none
	numbers   []int32      // storage for Pid.Numbers
	lastComm  string

	root      int32 // the root task
	rootLevel int

	// The session and the group that the root inherited from outside the
	// forest; 0 if they are of the forest.
	inheritedSession, inheritedGroup ID
}

// index finds each record by its identity.
func (c *collector) index() error {
	s := c.s
	c.tasks = make(map[ID]int32, len(s.Tasks))
	for i := range s.Tasks {
		c.tasks[s.Tasks[i].ID] = int32(i)
	}
	if len(c.tasks) != len(s.Tasks) {
		return changed("a task was seen twice")
	}
	// The size of Pids may be a multiple of the objects'.
	c.pids = make(map[ID]int32, len(s.Tasks))
	for i := range s.Pids {
		c.pids[s.Pids[i].ID] = int32(i)
	}
	c.pidns = make(map[ID]int32)
	for i := range s.Namespaces {
		c.pidns[s.Namespaces[i].ID] = int32(i)
	}
	c.userns = make(map[ID]int32)
	for i := range s.UserNamespaces {
		c.userns[s.UserNamespaces[i].ID] = int32(i)
	}
	c.tag = make([]forest.Tag, len(s.Pids))
	c.carried = make([]bool, len(s.Pids))
	c.nsIndex = fill(len(s.Namespaces))
	c.userIndex = fill(len(s.UserNamespaces))
	c.nsVisible = make([]visibility, len(s.Namespaces))
	return nil
}

func fill(n int) []int {
	v := make([]int, n)
	for i := range v {
		v[i] = none
	}
	return v
}

// checkTarget looks at the root task alone.
func (c *collector) checkTarget() error {
	s := c.s
	root, ok := c.tasks[s.Root]
	if !ok {
		return changed("the root task is gone")
	}
	c.root = root
	t := &s.Tasks[root]
	ns, ok := c.pidns[s.Namespace]
	if !ok {
		return changed("the root task's pid namespace is not described")
	}
	c.rootLevel = s.Namespaces[ns].Level
	p, err := c.object(t.Pid)
	if err != nil {
		return err
	}
	switch {
	case t.ExitState&exitDead != 0:
		return changed("the root task is gone")
	case t.GroupLeader != t.ID:
		return &TargetError{"the target is a thread; give the pid of its process"}
	case p.Namespace != s.Namespace || p.Level != c.rootLevel:
		return changed("the root task is not in its own pid namespace")
	case c.mode == forest.Container && p.Numbers[p.Level] != 1:
		return &TargetError{fmt.Sprintf(
			"the target is number %d of its pid namespace, not its init: dump the init, or --subtree", p.Numbers[p.Level])}
	}
	return nil
}

// checkMembers refuses forests that hold what no dump may hold.
func (c *collector) checkMembers() error {
	for _, i := range c.members {
		t := &c.s.Tasks[i]
		switch {
		case c.s.Self != 0 && t.GroupLeader == c.s.Self:
			return &TargetError{fmt.Sprintf(
				"the target holds this very dump (task %s): run it from outside the target", c.describe(i))}
		case t.TaskFlags&pfKthread != 0:
			if err := c.refuse(&RefusedError{c.describe(i), "it is a kernel thread"}); err != nil {
				return err
			}
		}
	}
	return nil
}

// findInherited decides which session and group are the root's by
// inheritance. The leader of a session is a birth ancestor of its members
// (kernel-rules, theory), so a session that the root does not lead is led
// from outside. A group may have been joined later: it is outside if it
// cannot be seen in the root namespace, and in a subtree also if no task of
// the forest carries its number.
func (c *collector) findInherited() error {
	t := &c.s.Tasks[c.root]
	if t.SID != t.TGID {
		c.inheritedSession = t.SID
	}
	if t.PGID == 0 || t.PGID == t.TGID {
		return nil
	}
	p, err := c.object(t.PGID)
	if err != nil {
		return err
	}
	inside, err := c.visible(p)
	if err != nil {
		return err
	}
	if inside && c.mode == forest.Subtree {
		inside = false
		for _, i := range c.members {
			if c.s.Tasks[i].Pid == t.PGID {
				inside = true
				break
			}
		}
	}
	if !inside {
		c.inheritedGroup = t.PGID
	}
	return nil
}

// addTasks tags the pid objects and fills in the tasks, in tree order.
func (c *collector) addTasks() error {
	if err := c.addInitialUserNamespace(); err != nil {
		return err
	}
	c.f.Pids = make([]forest.Pid, 0, len(c.members)+len(c.members)/8)
	c.numbers = make([]int32, 0, 2*len(c.members))
	c.f.Tasks = make([]forest.Task, len(c.members))
	for n, i := range c.members {
		if err := c.addTask(&c.f.Tasks[n], i); err != nil {
			return err
		}
	}
	// Parents may have numbers that only a later task made known, but every
	// parent of the forest is a task of it.
	for n, i := range c.members {
		if err := c.addParent(&c.f.Tasks[n], i); err != nil {
			return err
		}
	}
	return nil
}

// addTask is the seed's four rules for one task, and the rest of it.
func (c *collector) addTask(out *forest.Task, i int32) error {
	t := &c.s.Tasks[i]
	if t.TGID != c.s.Tasks[c.links[i].leader].Pid {
		return changed("task %s and the leader of its process disagree on the tgid", c.describe(i))
	}
	r, ok := c.pids[t.Pid]
	if !ok || c.carried[r] {
		return changed("the number of task %s was not seen, or another task has it too", c.describe(i))
	}
	c.carried[r] = true
	var err error
	if out.Pid, err = c.own(t.Pid); err != nil {
		return err
	}
	if out.TGID, err = c.own(t.TGID); err != nil {
		return err
	}
	if out.PGID, err = c.group(i, t.PGID); err != nil {
		return err
	}
	if out.SID, err = c.session(i, t.SID); err != nil {
		return err
	}
	if out.UserNamespace, err = c.userNamespace(t.UserNamespace); err != nil {
		return fmt.Errorf("task %s: %w", c.describe(i), err)
	}
	return c.addAttributes(out, i)
}

// own is the tag of an object that a task of the forest has as its pid or
// tgid.
func (c *collector) own(id ID) (forest.Tag, error) {
	if r, ok := c.pids[id]; ok && c.tag[r] != 0 {
		return c.tag[r], nil
	}
	p, err := c.object(id)
	if err != nil {
		return 0, err
	}
	ok, err := c.visible(p)
	if err != nil {
		return 0, err
	}
	if !ok {
		return 0, changed("number %s of a task is not in the root namespace", chain(p.Numbers))
	}
	return c.add(id, p)
}

// group is the tag of the process group of task i. An object that is the
// root's by inheritance is so in every task that has it, also the inherited
// session's in a task that went back to that group.
func (c *collector) group(i int32, id ID) (forest.Tag, error) {
	switch id {
	case 0:
		return forest.Null, nil
	case c.inheritedGroup:
		return forest.Inherited, nil
	case c.inheritedSession:
		if c.inheritedGroup != 0 {
			c.inexact(i, "its process group is that of the session which the root inherited, "+
				"but the root inherited another group: both would come back as one")
		}
		return forest.Inherited, nil
	}
	return c.used(i, id, "process group")
}

// session is the tag of the session of task i.
func (c *collector) session(i int32, id ID) (forest.Tag, error) {
	switch id {
	case 0:
		return forest.Null, nil
	case c.inheritedSession:
		return forest.Inherited, nil
	}
	return c.used(i, id, "session")
}

// used is the tag of an object that is not the root's by inheritance: added
// if it can be seen in the root namespace, else outside, which only a subtree
// may have.
func (c *collector) used(i int32, id ID, kind string) (forest.Tag, error) {
	if r, ok := c.pids[id]; ok && c.tag[r] != 0 {
		return c.tag[r], nil
	}
	p, err := c.object(id)
	if err != nil {
		return 0, err
	}
	ok, err := c.visible(p)
	switch {
	case err != nil:
		return 0, err
	case ok:
		return c.add(id, p)
	case c.mode == forest.Subtree:
		return forest.Outside, nil
	}
	return forest.Outside, c.refuse(&OutsideError{Task: c.describe(i), Kind: kind, Leader: p.Numbers, Alive: p.HasPID})
}

// refuse is err, or with Options.All nothing for now.
func (c *collector) refuse(err error) error {
	if !c.all {
		return err
	}
	c.refused = append(c.refused, err)
	return nil
}

// add gives an object of the root namespace, which has none yet, its tag.
func (c *collector) add(id ID, p *Pid) (forest.Tag, error) {
	r := c.pids[id]
	ns, err := c.namespace(p.Namespace)
	if err != nil {
		return 0, fmt.Errorf("number %s: %w", chain(p.Numbers), err)
	}
	if c.f.Namespaces[ns].Level != p.Level-c.rootLevel {
		return 0, changed("number %s is at another level than its namespace", chain(p.Numbers))
	}
	at := len(c.numbers)
	c.numbers = append(c.numbers, p.Numbers[c.rootLevel:]...)
	c.f.Pids = append(c.f.Pids, forest.Pid{Namespace: ns, Numbers: c.numbers[at:len(c.numbers):len(c.numbers)]})
	c.tag[r] = forest.Tag(len(c.f.Pids))
	return c.tag[r], nil
}

// object is the record of a pid object.
func (c *collector) object(id ID) (*Pid, error) {
	r, ok := c.pids[id]
	if !ok {
		return nil, changed("a pid object that a task uses was not seen")
	}
	p := &c.s.Pids[r]
	if p.Level < 0 || p.Level > forest.MaxDepth || len(p.Numbers) != p.Level+1 {
		return nil, changed("a pid object at level %d has %d numbers", p.Level, len(p.Numbers))
	}
	return p, nil
}

// addParent names the process and the thread that task i is a child of.
func (c *collector) addParent(out *forest.Task, i int32) error {
	t := &c.s.Tasks[i]
	leader := &c.s.Tasks[c.links[i].leader]
	parent := c.links[c.links[i].leader].parent
	if leader.ID == c.s.Root || parent == none || c.links[parent].member == none {
		out.Parent, out.ParentThread = forest.Outside, forest.Outside
		return nil
	}
	p := &c.s.Tasks[parent]
	if p.ExitState != 0 {
		return changed("task %s is a child of %s, which has exited", c.describe(i), c.describe(parent))
	}
	if t.GroupLeader == t.ID && t.ParentTGID != 0 && t.ParentTGID != p.TGID {
		return changed("task %s was given another parent", c.describe(i))
	}
	of := &c.f.Tasks[c.links[parent].member]
	out.Parent, out.ParentThread = of.TGID, of.Pid
	return nil
}

// describe names a task to a person: its numbers from the root namespace
// inwards and its name.
func (c *collector) describe(i int32) string {
	t := &c.s.Tasks[i]
	who := "?"
	if r, ok := c.pids[t.Pid]; ok {
		if n := c.s.Pids[r].Numbers; len(n) > c.rootLevel {
			who = chain(n[c.rootLevel:])
		}
	}
	return who + " (" + forest.Escape(comm(&t.Comm)) + ")"
}

func comm(b *[16]byte) string { return string(commBytes(b)) }

func commBytes(b *[16]byte) []byte {
	n := bytes.IndexByte(b[:15], 0)
	if n < 0 {
		n = 15
	}
	return b[:n]
}

// comm is one string for neighbours of one name, as threads and workers are.
func (c *collector) comm(b *[16]byte) string {
	if name := commBytes(b); string(name) != c.lastComm {
		c.lastComm = string(name)
	}
	return c.lastComm
}

func (c *collector) inexact(i int32, reason string) {
	c.f.Inexact = append(c.f.Inexact, "task "+c.describe(i)+": "+reason)
}
