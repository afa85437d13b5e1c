// SPDX-License-Identifier: Apache-2.0

package overview

import (
	"cmp"
	"slices"

	"github.com/pidgraft/pidgraft/audit/budget"
	"github.com/pidgraft/pidgraft/audit/state"
	"github.com/pidgraft/pidgraft/forest"
)

// Forest is what lives in a namespace itself, not in one below it.
type Forest struct {
	Processes []Process `json:"processes"`
	Ghosts    []Ghost   `json:"ghosts"`
	// Kernel threads are only counted.
	Kernel int `json:"kernel,omitempty"`
	// Held are numbers in use of which nobody is seen who uses them.
	Held []int32 `json:"held,omitempty"`
	// Omitted are the processes and ghosts that are too many.
	OmittedProcesses int `json:"omitted_processes,omitempty"`
	OmittedGhosts    int `json:"omitted_ghosts,omitempty"`
}

// Process is a process. Numbers in it but the first are those of the namespace
// that is audited.
type Process struct {
	Numbers   []int32 `json:"numbers"` // as in record.Task
	Number    int32   `json:"number"`
	Parent    int32   `json:"parent"` // 0: outside
	Group     int32   `json:"group"`
	Session   int32   `json:"session"`
	Comm      string  `json:"comm"`
	UID       uint32  `json:"uid"`
	Threads   int     `json:"threads"`
	Zombie    bool    `json:"zombie,omitempty"`
	Exiting   bool    `json:"exiting,omitempty"`
	Subreaper bool    `json:"subreaper,omitempty"`
}

// Ghost is a number that no task carries.
type Ghost struct {
	Numbers []int32 `json:"numbers"`
	Number  int32   `json:"number"`
	Group   int     `json:"group"`   // processes of the group that it is
	Session int     `json:"session"` // processes of the session that it is
}

// How much of a namespace, and of all of them, there is at most.
const (
	maxProcesses    = 200
	maxAllProcesses = 2000
	maxGhosts       = 100
)

// grow fills in the forests, in the order of the namespaces.
func grow(s *state.State, budgets []budget.Budget, namespaces []Namespace) {
	forests := make(map[*state.Namespace]*Forest, len(budgets))
	for i, b := range budgets {
		f := &Forest{Processes: []Process{}, Ghosts: []Ghost{}}
		forests[b.Namespace], namespaces[i].Forest = f, f
	}
	for o := range s.Objects() {
		f := forests[o.Namespace]
		if f == nil || o.Idle() {
			continue
		}
		if o.Held && o.Carrier == nil && len(f.Held) < maxGhosts {
			f.Held = append(f.Held, o.Nr)
		}
		if o.Ghost() {
			f.Ghosts = append(f.Ghosts, Ghost{o.Numbers, o.Nr, len(o.Group), len(o.Session)})
		}
		if p := o.Process; p != nil {
			if l := p.Leader(); l != nil && l.Kernel {
				f.Kernel++
				continue
			}
			f.Processes = append(f.Processes, ofProcess(p))
		}
	}
	left := maxAllProcesses
	for _, ns := range namespaces {
		f := ns.Forest
		slices.SortFunc(f.Processes, func(a, b Process) int { return cmp.Compare(a.Number, b.Number) })
		slices.SortFunc(f.Ghosts, func(a, b Ghost) int { return cmp.Compare(a.Number, b.Number) })
		n := min(len(f.Processes), maxProcesses, left)
		f.Processes, f.OmittedProcesses = f.Processes[:n], len(f.Processes)-n
		left -= n
		slices.Sort(f.Held)
		n = min(len(f.Ghosts), maxGhosts)
		f.Ghosts, f.OmittedGhosts = f.Ghosts[:n], len(f.Ghosts)-n
	}
}

func ofProcess(p *state.Process) Process {
	r := Process{
		Numbers: p.Object.Numbers, Number: p.Object.Nr, Group: p.Group.Nr, Session: p.Session.Nr,
		Threads: len(p.Tasks), Subreaper: p.Subreaper,
	}
	// Without a leader, which the kernel may hide, of any.
	l := p.Leader()
	if l == nil && len(p.Tasks) > 0 {
		l = p.Tasks[0]
	}
	if l != nil {
		r.Comm, r.UID, r.Zombie, r.Exiting = forest.Escape(l.Comm), l.UID, l.Zombie, l.Exiting
		if l.Parent != nil {
			r.Parent = l.Parent.Process.Object.Nr
		}
	}
	return r
}
