// SPDX-License-Identifier: Apache-2.0

package foresttest

import (
	"slices"

	"github.com/pidgraft/pidgraft/forest"
)

// sim is a machine as far as a forest shows it.
type sim struct {
	mode   forest.Mode
	spaces []*namespace // [0] is the root namespace; parents first
	users  []*user      // [0] is the initial one; parents first
	root   *process
	procs  []*process // in the forest, not yet reaped
	clock  uint64
}

// object is a struct pid. Specials (outside, inherited) have no namespace.
type object struct {
	special forest.Tag
	ns      *namespace
	numbers []int32
	uses    int // as a pid, group or session
}

type namespace struct {
	parent *namespace
	level  int
	owner  *user
	state  forest.NamespaceState
	cursor uint32
	pidMax uint32
	taken  map[int32]*object // the idr
	init   *process          // nil: none yet, gone, or outside
	waits  *thread           // of the init, in zap_pid_ns_processes
}

type user struct {
	parent *user
	record forest.UserNamespace
}

type process struct {
	leader    *thread
	threads   []*thread // leader first, dead or not
	parent    *thread   // nil: outside
	pgid, sid *object
	signal    int32
	subreaper bool
	groupExit bool
	groupCode int32
	user      *user
}

type thread struct {
	proc     *process
	pid      *object
	children []*process
	childNS  *namespace // nil: its own
	task     forest.Task
}

func (n *namespace) within(outer *namespace) bool {
	for ; n != nil; n = n.parent {
		if n == outer {
			return true
		}
	}
	return false
}

func (t *thread) live() bool {
	return t.task.State == forest.Running || t.task.State == forest.Stopped
}

// bearsIn is where the next child of t is born.
func (t *thread) bearsIn() *namespace {
	if t.childNS != nil {
		return t.childNS
	}
	return t.pid.ns
}

// firstLive is the thread that adopts for p, or nil (find_alive_thread).
func (p *process) firstLive() *thread {
	for _, t := range p.threads {
		if t.live() {
			return t
		}
	}
	return nil
}

func (p *process) isInit() bool { return p.leader.pid.ns.init == p }

func (s *sim) newNamespace(parent *namespace, owner *user) *namespace {
	n := &namespace{parent: parent, owner: owner, state: forest.Empty, taken: map[int32]*object{}}
	if parent != nil {
		n.level = parent.level + 1
	}
	s.spaces = append(s.spaces, n)
	return n
}

func (s *sim) newUser(parent *user) *user {
	u := &user{parent: parent}
	s.users = append(s.users, u)
	return u
}

// alloc makes an object in ns (alloc_pid): number chooses one that is free at
// each level, except that a namespace's first is number 1.
func alloc(ns *namespace, number func(*namespace) int32) *object {
	o := &object{ns: ns, numbers: make([]int32, ns.level+1), uses: 1}
	for n := ns; n != nil; n = n.parent {
		nr := int32(1)
		if n.state != forest.Empty {
			nr = number(n)
		}
		o.numbers[n.level] = nr
		n.taken[nr] = o
	}
	return o
}

// get and put count a use of o; an object without uses is freed.
func get(o *object) *object {
	o.uses++
	return o
}

func put(o *object) {
	if o.uses--; o.uses > 0 || o.ns == nil {
		return
	}
	for n := o.ns; n != nil; n = n.parent {
		delete(n.taken, o.numbers[n.level])
	}
}

// fork makes a process in the namespace that t bears in, or nil if that takes
// no more (copy_process). parent is nil for one outside.
func (s *sim) fork(t, parent *thread, number func(*namespace) int32) *process {
	ns := t.bearsIn()
	if ns.state != forest.Empty && ns.state != forest.Alive {
		return nil
	}
	p := &process{
		parent: parent, signal: forest.SIGCHLD, user: t.proc.user,
		pgid: get(t.proc.pgid), sid: get(t.proc.sid),
	}
	s.start(p, ns, number)
	p.leader.task.Comm = t.task.Comm
	return p
}

// start gives p its leader, in ns, and its place.
func (s *sim) start(p *process, ns *namespace, number func(*namespace) int32) {
	p.leader = &thread{proc: p, pid: alloc(ns, number)}
	p.threads = []*thread{p.leader}
	if ns.state == forest.Empty {
		ns.state, ns.init = forest.Alive, p
	}
	if p.parent != nil {
		p.parent.children = append(p.parent.children, p)
	}
	s.procs = append(s.procs, p)
	s.clock++
	p.leader.task.StartTime = s.clock
}

// clone adds a thread to the process of t.
func (s *sim) clone(t *thread, number func(*namespace) int32) *thread {
	if t.childNS != nil || t.pid.ns.state != forest.Alive {
		return nil
	}
	n := &thread{proc: t.proc, pid: alloc(t.pid.ns, number)}
	n.task.Comm = t.task.Comm
	s.clock++
	n.task.StartTime = s.clock
	t.proc.threads = append(t.proc.threads, n)
	return n
}

// exit ends one thread with a raw exit code (do_exit).
func (s *sim) exit(t *thread, code int32) {
	p := t.proc
	t.task.ExitCode, t.childNS = code, nil
	t.task.State = forest.DeadLeader // not live, whatever it is in the end
	if p.firstLive() == nil && p.isInit() {
		s.teardown(t)
		return
	}
	s.gone(t)
}

// gone is the end of exit_notify: the children go, and what is left of t.
func (s *sim) gone(t *thread) {
	p := t.proc
	for _, c := range slices.Clone(t.children) {
		s.adopt(t, c)
	}
	t.children = nil
	if t != p.leader {
		p.threads = slices.DeleteFunc(p.threads, func(o *thread) bool { return o == t })
		put(t.pid)
	}
	if len(p.threads) == 1 && !p.leader.live() {
		p.leader.task.State = forest.Zombie
	}
}

// exitGroup ends a process with a wait status (do_group_exit).
func (s *sim) exitGroup(p *process, status int32) {
	p.groupExit, p.groupCode = true, status
	for _, t := range slices.Backward(slices.Clone(p.threads)) {
		if t.live() {
			s.exit(t, status)
		}
	}
}

// adopt finds a new parent for c, a child of dead (find_new_reaper).
func (s *sim) adopt(dead *thread, c *process) {
	ns := dead.pid.ns
	if t := dead.proc.firstLive(); t != nil {
		c.parent = t
		t.children = append(t.children, c)
		return
	}
	to := (*thread)(nil)
	for up := dead.proc.parent; up != nil && up.pid.ns == ns && to == nil; up = up.proc.parent {
		if up.proc.subreaper {
			to = up.proc.firstLive()
		}
	}
	if to == nil && ns.init != nil {
		to = ns.init.firstLive()
	}
	if to == nil {
		s.leave(c)
		return
	}
	c.parent, c.signal = to, forest.SIGCHLD
	to.children = append(to.children, c)
}

// leave takes c and all below it out of a subtree: adopted by an init outside.
// They live on; their numbers stay taken.
func (s *sim) leave(c *process) {
	s.procs = slices.DeleteFunc(s.procs, func(p *process) bool { return p == c })
	if c.isInit() {
		c.leader.pid.ns.init = nil
	}
	for _, t := range c.threads {
		for _, below := range t.children {
			s.leave(below)
		}
	}
}

// reap takes a zombie away (release_task).
func (s *sim) reap(z *process) {
	s.procs = slices.DeleteFunc(s.procs, func(p *process) bool { return p == z })
	if z.parent != nil {
		z.parent.children = slices.DeleteFunc(z.parent.children, func(p *process) bool { return p == z })
	}
	if z.isInit() {
		z.leader.pid.ns.init = nil
	}
	for _, t := range z.threads {
		put(t.pid)
	}
	put(z.pgid)
	put(z.sid)
	s.settle()
}

// teardown is zap_pid_ns_processes in t, the last thread of an init: all in its
// namespace and below die and are reaped by it. What entered it from outside
// stays a zombie until its parent reaps it, and the init waits for that. Below,
// entrants are reaped at once, to keep this small.
func (s *sim) teardown(t *thread) {
	ns, init := t.pid.ns, t.proc
	ns.state = forest.InitExiting
	for _, p := range s.procs {
		// Members outside leave the groups led inside, except by this init,
		// or the inits below would have to wait as well.
		if g := p.pgid; !p.leader.pid.ns.within(ns) && g.ns != nil && g.ns.within(ns) && g != init.leader.pid {
			put(p.pgid)
			p.pgid = get(p.leader.pid)
		}
	}
	for _, p := range slices.Clone(s.procs) {
		if p == init || !p.leader.pid.ns.within(ns) {
			continue
		}
		if p.isInit() {
			p.leader.pid.ns.init = nil
			p.leader.pid.ns.waits = nil
		}
		s.kill(p)
		inside := p.parent != nil && p.parent.pid.ns.within(ns)
		if inside || p.leader.pid.ns != ns {
			s.reap(p)
		}
	}
	for _, t := range init.threads {
		t.children = nil
	}
	for _, n := range s.spaces {
		if n != ns && n.within(ns) && n.state != forest.Empty && n.state != forest.Spoilt {
			n.state, n.waits = forest.Dead, nil
		}
	}
	t.task.State = forest.ExitingInit
	ns.waits = t
	s.settle()
}

// kill leaves of p only a leader killed by SIGKILL; its children are somebody
// else's affair.
func (s *sim) kill(p *process) {
	for _, t := range p.threads[1:] {
		put(t.pid)
	}
	p.threads = p.threads[:1]
	l := p.leader
	l.children, l.childNS = nil, nil
	if l.task.State != forest.Zombie {
		l.task.State, l.task.ExitCode = forest.Zombie, 9
		p.groupExit, p.groupCode = true, 9
	}
}

// settle ends inits that have nothing to wait for any more, deepest first.
func (s *sim) settle() {
	for _, n := range slices.Backward(s.spaces) {
		t := n.waits
		if t == nil {
			continue
		}
		own := 0
		for _, o := range t.proc.threads {
			if n.taken[o.pid.numbers[n.level]] == o.pid {
				own++
			}
		}
		if len(n.taken) > own {
			continue
		}
		n.waits, n.state = nil, forest.Dead
		t.task.State = forest.DeadLeader
		s.gone(t)
	}
}
