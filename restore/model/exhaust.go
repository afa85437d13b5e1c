// SPDX-License-Identifier: Apache-2.0

package model

import (
	"encoding/binary"
	"hash/maphash"
	"slices"

	"github.com/pidgraft/pidgraft/forest"
)

// Exhaust visits every state of a container that some legal history of at most
// c.MaxSteps calls (after the root's birth) leads to, each once with a
// shortest history, until visit returns false. States that differ in nothing
// but numbers, cursors and birth dates are one. Of signals, exit codes and the
// like only one of each is tried: what is explored is the shape of forests.
//
// The number of states grows about tenfold with each call.
func Exhaust(c Config, visit func(*History, *Kernel) bool) {
	c = c.defaults()
	c.Subtree, c.Failing = false, false
	first := func(int) int { return 0 }
	g := newGenerator(c, first)
	g.h.Root = g.root.leader.id
	x := &explorer{c: c, visit: visit, seen: map[uint64]bool{}, seed: maphash.MakeSeed()}
	frontier := []*History{g.h}
	if !x.meet(g.h, g.k) {
		return
	}
	for range c.MaxSteps {
		var next []*History
		for _, h := range frontier {
			more, ok := x.expand(h)
			if !ok {
				return
			}
			next = append(next, more...)
		}
		frontier = next
	}
}

// explorer is the state of one Exhaust.
type explorer struct {
	c     Config
	visit func(*History, *Kernel) bool
	seen  map[uint64]bool // hashes of states: a collision would hide one
	seed  maphash.Seed
	state []byte
}

// meet visits a state, and reports whether to go on.
func (x *explorer) meet(h *History, k *Kernel) bool {
	x.seen[x.hash(h, k)] = true
	return x.visit(h, k)
}

// expand makes every next call after h and returns the histories that lead to
// states not met before. false: visit wants no more.
func (x *explorer) expand(h *History) ([]*History, bool) {
	var found []*History
	for kind := range nrKinds {
		if !x.c.Kinds.Has(kind) {
			continue
		}
		for choices := (odometer{}); ; {
			next, k := x.propose(h, kind, &choices)
			if next != nil && !x.seen[x.hash(next, k)] {
				if !x.meet(next, k) {
					return nil, false
				}
				found = append(found, next)
			}
			if !choices.advance() {
				break
			}
		}
	}
	return found, true
}

// propose goes on after h with one call of a kind, nil if there is none.
func (x *explorer) propose(h *History, kind Kind, choices *odometer) (*History, *Kernel) {
	k, err := h.Replay()
	if err != nil {
		panic("model: a history does not replay: " + err.Error())
	}
	next := &History{Mode: h.Mode, Steps: slices.Clip(h.Steps)}
	g := &generator{k: k, c: x.c, pick: choices.pick, value: func(int) int { return 0 }, h: next}
	g.root = k.tasks[h.Root].proc
	g.propose(kind)
	if len(next.Steps) == len(h.Steps) || next.Steps[len(next.Steps)-1].Errno != 0 || !g.goesOn() {
		return nil, nil
	}
	next.Root = g.root.leader.id
	return next, k
}

// odometer is a Picker that goes through all sequences of choices.
type odometer struct {
	choice, of []int
	at         int
}

func (o *odometer) pick(n int) int {
	if o.at == len(o.choice) {
		o.choice, o.of = append(o.choice, 0), append(o.of, n)
	}
	o.at++
	return o.choice[o.at-1]
}

// advance moves to the next sequence; false: that was the last.
func (o *odometer) advance() bool {
	o.at = 0
	for i := len(o.choice) - 1; i >= 0; i-- {
		if o.choice[i]++; o.choice[i] < o.of[i] {
			o.choice, o.of = o.choice[:i+1], o.of[:i+1]
			return true
		}
	}
	return false
}

// hash is that of all that can matter to what happens next: the forest without
// numbers, and what a dump does not see.
func (x *explorer) hash(h *History, k *Kernel) uint64 {
	f, err := k.Forest(h.Root, h.Mode)
	if err != nil {
		return 0 // nothing that a dump would take; met once
	}
	x.state = x.state[:0]
	put := func(values ...int) {
		for _, v := range values {
			x.state = binary.AppendVarint(x.state, int64(v))
		}
	}
	for i := range f.Namespaces {
		n := &f.Namespaces[i]
		put(n.Parent, n.Owner, int(n.State))
	}
	put(-9, len(f.UserNamespaces))
	for i := range f.UserNamespaces {
		put(f.UserNamespaces[i].Parent, len(f.UserNamespaces[i].UIDMap))
	}
	for i := range f.Pids {
		put(f.Pids[i].Namespace)
	}
	for i := range f.Tasks {
		t := &f.Tasks[i]
		put(-9, int(t.Pid), int(t.TGID), int(t.PGID), int(t.SID), int(t.Parent), int(t.ParentThread))
		put(int(t.ExitSignal), int(t.PdeathSignal), bit01(t.Subreaper), int(t.State), int(t.StopSignal), bit01(t.StopReported))
		put(int(t.WaitStatus()), bit01(t.GroupExit), t.UserNamespace, t.ChildNamespace, int(t.UID), int(t.EUID))
		hidden := k.hidden(f.Pid(t.Pid), h.Root)
		p := hidden.proc
		put(bit01(hidden.noExec), bit01(hidden.cred.caps), bit01(hidden.cred.permitted), int(p.pending), int(p.ignored))
		put(bit01(p.blocked), bit01(p.noChildWait))
		if p.parent != nil {
			put(bit01(p.parent.execID == p.parentExecID))
		}
	}
	return maphash.Bytes(x.seed, x.state)
}

// hidden is the task that carries an object of root's forest.
func (k *Kernel) hidden(o *forest.Pid, root TaskID) *task {
	return k.tasks[root].pid.ns.numbers[o.Numbers[0]].task
}

func bit01(b bool) int {
	if b {
		return 1
	}
	return 0
}
