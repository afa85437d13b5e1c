// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"

	"github.com/pidgraft/pidgraft/forest"
)

// Options say what the machine of the restore is like, as far as it matters to
// a plan. The zero value plans for a kernel with one pid_max of 32768.
type Options struct {
	// PidMax is one more than the largest number that can be given in a new
	// namespace; 0 stands for 32768.
	PidMax int32
	// OwnPidMax says that each namespace has its own pid_max (from about
	// 6.14), so that it can be written.
	OwnPidMax bool
	// Place, if not nil, is where the forest comes back; otherwise it is in
	// a new namespace.
	Place *Place
}

func (o *Options) limit() int32 {
	if o.PidMax == 0 {
		return 32768
	}
	return o.PidMax
}

// defaultOwnPidMax is the pid_max of a new namespace where each has its own
// (PID_MAX_LIMIT, include/linux/threads.h).
const defaultOwnPidMax = 4 << 20

// planner holds a plan in the making.
type planner struct {
	f    *forest.Forest
	x    *forest.Index
	opts Options
	// bornIn prefers that session leaders are born in the ghost sessions
	// that their children need, to bearing the leaders of those again.
	bornIn bool
	// told goes by where processes were born (Forest.Origins).
	told bool
	// holderLeads lets the holder lead the inherited group, so that those
	// who have left it can join it again.
	holderLeads bool
	checked     bool // nothing in the forest is beyond planning
	// outsideTold: who made the forest has refused what is led from outside.
	outsideTold bool
	plan        *Plan
	nodes       []node
	beside      int32 // the outsider, or none
	holder      int32 // the init of a subtree's namespace, or none
	tasks       int32 // nodes[:tasks] are the tasks; helpers follow

	ghosts map[forest.Tag]int32 // ghost objects and the nodes that carry them
	homes  map[forest.Tag]int32 // ghost sessions and whose child their leader is
	fixed  map[forest.Tag]bool  // of these, where that is told
	used   []bool               // by tag-1: others are in the group of this number
	free   []numbers            // by namespace; nil until a helper needs a number

	blocked      []int32 // processes that wait with bearing children
	carriers     map[carrierKey]int32
	keepers      map[keeperKey]int32
	wards        map[int32][]int32 // helpers that an entrant bore
	gifts        []int32           // children that their parents must put into a group
	joins        map[forest.Tag][]Ref
	members      map[seat]int32
	lastAdoption Ref
	lastUnnamed  Ref                  // the last birth with a number from a cursor
	identity     []Ref                // operations that change somebody's credentials
	users        []userSpace          // by user namespace
	barrier      Ref                  // after all of identity
	deaths       []Ref                // when zombies were seen to be dead
	stops        Ref                  // after all of deaths
	stoppers     []int32              // those whose end stops their parent
	byThreads    map[int32][]Ref      // by process: births by helper threads of it
	crews        map[forest.Tag]*crew // by group
	writers      map[int32]int32      // by namespace: the helper that writes its cursor
	deadInits    map[int32]int32      // by namespace: the helper that leaves it dead
	wardens      map[int32]int32      // by namespace: its init, which is outside the forest
	waited       []int32              // namespaces whose inits wait for somebody outside
	zombies      []int32              // those
	holders      map[int32][]Ref      // by init: who took its namespace for children

	opSlab     []Op
	refSlab    []Ref
	numberSlab []int32

	refusals Refusals
}

// Make plans how f is rebuilt in a new pid namespace, or in Options.Place. The error is of type
// Refusals. f must be valid (forest.Validate); time and memory are linear in
// its size but for what adoption by name of a session costs.
func Make(f *forest.Forest, opts Options) (*Plan, error) {
	var first Refusals
	// As it was, if that is known and can be: the rules below are for guessing,
	// and do not know every way.
	if len(f.Origins) > 0 {
		p := newPlanner(f, opts)
		p.told = true
		if p.make() == nil {
			return p.plan, nil
		}
	}
	for try := range 4 {
		p := newPlanner(f, opts)
		p.bornIn, p.holderLeads = try&1 != 0, try&2 != 0
		if p.holderLeads && f.Root().PGID != forest.Inherited && f.Root().SID != forest.Inherited {
			break // nobody can be in it
		}
		refused := p.make()
		if refused == nil {
			return p.plan, nil
		}
		if first == nil {
			first = refused
		}
		if !p.checked || try&1 != 0 && p.holder == none {
			break // no other way of planning would help
		}
	}
	return nil, first
}

func newPlanner(f *forest.Forest, opts Options) *planner {
	return &planner{
		f: f, opts: opts, plan: &Plan{Births: []Op{{
			Code: Clone, Child: Init, Flags: NewPID | Pidfd, Numbers: []int32{1}, Signal: forest.SIGCHLD,
		}}},
		homes:    make(map[forest.Tag]int32),
		fixed:    make(map[forest.Tag]bool),
		carriers: make(map[carrierKey]int32),
		keepers:  make(map[keeperKey]int32),
		joins:    make(map[forest.Tag][]Ref),
		members:  make(map[seat]int32),
		holders:  make(map[int32][]Ref),

		wards:     make(map[int32][]int32),
		byThreads: make(map[int32][]Ref),
		crews:     make(map[forest.Tag]*crew),

		deadInits: make(map[int32]int32),
		wardens:   make(map[int32]int32),
		writers:   make(map[int32]int32),

		lastAdoption: noRef, lastUnnamed: noRef, barrier: noRef, stops: noRef, holder: none, beside: none,
	}
}

func (p *planner) make() Refusals {
	p.index()
	p.holderLeads = p.holderLeads && p.holder != none
	for _, step := range []func(){p.settleLeader, p.check, p.settleUsers} {
		if step(); len(p.refusals) > 0 {
			return p.refusals
		}
	}
	p.checked = true
	for _, step := range []func(){p.settleHomes, p.require, p.wantGroups, p.grow, p.group, p.finish} {
		if step(); len(p.refusals) > 0 {
			return p.refusals
		}
	}
	return nil
}

// refuse notes why there is no plan.
func (p *planner) refuse(r *Refusal) { p.refusals = append(p.refusals, r) }

// unsupported notes that this version cannot build node n's part of the
// forest.
func (p *planner) unsupported(n int32, format string, args ...any) {
	p.refuseNode(Unsupported, n, format, args...)
}

func (p *planner) refuseNode(kind Kind, n int32, format string, args ...any) {
	r := &Refusal{Task: none, Kind: kind, Reason: fmt.Sprintf(format, args...)}
	if n >= 0 {
		r.Task, r.Tag = int(p.nodes[n].task), p.nodes[n].tag
		r.Reason = p.name(n) + ": " + r.Reason
	}
	p.refuse(r)
}

// name is how a person knows node n.
func (p *planner) name(n int32) string {
	if nd := &p.nodes[n]; nd.task == none {
		return nd.role.String() + " " + (&forest.Pid{Numbers: p.chain(n)}).String()
	}
	return p.f.TaskName(int(p.nodes[n].task))
}

// nsName names a namespace by the chain of its init.
func (p *planner) nsName(ns int32) string {
	if ns == 0 {
		return "root"
	}
	if init := p.x.Init(int(ns)); init > 0 {
		return "of " + p.f.TagName(init)
	}
	return fmt.Sprintf("#%d", ns)
}
