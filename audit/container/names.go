// SPDX-License-Identifier: Apache-2.0

package container

import (
	"time"

	"github.com/pidgraft/pidgraft/audit/state"
	"github.com/pidgraft/pidgraft/collector"
)

// Question is whose cgroup is to be read to name a namespace.
type Question struct {
	// Number of its init, in the pid namespace of who reads.
	Number int32

	namespace collector.ID
	init      collector.ID
}

// Names are those of the pid namespaces of a state. They are asked for, read
// elsewhere, and taken in.
type Names struct {
	level  int
	of     map[collector.ID]*named
	inodes map[uint32]Name
}

type named struct {
	inode uint32
	name  Name
	asked int    // how often
	at    uint64 // when last
}

// again is how long it takes until a namespace is asked about another time:
// runtimes move an init into its cgroup before it runs anything, but not before
// it is there.
var again = []time.Duration{0, time.Second, 10 * time.Second, time.Minute}

// NewNames knows none yet. Level is that of the reader's pid namespace below
// the initial one: inits above it have no number there.
func NewNames(level int) *Names {
	return &Names{level: level, of: make(map[collector.ID]*named), inodes: make(map[uint32]Name)}
}

// Due are the namespaces to be asked about now (CLOCK_MONOTONIC). It forgets
// those that are no more.
//
// The initial namespace is the machine's, whatever unit its init has.
func (n *Names) Due(s *state.State, now uint64) []Question {
	var due []Question
	there := make(map[collector.ID]bool, len(n.of))
	for ns := range s.Namespaces() {
		if ns.Level == 0 || ns.Level < n.level {
			continue
		}
		there[ns.ID] = true
		k := n.of[ns.ID]
		if k == nil || k.inode != ns.Inode {
			k = &named{inode: ns.Inode}
			n.of[ns.ID] = k
			delete(n.inodes, ns.Inode)
		}
		wait := again[min(k.asked, len(again)-1)]
		init := s.Number(ns, 1)
		if init == nil || init.Carrier == nil || now-k.at < uint64(wait) {
			continue
		}
		k.asked++
		k.at = now
		due = append(due, Question{init.Numbers[n.level], ns.ID, init.ID})
	}
	for id, k := range n.of {
		if !there[id] {
			delete(n.of, id)
			delete(n.inodes, k.inode)
		}
	}
	// An inode that is somebody else's by now was taken away above.
	for _, k := range n.of {
		if k.name != (Name{}) {
			n.inodes[k.inode] = k.name
		}
	}
	return due
}

// Take takes in what /proc/PID/cgroup said. The number was the init's when it was
// asked for; if it still is, it was meanwhile, and the answer is about it.
func (n *Names) Take(s *state.State, q Question, cgroups string) {
	k := n.of[q.namespace]
	o := s.Object(q.init)
	if k == nil || o == nil || o.Carrier == nil || o.Namespace == nil || o.Namespace.ID != q.namespace ||
		o.Namespace.Inode != k.inode || o.Numbers[n.level] != q.Number {
		return
	}
	// Once it was known: a cgroup that has no name tells nothing new.
	if name := Parse(cgroups); name != (Name{}) {
		k.name = name
		n.inodes[k.inode] = name
	}
}

// Of is the name of a namespace; empty if it is not known.
func (n *Names) Of(inode uint32) Name { return n.inodes[inode] }
