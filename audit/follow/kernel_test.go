// SPDX-License-Identifier: Apache-2.0

package follow

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/pidgraft/pidgraft/audit/event"
	"github.com/pidgraft/pidgraft/collector"
)

// kernel is as much of one as matters for the order of things: tasks that
// change, addresses and numbers that are used again as early as may be, and
// events whose place in the ring, whose reading and whose submission are three
// moments between which anything else can happen.
type kernel struct {
	rand  *rand.Rand
	clock uint64

	pids  map[int32]*kPid
	tasks []*kTask // attached, that is: not released
	init  *kTask
	jobs  []*job
	rcu   []*kTask // released, their memory not yet free

	freeTasks, freePids []collector.ID
	nextAddress         collector.ID

	ring      []*job // places in order
	capacity  int
	dropOneIn int
	totals    event.Totals
	births    int // announced
}

type kPid struct {
	id     collector.ID
	nr     int32
	users  int // tasks as pid, processes as tgid, pgid and sid
	holder *kTask
}

type kProc struct {
	tgid, pgid, sid *kPid
	tasks           []*kTask
	leader          *kTask
}

type kTask struct {
	id       collector.ID
	start    uint64
	pid      *kPid
	proc     *kProc
	parent   *kTask
	exiting  bool
	zombie   bool
	busy     bool // in the middle of a system call
	released bool
}

// job is a program that runs on an event.
type job struct {
	kind  event.Kind
	task  *kTask
	actor *kTask // goes on when the program is done; nil: an interrupt
	phase int    // 0: reserve, 1: read, 2: submit
	event event.Event
	ready bool
	after func() // what the kernel does next
}

const kNamespace = 0x77

func newKernel(seed uint64) *kernel {
	k := &kernel{
		rand: rand.New(rand.NewPCG(seed, 1)), clock: 1, pids: make(map[int32]*kPid),
		nextAddress: 0x1000, capacity: 1 << 20, totals: event.Totals{CPU: make([]event.Counters, 2)},
	}
	p := k.newPid()
	k.init = &kTask{id: k.address(&k.freeTasks), start: 1}
	k.init.proc = &kProc{tgid: p, pgid: p, sid: p, leader: k.init}
	p.users += 3
	k.attach(k.init, p)
	k.init.parent = k.init
	return k
}

func (k *kernel) tick() uint64 { k.clock++; return k.clock }

// address gives out the one that came free last, as slabs do.
func (k *kernel) address(free *[]collector.ID) collector.ID {
	if n := len(*free); n > 0 {
		id := (*free)[n-1]
		*free = (*free)[:n-1]
		return id
	}
	k.nextAddress += 0x40
	return k.nextAddress
}

// newPid takes the lowest number, so that numbers come back at once.
func (k *kernel) newPid() *kPid {
	nr := int32(1)
	for k.pids[nr] != nil {
		nr++
	}
	p := &kPid{id: k.address(&k.freePids), nr: nr}
	k.pids[nr] = p
	return p
}

func (k *kernel) put(p *kPid) {
	if p.users--; p.users == 0 {
		delete(k.pids, p.nr)
		k.freePids = append(k.freePids, p.id)
	}
}

func (k *kernel) attach(t *kTask, p *kPid) {
	t.pid, p.holder = p, t
	p.users++
	t.proc.tasks = append(t.proc.tasks, t)
	k.tasks = append(k.tasks, t)
}

// release is release_task.
func (k *kernel) release(t *kTask) {
	p := t.proc
	p.tasks = slices.DeleteFunc(p.tasks, func(o *kTask) bool { return o == t })
	k.tasks = slices.DeleteFunc(k.tasks, func(o *kTask) bool { return o == t })
	if t.pid.holder == t {
		t.pid.holder = nil
	}
	k.put(t.pid)
	if len(p.tasks) == 0 {
		for _, use := range []*kPid{p.tgid, p.pgid, p.sid} {
			k.put(use)
		}
		t.proc = &kProc{}
	}
	t.pid, t.released = nil, true
	k.rcu = append(k.rcu, t)
}

// start begins a program.
func (k *kernel) start(kind event.Kind, t, actor *kTask, after func()) {
	if actor != nil {
		actor.busy = true
	}
	k.jobs = append(k.jobs, &job{kind: kind, task: t, actor: actor, after: after})
}

// advance takes one step of a program.
func (k *kernel) advance(j *job) {
	switch j.phase {
	case 0:
		if !k.reserve(j) {
			k.done(j)
			return
		}
	case 1:
		j.event.When = k.tick()
		j.event.Task = k.read(j.task, j.kind)
	case 2:
		j.ready = true
		k.done(j)
	}
	j.phase++
}

func (k *kernel) reserve(j *job) bool {
	cpu := k.rand.IntN(len(k.totals.CPU))
	c := &k.totals.CPU[cpu]
	if len(k.ring) >= k.capacity || k.dropOneIn > 0 && k.rand.IntN(k.dropOneIn) == 0 {
		c.Lost++
		return false
	}
	c.Sent++
	if j.kind == event.Birth {
		k.births++
	}
	j.event = event.Event{Kind: j.kind, CPU: uint32(cpu), Lost: c.Lost}
	k.ring = append(k.ring, j)
	return true
}

func (k *kernel) done(j *job) {
	k.jobs = slices.DeleteFunc(k.jobs, func(o *job) bool { return o == j })
	if j.actor != nil {
		j.actor.busy = false
	}
	if j.kind == event.Free {
		k.freeTasks = append(k.freeTasks, j.task.id)
	}
	if j.after != nil {
		j.after()
	}
}

// read is how a task is just now.
func (k *kernel) read(t *kTask, kind event.Kind) event.Task {
	e := event.Task{ID: t.id, StartTime: t.start}
	if kind == event.Free || t.pid == nil {
		return e
	}
	e.Pid = t.pid.id
	e.Numbers = []event.Number{{Nr: t.pid.nr, Inode: 9, Namespace: kNamespace}}
	if p := t.proc; p.tgid != nil {
		e.Process, e.Group, e.Session = p.tgid.id, p.pgid.id, p.sid.id
		e.ProcessNr, e.GroupNr, e.SessNr = p.tgid.nr, p.pgid.nr, p.sid.nr
	}
	e.Parent = t.parent.id
	if t.exiting {
		e.Flags = 0x4
	}
	if t.zombie {
		e.ExitState = 0x20
	}
	return e
}

// What tasks do. Each reports whether it could.

func (k *kernel) fork(t *kTask, thread bool) bool {
	if len(k.tasks) >= 40 {
		return false
	}
	c := &kTask{id: k.address(&k.freeTasks), start: k.tick(), parent: t, busy: true}
	p := k.newPid()
	if thread {
		c.proc, c.parent = t.proc, t.proc.leader.parent
	} else {
		c.proc = &kProc{tgid: p, pgid: t.proc.pgid, sid: t.proc.sid, leader: c}
		p.users++
		t.proc.pgid.users++
		t.proc.sid.users++
	}
	k.attach(c, p)
	k.start(event.Birth, c, t, func() { c.busy = false })
	return true
}

func (k *kernel) move(use **kPid, to *kPid) {
	to.users++
	k.put(*use)
	*use = to
}

func (k *kernel) setsid(t *kTask) bool {
	p := t.proc
	if p.sid == p.tgid || t == k.init || slices.ContainsFunc(k.tasks, func(o *kTask) bool { return o.proc.pgid == p.tgid }) {
		return false
	}
	k.move(&p.pgid, p.tgid)
	k.move(&p.sid, p.tgid)
	k.start(event.Change, t, t, nil)
	return true
}

func (k *kernel) setpgid(t *kTask) bool {
	target := t
	for _, c := range k.tasks {
		if c.parent == t && c.proc.leader == c && k.rand.IntN(2) == 0 {
			target = c
		}
	}
	p := target.proc
	if p.sid == p.tgid || p.sid != t.proc.sid {
		return false
	}
	to := p.tgid
	if o := k.tasks[k.rand.IntN(len(k.tasks))]; o.proc.sid == p.sid {
		to = o.proc.pgid
	}
	k.move(&p.pgid, to)
	// The kernel finds whom it is about by the number, after the call.
	found := target.pid.holder
	k.start(event.Change, found, t, nil)
	return true
}

func (k *kernel) exit(t *kTask) bool {
	if t == k.init {
		return false
	}
	t.exiting = true
	k.start(event.Exit, t, t, func() {
		heir := k.init
		for _, o := range t.proc.tasks {
			if !o.exiting {
				heir = o
				break
			}
		}
		for _, c := range k.tasks {
			if c.parent == t {
				c.parent = heir
			}
		}
		t.zombie = true
		if t != t.proc.leader {
			k.release(t)
		}
	})
	return true
}

func (k *kernel) reap(t *kTask) bool {
	for _, c := range k.tasks {
		if c.parent == t && c.zombie && !c.busy && c.proc.leader == c && len(c.proc.tasks) == 1 {
			k.release(c)
			return true
		}
	}
	return false
}

// exec by a thread whose leader has ended: it becomes the leader.
func (k *kernel) exec(t *kTask) bool {
	p := t.proc
	if l := p.leader; l != t {
		if !l.zombie || l.busy || len(p.tasks) != 2 {
			return false
		}
		t.pid, l.pid = l.pid, t.pid
		t.pid.holder, l.pid.holder = t, l
		t.start, t.parent, p.leader = l.start, l.parent, t
		k.release(l)
	}
	k.start(event.Exec, t, t, nil)
	return true
}

// act lets some task do something, or a program go on.
func (k *kernel) act() {
	switch n := k.rand.IntN(10); {
	case n < 4 && len(k.jobs) > 0:
		k.advance(k.jobs[k.rand.IntN(len(k.jobs))])
	case n < 5 && len(k.rcu) > 0:
		k.callRCU()
	default:
		t := k.tasks[k.rand.IntN(len(k.tasks))]
		if t.busy || t.exiting {
			return
		}
		switch k.rand.IntN(9) {
		case 0, 1, 2:
			k.fork(t, false)
		case 3:
			k.fork(t, true)
		case 4:
			k.setsid(t)
		case 5:
			k.setpgid(t)
		case 6:
			k.exit(t)
		case 7:
			k.reap(t)
		case 8:
			k.exec(t)
		}
	}
}

func (k *kernel) callRCU() {
	i := k.rand.IntN(len(k.rcu))
	t := k.rcu[i]
	k.rcu = slices.Delete(k.rcu, i, i+1)
	k.start(event.Free, t, nil, nil)
}

// rest lets all programs end.
func (k *kernel) rest() {
	for len(k.jobs) > 0 || len(k.rcu) > 0 {
		for len(k.jobs) > 0 {
			k.advance(k.jobs[k.rand.IntN(len(k.jobs))])
		}
		for len(k.rcu) > 0 {
			k.callRCU()
		}
	}
}

// pass looks at one task after the other, by number, while meanwhile goes on.
func (k *kernel) pass(meanwhile func()) *collector.Snapshot {
	s := &collector.Snapshot{
		Namespace:  kNamespace,
		Namespaces: []collector.Namespace{{ID: kNamespace, Inode: 9}},
	}
	describe := func(p *kPid) {
		s.Pids = append(s.Pids, collector.Pid{
			ID: p.id, Namespace: kNamespace, Numbers: []int32{p.nr}, HasPID: p.holder != nil, HasPGID: true,
		})
	}
	seen := make(map[*kTask]bool)
	for nr := int32(1); nr < 64; nr++ {
		meanwhile()
		p := k.pids[nr]
		if p == nil || p.holder == nil || seen[p.holder] {
			continue
		}
		t := p.holder
		seen[t] = true
		for _, use := range []*kPid{t.proc.tgid, t.proc.pgid, t.proc.sid, p} {
			describe(use)
		}
		c := collector.Task{
			ID: t.id, StartTime: t.start, Pid: p.id, TGID: t.proc.tgid.id, PGID: t.proc.pgid.id, SID: t.proc.sid.id,
			RealParent: t.parent.id,
		}
		if t.exiting {
			c.TaskFlags = 0x4
		}
		if t.zombie {
			c.ExitState = 0x20
		}
		s.Tasks = append(s.Tasks, c)
	}
	return s
}

// As a Source.

func (k *kernel) Now() uint64 { return k.clock }

func (k *kernel) Stop() error { return nil }

func (k *kernel) Totals() (event.Totals, error) {
	return event.Totals{CPU: slices.Clone(k.totals.CPU), Missed: k.totals.Missed}, nil
}

func (k *kernel) Read(events []event.Event, _ time.Time, max int) ([]event.Event, error) {
	for range max {
		if len(k.ring) == 0 || !k.ring[0].ready {
			break
		}
		events = append(events, k.ring[0].event)
		k.ring = k.ring[1:]
	}
	return events, nil
}

func (k *kernel) Refresh(number int32) (bool, error) {
	p := k.pids[number]
	if p == nil || p.holder == nil {
		return false, nil
	}
	j := &job{kind: event.Refresh, task: p.holder}
	if k.reserve(j) {
		j.event.When = k.tick()
		j.event.Task = k.read(p.holder, j.kind)
		j.ready = true
	}
	return true, nil
}

func (k *kernel) Snapshot(context.Context) (*collector.Snapshot, error) {
	return k.pass(func() {}), nil
}
