// SPDX-License-Identifier: Apache-2.0

package state

import (
	"fmt"

	"github.com/pidgraft/pidgraft/audit/event"
	"github.com/pidgraft/pidgraft/collector"
)

// FromSnapshot is the state that a pass over a namespace showed. What the pass
// could not describe, because it changed meanwhile, is left to the events that
// say so.
//
// An error says that the pass does not even know its own namespace.
func FromSnapshot(snap *collector.Snapshot) (*State, error) {
	r := reader{
		pids:       make(map[collector.ID]*collector.Pid, len(snap.Tasks)),
		namespaces: make(map[collector.ID]*collector.Namespace, len(snap.Namespaces)),
	}
	for i := range snap.Namespaces {
		r.namespaces[snap.Namespaces[i].ID] = &snap.Namespaces[i]
	}
	root := r.namespaces[snap.Namespace]
	if root == nil {
		return nil, fmt.Errorf("the namespace that was looked at is not described: %w", collector.ErrChanged)
	}
	// Of an object that was described twice, the later sight counts.
	for i := range snap.Pids {
		r.pids[snap.Pids[i].ID] = &snap.Pids[i]
	}
	s := New(root.Level)
	for i := range snap.Tasks {
		s.Put(r.task(&snap.Tasks[i]))
	}
	// Parents that came later than their children.
	for _, t := range s.tasks {
		s.adopt(t)
	}
	for id, o := range s.objects {
		if numbers := r.numbers(id); o.Namespace == nil && sound(numbers) {
			s.described(id, numbers)
		}
	}
	for _, id := range snap.IDR {
		s.hold(id, &r)
	}
	clear(s.suspects)
	return s, nil
}

// hold keeps an object that the idr shows to be taken, and nobody who was seen
// uses. One that has no use at all is being born, or goes this moment.
func (s *State) hold(id collector.ID, r *reader) {
	p := r.pids[id]
	numbers := r.numbers(id)
	if p == nil || !sound(numbers) || !p.HasPID && !p.HasTGID && !p.HasPGID && !p.HasSID {
		return
	}
	if o := s.objects[id]; o != nil && (o.Carrier != nil || !p.HasPID) {
		return
	}
	// If the number is somebody else's by now, this sight was the older one.
	last := numbers[len(numbers)-1]
	if other := s.numbers[numberKey{last.Namespace, last.Nr}]; other != nil && other.ID != id {
		return
	}
	s.described(id, numbers).Held = true
}

// Inherit takes over from an older state of the same namespace what a pass
// cannot show: when tasks began to exit, and how many numbers were given out.
func (s *State) Inherit(old *State) {
	for id, t := range s.tasks {
		if was := old.tasks[id]; was != nil && was.StartTime == t.StartTime && t.Exiting && t.Since == 0 {
			t.Since = was.Since
		}
	}
	for id, ns := range s.namespaces {
		if was := old.namespaces[id]; was != nil && was.Inode == ns.Inode {
			ns.Births = max(ns.Births, was.Births)
		}
	}
}

// reader finds what a snapshot has on an identity.
type reader struct {
	pids       map[collector.ID]*collector.Pid
	namespaces map[collector.ID]*collector.Namespace
}

// task is a task as an event would show it.
func (r *reader) task(t *collector.Task) event.Task {
	e := event.Task{
		ID: t.ID, StartTime: t.StartTime, Pid: t.Pid, Numbers: r.numbers(t.Pid),
		Process: t.TGID, Group: t.PGID, Session: t.SID,
		Parent: t.RealParent, ParentProcess: t.ParentTGID,
		ChildNamespace: t.ChildNamespace, Subreaper: t.Subreaper,
		ExitState: t.ExitState, Flags: t.TaskFlags, ExitCode: t.ExitCode, ExitSignal: t.ExitSignal,
		UID: t.UID,
	}
	if ns := r.namespaces[t.ChildNamespace]; ns != nil {
		e.ChildInode = ns.Inode
	}
	for i, b := range t.Comm {
		if b == 0 {
			e.Comm = string(t.Comm[:i])
			break
		}
	}
	return e
}

// numbers are those of a pid object with their namespaces, or nil if not all of
// it is described.
func (r *reader) numbers(id collector.ID) []event.Number {
	p := r.pids[id]
	if p == nil {
		return nil
	}
	numbers := make([]event.Number, len(p.Numbers))
	at := p.Namespace
	for i := len(numbers) - 1; i >= 0; i-- {
		ns := r.namespaces[at]
		if ns == nil || ns.Level != i {
			return nil
		}
		numbers[i] = event.Number{Nr: p.Numbers[i], Inode: ns.Inode, Namespace: at}
		at = ns.Parent
	}
	return numbers
}
