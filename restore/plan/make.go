// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"path"
	"runtime"
	"strings"

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
	way
	options []uint16 // how many there were, by choice
	checked bool     // nothing in the forest is beyond planning
	// outsideTold: who made the forest has refused what is led from outside.
	outsideTold bool
	plan        *Plan
	nodes       []node
	beside      int32 // the outsider, or none
	holder      int32 // the init of a subtree's namespace, or none
	mourner     int32 // the init around a container whose root has ended, and its parent, or none
	tasks       int32 // nodes[:tasks] are the tasks; helpers follow

	ghosts map[forest.Tag]int32 // ghost objects and the nodes that carry them
	homes  map[forest.Tag]int32 // ghost sessions and whose child their leader is
	fixed  map[forest.Tag]bool  // of these, where that is told
	used   []bool               // by tag-1: others are in the group of this number
	free   []numbers            // by namespace; nil until a helper needs a number

	blocked      []int32 // processes that wait with bearing children
	carriers     map[carrierKey][]int32
	keptOut      map[forest.Tag][]int32 // by session: helpers that stay outside the user namespace of its leader
	keepers      map[keeperKey]int32
	wards        map[int32][]int32 // helpers that an entrant bore
	gifts        []int32           // children that their parents must put into a group
	joins        map[forest.Tag][]Ref
	alive        map[forest.Tag]Ref // groups that a helper stays in, and since when
	members      map[seat]int32
	execs        map[int32]bool // who runs the stub anew
	executed     map[int32]Ref  // and when it has
	left         []Ref          // when inits left groups that are foreign: others join such only then (kernel-rules 23)
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

// Make plans how f is rebuilt in a new pid namespace, or in Options.Place. The
// error is of type Refusals, or else tells of a fault of the planner, which panicked:
// an image that shows one is to be refused like others. f must be valid
// (forest.Validate); time and memory are linear in its size but for what adoption by
// name of a session costs, and a search costs SearchTries times that at most.
func Make(f *forest.Forest, opts Options) (p *Plan, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			p, err = nil, fmt.Errorf("a fault of the planner, please report it with the image: %v, at %s", fault, faultAt())
		}
	}()
	return search(f, opts)
}

// faultAt says where a panic came from.
func faultAt() string {
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for {
		frame, more := frames.Next()
		if strings.Contains(frame.Function, "restore/plan.") || !more {
			return fmt.Sprintf("%s:%d", path.Base(frame.File), frame.Line)
		}
	}
}

func newPlanner(f *forest.Forest, opts Options) *planner {
	return &planner{
		f: f, opts: opts, plan: &Plan{Births: []Op{{
			Code: Clone, Child: Init, Flags: NewPID | Pidfd, Numbers: []int32{1}, Signal: forest.SIGCHLD,
		}}},
		homes:    make(map[forest.Tag]int32),
		fixed:    make(map[forest.Tag]bool),
		carriers: make(map[carrierKey][]int32),
		keptOut:  make(map[forest.Tag][]int32),
		keepers:  make(map[keeperKey]int32),
		joins:    make(map[forest.Tag][]Ref),
		alive:    make(map[forest.Tag]Ref),
		members:  make(map[seat]int32),
		holders:  make(map[int32][]Ref),

		wards:     make(map[int32][]int32),
		byThreads: make(map[int32][]Ref),
		crews:     make(map[forest.Tag]*crew),

		execs:     make(map[int32]bool),
		executed:  make(map[int32]Ref),
		deadInits: make(map[int32]int32),
		wardens:   make(map[int32]int32),
		writers:   make(map[int32]int32),

		lastAdoption: noRef, lastUnnamed: noRef, barrier: noRef, stops: noRef, holder: none, mourner: none, beside: none,
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
	for _, step := range []func(){p.settleHomes, p.require, p.settleExecs, p.wantGroups, p.grow, p.group, p.finish} {
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
