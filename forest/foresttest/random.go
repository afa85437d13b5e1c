// SPDX-License-Identifier: Apache-2.0

package foresttest

import (
	"slices"

	"pgregory.net/rapid"

	"github.com/pidgraft/pidgraft/forest"
)

// Random is a legal forest of up to about 100 tasks: what a random history of
// forks, threads, exits, setsid, setpgid, namespaces and so on leaves behind,
// in either mode. It shrinks to short histories.
func Random(t *rapid.T) *forest.Forest {
	r := &random{t: t}
	r.begin()
	for range rapid.IntRange(0, 80).Draw(t, "steps") {
		r.step()
	}
	r.end()
	return r.export()
}

// random drives a sim by drawing.
type random struct {
	sim
	t       *rapid.T
	ownMax  bool // the kernel has a pid_max per namespace
	session *object
	group   *object
}

func (r *random) int(lo, hi int, what string) int {
	return rapid.IntRange(lo, hi).Draw(r.t, what)
}

// oneIn is true once in n draws, and false when shrunk.
func (r *random) oneIn(n int, what string) bool { return r.int(0, n-1, what) == n-1 }

func pick[E any](r *random, from []E, what string) E {
	return from[r.int(0, len(from)-1, what)]
}

// number chooses a number that is free in ns: the next one, or a named one.
func (r *random) number(ns *namespace) int32 {
	if r.oneIn(2, "unnamed") {
		nr := max(int32(ns.cursor), 2)
		for ns.taken[nr] != nil {
			nr++
		}
		ns.cursor = uint32(nr) + 1
		return nr
	}
	hi := 60
	if r.oneIn(8, "high") {
		hi = forest.MaxNumber - 200
	}
	nr := int32(r.int(2, hi, "number"))
	for ns.taken[nr] != nil {
		nr++
	}
	return nr
}

func (r *random) begin() {
	r.users = []*user{{record: forest.UserNamespace{Setgroups: true}}}
	r.ownMax = r.oneIn(2, "pid_max of its own")
	ns := r.newNamespace(nil, r.users[0])
	if r.oneIn(2, "subtree") {
		r.mode = forest.Subtree
		ns.state = forest.Alive
		ns.taken[1] = &object{ns: ns, numbers: []int32{1}, uses: 1} // an init outside
	}
	p := &process{signal: forest.SIGCHLD, user: r.users[0]}
	r.session = &object{special: forest.Inherited}
	r.group = &object{special: forest.Inherited}
	r.start(p, ns, r.number)
	r.root = p
	if r.mode == forest.Subtree {
		ns.init = nil
	}
	p.sid, p.pgid = r.session, r.group
	switch r.int(0, 2, "root leads") {
	case 1:
		p.pgid = get(p.leader.pid)
	case 2:
		p.sid, p.pgid = get(p.leader.pid), get(p.leader.pid)
	}
}

// live are the threads that can act.
func (r *random) live() []*thread {
	var ts []*thread
	for _, p := range r.procs {
		for _, t := range p.threads {
			if t.live() {
				ts = append(ts, t)
			}
		}
	}
	return ts
}

type action struct {
	weight int
	do     func(*random, *thread)
}

var actions = []action{
	{10, (*random).forks},
	{4, (*random).nests},
	{4, func(r *random, t *thread) { r.clone(t, r.number) }},
	{5, (*random).exits},
	{5, (*random).reaps},
	{6, (*random).setsid},
	{9, (*random).setpgid},
	{1, (*random).tangles},
	{2, func(r *random, t *thread) { t.proc.subreaper = !t.proc.subreaper }},
	{2, (*random).changesNamespace},
	{1, (*random).changesUser},
	{2, (*random).enters},
	{2, (*random).changesItself},
}

func (r *random) step() {
	ts := r.live()
	if len(ts) == 0 {
		return
	}
	t := pick(r, ts, "thread")
	total := 0
	for _, a := range actions {
		total += a.weight
	}
	n := r.int(0, total-1, "action")
	for _, a := range actions {
		if n -= a.weight; n < 0 {
			a.do(r, t)
			return
		}
	}
}

func (r *random) forks(t *thread) {
	if r.oneIn(6, "CLONE_PARENT") && !t.proc.isInit() && t.proc != r.root {
		if p := r.fork(t, t.proc.parent, r.number); p != nil {
			p.signal = t.proc.signal
		}
		return
	}
	if p := r.fork(t, t, r.number); p != nil && r.oneIn(6, "exit signal") {
		p.signal = int32(r.int(0, forest.MaxSignal, "signal"))
	}
}

// nests makes a chain of namespaces, each with an init and perhaps a user
// namespace of its own.
func (r *random) nests(t *thread) {
	depth := 1
	if r.oneIn(8, "deep") {
		depth = r.int(2, forest.MaxDepth, "depth")
	}
	for range depth {
		if t.childNS != nil || t.pid.ns.level == forest.MaxDepth {
			return
		}
		u := t.proc.user
		if r.oneIn(4, "user namespace") {
			u = r.newUserOf(u)
		}
		if !owns(t.pid.ns.owner, u) {
			return
		}
		t.childNS = r.newNamespace(t.pid.ns, u)
		p := r.fork(t, t, r.number)
		t.childNS = nil
		if p == nil {
			return
		}
		p.user = u
		t = p.leader
	}
}

func owns(outer, inner *user) bool {
	for ; inner != nil; inner = inner.parent {
		if inner == outer {
			return true
		}
	}
	return false
}

// newUserOf makes a user namespace with maps that are possible.
func (r *random) newUserOf(parent *user) *user {
	level := 0
	for u := parent; u.parent != nil; u = u.parent {
		level++
	}
	if level == forest.MaxUserLevel {
		return parent
	}
	u := r.newUser(parent)
	u.record.OwnerUID = uint32(r.int(0, 70000, "owner uid"))
	u.record.OwnerGID = uint32(r.int(0, 70000, "owner gid"))
	u.record.Setgroups = r.oneIn(2, "setgroups")
	u.record.Inode = uint32(r.int(0, 1<<32-1, "inode"))
	u.record.UIDMap = r.idMap(parent, parent.record.UIDMap)
	u.record.GIDMap = r.idMap(parent, parent.record.GIDMap)
	return u
}

// idMap maps each extent of the parent, or a part of it, to the same place.
func (r *random) idMap(parent *user, m []forest.Extent) []forest.Extent {
	if r.oneIn(4, "no map") {
		return nil
	}
	if parent.parent == nil {
		m = []forest.Extent{{First: 0, Count: 1000}, {First: 100000, Count: 65536}}
	}
	var out []forest.Extent
	next := uint32(0)
	for _, e := range m {
		n := uint32(r.int(1, int(e.Count), "ids"))
		out = append(out, forest.Extent{First: next, Parent: e.First + e.Count - n, Count: n})
		next += n
	}
	return out
}

// status draws a wait status; code or signal.
func (r *random) status(init bool) int32 {
	switch r.int(0, 2, "end") {
	case 0:
		return int32(r.int(0, 255, "code")) << 8
	case 1:
		return 9
	}
	if init {
		return pick(r, []int32{1, 2, 11, 0x8b, 7}, "init status")
	}
	return pick(r, []int32{1, 2, 15, 11, 0x8b, 6, 0x86, 13, 34, 64, 0x83}, "signal status")
}

func (r *random) exits(t *thread) {
	last := t.proc.firstLive() == t && len(t.proc.threads) == 1
	if t.proc == r.root && (last || r.oneIn(2, "all")) {
		return
	}
	if r.oneIn(3, "thread only") {
		code := int32(r.int(0, 255, "code")) << 8
		if t.proc == r.root && len(r.rootThreads()) < 2 {
			return
		}
		r.exit(t, code)
		return
	}
	if t.proc != r.root {
		r.exitGroup(t.proc, r.status(t.proc.isInit()))
	}
}

func (r *random) rootThreads() []*thread {
	var ts []*thread
	for _, t := range r.root.threads {
		if t.live() {
			ts = append(ts, t)
		}
	}
	return ts
}

func (r *random) reaps(*thread) {
	var zs []*process
	for _, p := range r.procs {
		if p.leader.task.State == forest.Zombie && p != r.root {
			zs = append(zs, p)
		}
	}
	if len(zs) > 0 {
		r.reap(pick(r, zs, "zombie"))
	}
}

// setsid follows ksys_setsid (kernel/sys.c).
func (r *random) setsid(t *thread) {
	p := t.proc
	own := p.leader.pid
	if p.sid == own || slices.ContainsFunc(r.procs, func(o *process) bool { return o.pgid == own }) {
		return
	}
	if p == r.root && !r.disinherit() {
		return
	}
	put(p.sid)
	put(p.pgid)
	p.sid, p.pgid = get(own), get(own)
}

// disinherit is what a setsid of the root means for others that have its
// session: in a subtree that is now merely outside, in a container it could
// not be dumped.
func (r *random) disinherit() bool {
	others := slices.ContainsFunc(r.procs, func(o *process) bool {
		return o != r.root && (o.sid == r.session || o.pgid == r.group)
	})
	if others && r.mode == forest.Container {
		return false
	}
	r.session.special, r.group.special = forest.Outside, forest.Outside
	return true
}

// setpgid follows SYSCALL_DEFINE2(setpgid) (kernel/sys.c).
func (r *random) setpgid(t *thread) {
	targets := []*process{t.proc}
	for _, o := range t.proc.threads {
		targets = append(targets, o.children...)
	}
	p := pick(r, targets, "target")
	own := p.leader.pid
	if p.sid == own || p.sid != t.proc.sid {
		return
	}
	groups := []*object{own}
	for _, o := range r.procs {
		g := o.pgid
		if o.sid != p.sid || g.ns == nil || !g.ns.within(t.pid.ns) {
			continue
		}
		// An init must not join a group led from its namespace or below
		// (kernel-rules 23).
		if own.ns.init == p && g.ns.within(own.ns) {
			continue
		}
		groups = append(groups, g)
	}
	g := own
	if len(groups) > 1 && !r.oneIn(3, "own group") {
		g = pick(r, groups[1:], "group")
	}
	if p == r.root && g != own {
		return // keeps "inherited" simple: the root's group is one of three
	}
	old := p.pgid
	p.pgid = get(g)
	put(old)
}

// tangles makes three children in groups that form a cycle: a in b's, b in a's.
func (r *random) tangles(t *thread) {
	var ps [3]*process
	for i := range ps {
		if ps[i] = r.fork(t, t, r.number); ps[i] == nil || ps[i].isInit() {
			return
		}
	}
	for _, move := range [][2]int{{0, 0}, {1, 1}, {2, 1}, {1, 0}, {0, 1}} {
		p, g := ps[move[0]], ps[move[1]].leader.pid
		old := p.pgid
		p.pgid = get(g)
		put(old)
	}
}

// changesNamespace is unshare or setns of a thread's children.
func (r *random) changesNamespace(t *thread) {
	own := t.pid.ns
	if r.oneIn(2, "unshare") {
		if t.childNS == nil && own.level < forest.MaxDepth && owns(own.owner, t.proc.user) {
			t.childNS = r.newNamespace(own, t.proc.user)
			if r.oneIn(3, "spoilt") {
				t.childNS.state = forest.Spoilt
			}
		}
		return
	}
	var to []*namespace
	for _, n := range r.spaces {
		if n.within(own) && n.state == forest.Alive {
			to = append(to, n)
		}
	}
	if len(to) == 0 {
		return
	}
	if t.childNS = pick(r, to, "setns"); t.childNS == own {
		t.childNS = nil
	}
}

func (r *random) changesUser(t *thread) {
	if len(t.proc.threads) == 1 {
		t.proc.user = r.newUserOf(t.proc.user)
	}
}

// enters makes a process in a namespace of a container from outside.
func (r *random) enters(*thread) {
	ns := pick(r, r.spaces, "namespace")
	if r.mode != forest.Container || ns.state != forest.Alive {
		return
	}
	p := &process{signal: forest.SIGCHLD, user: r.users[0]}
	r.start(p, ns, r.number)
	p.leader.task.Comm = "nsenter"
	p.sid, p.pgid = get(p.leader.pid), get(p.leader.pid)
	if r.root.sid == r.session && r.oneIn(2, "inherited session") {
		put(p.sid)
		p.sid = r.session
		if r.root.pgid == r.group && r.oneIn(2, "inherited group") {
			put(p.pgid)
			p.pgid = r.group
		}
	}
}

func (r *random) changesItself(t *thread) {
	t.task.Comm = string(rapid.SliceOfN(rapid.ByteRange(1, 255), 0, forest.MaxComm).Draw(r.t, "comm"))
	t.task.PdeathSignal = int32(r.int(0, forest.MaxSignal, "pdeath"))
	t.task.UID = uint32(r.int(0, 1<<32-2, "uid"))
	t.task.EUID = uint32(r.int(0, 1<<32-2, "euid"))
	t.task.GID = uint32(r.int(0, 1<<32-2, "gid"))
	t.task.EGID = uint32(r.int(0, 1<<32-2, "egid"))
}

// end stops some, and perhaps ends the root of a container.
func (r *random) end() {
	if r.mode == forest.Container && r.oneIn(16, "root ends") {
		r.exitGroup(r.root, r.status(true))
	}
	for _, p := range r.procs {
		if p.firstLive() == nil || !r.oneIn(8, "stopped") {
			continue
		}
		sig := int32(19)
		if p.leader.pid.numbers[p.leader.pid.ns.level] != 1 {
			sig = int32(r.int(19, 22, "stop signal"))
		}
		reported := r.oneIn(2, "reported")
		for _, t := range p.threads {
			if t.live() {
				t.task.State, t.task.StopSignal, t.task.StopReported = forest.Stopped, sig, reported
			}
		}
	}
	for _, n := range r.spaces {
		if n.cursor == 0 && r.oneIn(2, "cursor") {
			n.cursor = uint32(r.int(0, forest.MaxNumber+2, "cursor"))
		}
		if r.ownMax {
			n.pidMax = uint32(r.int(forest.MinPidMax, forest.MaxNumber+1, "pid_max"))
		}
	}
}
