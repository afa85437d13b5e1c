// SPDX-License-Identifier: Apache-2.0

package hidden

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/pidgraft/pidgraft/audit/finding"
	"github.com/pidgraft/pidgraft/audit/state"
	"github.com/pidgraft/pidgraft/collector"
)

// Views are the ways in which ordinary programs see processes, by their numbers
// in the looker's pid namespace.
type Views interface {
	// List is what reading the directory /proc gives.
	List() (map[int32]bool, error)
	// Open says whether /proc/N leads to the process with that number, and
	// when that process started, in its own unit.
	Open(nr int32) (start uint64, ok bool)
	// Kill says whether signal 0 finds the number, PidfdOpen whether a pidfd
	// of it can be had.
	Kill(nr int32) bool
	PidfdOpen(nr int32) bool
}

// Names of the views.
const (
	IDR       = "idr"
	Tasks     = "task iterator"
	Readdir   = "readdir of /proc"
	OpenProc  = "open of /proc/N"
	KillZero  = "kill 0"
	PidfdOpen = "pidfd_open"
)

// Process is one that the views do not agree on.
type Process struct {
	Object *state.Object // nil if the kernel's views do not have it
	Number int32         // in the looker's namespace
	Start  uint64
	Comm   string
	Seen   []string
	Unseen []string
}

// Hides reports whether one of the views that programs have lacks the process, or
// the kernel's both do. If it is only the task iterator that lacks it, nobody but
// the auditor is kept from it: some kernels keep a process of theirs from BPF.
func (p Process) Hides() bool {
	return p.Object == nil || slices.ContainsFunc(p.Unseen, func(view string) bool { return view != Tasks })
}

// Finding is the process as a finding.
func (p Process) Finding() finding.Finding {
	if !p.Hides() {
		return finding.Finding{
			Kind: finding.Unshown, Severity: finding.Info, Key: fmt.Sprintf("%s/%d/%d", finding.Unshown, p.Number, p.Start),
			Text: fmt.Sprintf("process %d is there for every program, and this kernel's task iterator does not show it: its group, session and children are not known",
				p.Number),
			Subject: p.Object, Namespace: p.Object.Namespace, Seen: p.Seen, Unseen: p.Unseen,
		}
	}
	f := finding.Finding{
		Kind: finding.Hidden, Severity: finding.Critical, Key: fmt.Sprintf("%s/%d/%d", finding.Hidden, p.Number, p.Start),
		Text: fmt.Sprintf("process %d (%q) is seen by %s, and not by %s",
			p.Number, p.Comm, strings.Join(p.Seen, ", "), strings.Join(p.Unseen, ", ")),
		Subject: p.Object, Seen: p.Seen, Unseen: p.Unseen,
	}
	if p.Object != nil {
		f.Namespace = p.Object.Namespace
	}
	return f
}

// Checker looks for hidden processes.
type Checker struct {
	Snapshot func(context.Context) (*collector.Snapshot, error)
	Views    Views
	// Level is that of the looker's pid namespace.
	Level int
	// Whole: the snapshot is of the looker's own namespace, so that what is
	// in /proc and not in it is hidden too.
	Whole bool
}

// rounds is how often a process must have been missed.
const rounds = 2

// Check finds the processes that the views do not agree on.
//
// Errors: those of the snapshots and of List.
func (c *Checker) Check(ctx context.Context) ([]Process, error) {
	var found map[identity]Process
	before, err := c.look(ctx)
	for round := range rounds {
		if err != nil {
			return nil, err
		}
		listed, err := c.Views.List()
		if err != nil {
			return nil, err
		}
		suspects := c.compare(before, listed)
		var after map[int32]sight
		if after, err = c.look(ctx); err != nil {
			return nil, err
		}
		now := make(map[identity]Process)
		for id, p := range suspects {
			// It was there all the time, or, if only /proc has it, no view of
			// the kernel had it at either end.
			if s, ok := after[id.number]; ok != (p.Object != nil) || ok && s.id != id {
				continue
			}
			if _, ok := found[id]; ok || round == 0 {
				now[id] = p
			}
		}
		found, before = now, after
	}
	processes := make([]Process, 0, len(found))
	for _, p := range found {
		processes = append(processes, p)
	}
	slices.SortFunc(processes, func(a, b Process) int { return int(a.Number) - int(b.Number) })
	return processes, nil
}

// identity is a process and no other.
type identity struct {
	number int32
	object collector.ID
	start  uint64
}

// sight is a process as the kernel's views show it.
type sight struct {
	id     identity
	object *state.Object
	task   *state.Task // nil: the iterator does not show it
}

// look is the kernel's views, by number in the looker's namespace.
func (c *Checker) look(ctx context.Context) (map[int32]sight, error) {
	snap, err := c.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	s, err := state.FromSnapshot(snap)
	if err != nil {
		return nil, err
	}
	all := make(map[int32]sight)
	for o := range s.Objects() {
		if c.Level >= len(o.Numbers) || o.Namespace == nil {
			continue
		}
		nr := o.Numbers[c.Level]
		switch p := o.Process; {
		case o.Held:
			all[nr] = sight{identity{nr, o.ID, 0}, o, nil}
		case p != nil && p.Leader() != nil:
			all[nr] = sight{identity{nr, o.ID, p.Leader().StartTime}, o, p.Leader()}
		}
	}
	return all, nil
}

// compare holds the other views against the kernel's.
func (c *Checker) compare(kernel map[int32]sight, listed map[int32]bool) map[identity]Process {
	suspects := make(map[identity]Process)
	for nr, s := range kernel {
		_, opened := c.Views.Open(nr)
		// What a container's snapshot only holds may be a thread of a process
		// beside it.
		if s.task == nil && !c.Whole {
			continue
		}
		if s.task != nil && listed[nr] && opened {
			continue
		}
		// A thread that the kernel does not show is no process.
		if s.task == nil && !listed[nr] {
			continue
		}
		p := Process{Object: s.object, Number: nr, Start: s.id.start}
		if s.task != nil {
			p.Comm = s.task.Comm
		}
		p.note(IDR, true)
		p.note(Tasks, s.task != nil)
		p.note(Readdir, listed[nr])
		p.note(OpenProc, opened)
		p.note(KillZero, c.Views.Kill(nr))
		p.note(PidfdOpen, c.Views.PidfdOpen(nr))
		suspects[s.id] = p
	}
	if c.Whole {
		c.reverse(kernel, listed, suspects)
	}
	return suspects
}

// reverse adds what /proc shows and the kernel's views do not.
func (c *Checker) reverse(kernel map[int32]sight, listed map[int32]bool, suspects map[identity]Process) {
	for nr := range listed {
		if _, ok := kernel[nr]; ok {
			continue
		}
		start, opened := c.Views.Open(nr)
		if !opened {
			continue // it ended
		}
		p := Process{Number: nr, Start: start}
		p.note(IDR, false)
		p.note(Tasks, false)
		p.note(Readdir, true)
		p.note(OpenProc, true)
		p.note(KillZero, c.Views.Kill(nr))
		p.note(PidfdOpen, c.Views.PidfdOpen(nr))
		suspects[identity{nr, 0, start}] = p
	}
}

func (p *Process) note(view string, saw bool) {
	if saw {
		p.Seen = append(p.Seen, view)
	} else {
		p.Unseen = append(p.Unseen, view)
	}
}
