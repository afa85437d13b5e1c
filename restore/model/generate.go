// SPDX-License-Identifier: Apache-2.0

package model

import (
	"math/rand/v2"

	"github.com/pidgraft/pidgraft/forest"
)

// Config restricts what histories are made.
type Config struct {
	Kinds    Kinds // kinds of steps; 0: Basic
	Subtree  bool  // the root is a process beside others, not an init
	MinSteps int   // 0: 1
	MaxSteps int   // 0: 40
	MaxTasks int   // tasks at one time; 0: 12
	MaxLevel int   // namespaces below the root's; 0: 3
	// Failing keeps steps that the kernel refuses. Otherwise they are left
	// out, but for those that change something all the same.
	Failing bool
	// OutsiderReaps has the outsider adopt whom nobody else does, as the
	// first process of a test does.
	OutsiderReaps bool
	Version       Version // of the machine
}

func (c Config) defaults() Config {
	set := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	if c.Kinds == 0 {
		c.Kinds = Basic
	}
	set(&c.MinSteps, 1)
	set(&c.MaxSteps, 40)
	set(&c.MaxTasks, 12)
	set(&c.MaxLevel, 3)
	c.MaxSteps = max(c.MaxSteps, c.MinSteps)
	return c
}

// Picker chooses a number from 0 to n-1. 0 should be the simplest choice.
type Picker func(n int) int

// GenerateRand makes a history of random choices.
func GenerateRand(r *rand.Rand, c Config) (*History, *Kernel) { return GenerateFrom(r.IntN, c) }

// GenerateFrom makes the legal history that pick chooses, and the machine at
// its end. It never passes through a state that could not be torn down (rule
// 23), and its forest can be exported. With a pick that draws from a property
// testing library, failures shrink.
func GenerateFrom(pick Picker, c Config) (*History, *Kernel) {
	c = c.defaults()
	kinds := c.weighted()
	g := newGenerator(c, pick)
	n := c.MinSteps + pick(c.MaxSteps-c.MinSteps+1)
	// A proposal may find nothing to act upon: tries are bounded too.
	for tries := 4 * n; len(g.h.Steps) <= n && tries > 0 && g.goesOn(); tries-- {
		g.propose(kinds[pick(len(kinds))])
	}
	return g.done()
}

// GenerateSlots is GenerateFrom with a picker for each proposal, nil to leave
// it out: when a history is made smaller by leaving proposals out, the others
// remain what they were. The first picker is for the root. Steps are limited
// by the number of slots only.
func GenerateSlots(slots []Picker, c Config) (*History, *Kernel) {
	c = c.defaults()
	kinds := c.weighted()
	g := newGenerator(c, slots[0])
	for _, pick := range slots[1:] {
		if pick == nil {
			continue
		}
		if !g.goesOn() {
			break
		}
		g.pick, g.value = pick, pick
		g.propose(kinds[pick(len(kinds))])
	}
	return g.done()
}

// weighted lists the kinds, each as often as its weight says.
func (c Config) weighted() []Kind {
	var kinds []Kind
	for k, weight := range weights {
		for range weight {
			if c.Kinds.Has(Kind(k)) {
				kinds = append(kinds, Kind(k))
			}
		}
	}
	return kinds
}

// newGenerator makes a machine with the root of a forest.
func newGenerator(c Config, pick Picker) *generator {
	g := &generator{k: NewVersion(c.Version), c: c, pick: pick, value: pick, h: &History{Version: c.Version}}
	if c.OutsiderReaps {
		g.do(Step{Kind: Reaper, Actor: Outsider, Number: 1})
	}
	g.makeRoot()
	return g
}

func (g *generator) done() (*History, *Kernel) {
	g.h.Root = g.root.leader.id
	return g.h, g.k
}

// goesOn reports whether the root and the outsider live: a hangup of an
// orphaned group can end either (rule 22).
func (g *generator) goesOn() bool {
	return g.root.alive > 0 && !g.k.tasks[Outsider].exiting
}

// weights say how often each kind is proposed.
var weights = [nrKinds]int{
	Fork: 6, ForkSignal: 1, ForkParent: 2, ForkNamed: 1, ForkPID: 2, ForkUser: 1, ForkFail: 1,
	ForkThread: 2, ExitOne: 2, ExitAll: 3, KillOne: 1, Reap: 1,
	NewSession: 2, JoinGroup: 2, MoveChild: 2, Reaper: 2,
	UnsharePID: 1, UnshareUser: 1, JoinPID: 2, JoinUser: 1, Enter: 1, Execve: 1,
	Stop: 2, Continue: 1, TellStop: 1, ParentDeath: 1, IgnoreChildren: 1,
	MapUsers: 1, ChangeIDs: 1, WriteCursor: 1, WriteMax: 1, DieInit: 1,
}

// generator makes one history.
type generator struct {
	k     *Kernel
	c     Config
	pick  Picker // among tasks, and of what to do
	value Picker // of signals, exit codes and numbers
	h     *History
	root  *process
}

// makeRoot has the outsider fork the root of the forest.
func (g *generator) makeRoot() {
	s := Step{Kind: Fork, Actor: Outsider, Number: forest.SIGCHLD}
	if g.c.Subtree {
		g.h.Mode = forest.Subtree
	} else {
		s.Kind, s.Flags = ForkPID, NewPID
		if g.c.Kinds.Has(ForkUser) && g.value(4) == 3 {
			s.Kind, s.Flags = ForkUser, NewPID|NewUser
		}
	}
	if g.do(s) != 0 {
		panic("model: no root: " + g.k.Why())
	}
	g.root = g.k.tasks[g.h.First()].proc
	if s.Kind == ForkUser {
		g.do(g.maps(g.root.leader))
	}
}

// do makes a step and keeps it if the configuration wants it.
func (g *generator) do(s Step) Errno {
	errno := g.k.Apply(&s)
	changed := errno == EAGAIN || errno == EEXIST || errno == ENOMEM || s.SetTID != nil || s.Kind == ChangeIDs
	if errno == 0 || g.c.Failing || changed {
		g.h.Steps = append(g.h.Steps, s)
	}
	return errno
}

// some picks one of the tasks that ok accepts, or nil. Tasks of the machine
// that are not the history's are never among them.
func (g *generator) some(ok func(*task) bool) *task {
	var found []*task
	for _, t := range g.k.tasks[Outsider+1:] {
		if t.state != released && ok(t) {
			found = append(found, t)
		}
	}
	if len(found) == 0 {
		return nil
	}
	return found[g.pick(len(found))]
}

func (t *task) runs() bool { return !t.exiting && !t.proc.stopped }

func (g *generator) anyActor() *task { return g.some((*task).runs) }

// sender is who sends a signal to t: the outsider, which every init heeds, or
// a task that sees t.
func (g *generator) sender(t *task) TaskID {
	if g.value(2) == 1 {
		if a := g.some(func(a *task) bool { return a.runs() && t.pid.numberIn(a.pid.ns) != 0 }); a != nil {
			return a.id
		}
	}
	return Outsider
}

// full reports whether no more tasks are wanted.
func (g *generator) full() bool {
	n := 0
	for _, t := range g.k.tasks[Outsider+1:] {
		if t.state != released {
			n++
		}
	}
	return n >= g.c.MaxTasks
}
