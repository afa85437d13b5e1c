// SPDX-License-Identifier: Apache-2.0

package budget

import (
	"cmp"
	"slices"

	"github.com/pidgraft/pidgraft/audit/state"
	"github.com/pidgraft/pidgraft/collector"
)

// reserved numbers are not given out again once the cursor has wrapped
// (RESERVED_PIDS, include/linux/pid.h).
const reserved = 300

// Budget is that of one namespace.
type Budget struct {
	Namespace *state.Namespace
	// Allocated numbers, of the namespace and of all below it.
	Allocated int
	// Tasks have a number each; Ghosts are numbers that only groups and
	// sessions hold; Zombies are processes that ended and are not reaped.
	Tasks, Ghosts, Zombies int
	// Processes are those that have their numbers here.
	Processes int
	// Births is how many numbers were given out since the audit began.
	Births uint64
	// PidMax bounds the numbers; 0: not known.
	PidMax int
	// Cursor is the number that is tried next.
	Cursor int
	// Births a second, over the time since the budget before.
	Churn float64
	// Left is how many numbers can still be given out, with what the
	// ancestors have left considered; BoundBy is the namespace that bounds
	// it. -1: not known.
	Left    int
	BoundBy *state.Namespace
	// WrapIn is how many seconds it takes until the cursor begins again, and
	// ExhaustedIn until nothing is left, if everything goes on as it does;
	// -1: never, or not known.
	WrapIn, ExhaustedIn float64
	// Consumers have the most numbers, by thread or by child.
	Consumers []Consumer
}

// Consumer is a process with many threads or children.
type Consumer struct {
	Process           *state.Process
	Threads, Children int
}

// topConsumers is how many are named.
const topConsumers = 5

// Tracker compares with the moment before, for rates.
type Tracker struct {
	// PidMax is that of the machine, for kernels where namespaces have none
	// of their own.
	PidMax int

	when uint64
	last map[collector.ID]sample
}

type sample struct {
	inode     uint32
	births    uint64
	allocated int
}

// Budgets are those of all namespaces of a state that the snapshot knows the
// cursor of, the outermost first. Now is CLOCK_MONOTONIC.
func (t *Tracker) Budgets(s *state.State, namespaces []collector.Namespace, now uint64) []Budget {
	kernel := make(map[collector.ID]*collector.Namespace, len(namespaces))
	for i := range namespaces {
		kernel[namespaces[i].ID] = &namespaces[i]
	}
	of := make(map[*state.Namespace]*Budget)
	for ns := range s.Namespaces() {
		if ns.Level >= s.Level() {
			of[ns] = t.begin(ns, kernel[ns.ID])
		}
	}
	count(s, of)
	budgets := make([]Budget, 0, len(of))
	samples := make(map[collector.ID]sample, len(of))
	seconds := float64(now-t.when) / 1e9
	for ns, b := range of {
		t.bound(b, of)
		last, ok := t.last[ns.ID]
		if ok && last.inode == ns.Inode && seconds > 0 {
			b.rates(float64(ns.Births-last.births)/seconds, float64(b.Allocated-last.allocated)/seconds)
		}
		samples[ns.ID] = sample{ns.Inode, ns.Births, b.Allocated}
	}
	for _, b := range of {
		budgets = append(budgets, *b)
	}
	t.when, t.last = now, samples
	slices.SortFunc(budgets, func(a, b Budget) int {
		return cmp.Or(cmp.Compare(a.Namespace.Level, b.Namespace.Level), cmp.Compare(a.Namespace.Inode, b.Namespace.Inode))
	})
	return budgets
}

func (t *Tracker) begin(ns *state.Namespace, k *collector.Namespace) *Budget {
	b := &Budget{Namespace: ns, Allocated: ns.Visible, Births: ns.Births, PidMax: t.PidMax, Left: -1, WrapIn: -1, ExhaustedIn: -1}
	if k != nil && k.Inode == ns.Inode {
		b.Cursor = int(k.Cursor)
		if k.PidMax > 0 {
			b.PidMax = int(k.PidMax)
		}
	}
	return b
}

// count attributes tasks, ghosts and zombies to each namespace that they have a
// number in.
func count(s *state.State, of map[*state.Namespace]*Budget) {
	consumers := make(map[*state.Namespace][]Consumer)
	for o := range s.Objects() {
		if o.Idle() {
			if b := of[o.Namespace]; b != nil {
				b.Allocated-- // number 0 is not one of those that are given out
			}
			continue
		}
		children := 0
		if o.Process != nil {
			for _, t := range o.Process.Tasks {
				children += len(t.Children)
			}
		}
		for ns := o.Namespace; ns != nil; ns = ns.Parent {
			b := of[ns]
			if b == nil {
				continue
			}
			switch {
			case o.Carrier != nil && o.Carrier.Zombie:
				b.Zombies++
				b.Tasks++
			case o.Carrier != nil || o.Held:
				b.Tasks++
			default:
				b.Ghosts++
			}
			if o.Process != nil {
				b.Processes++
			}
			if o.Process != nil && len(o.Process.Tasks)+children > 1 {
				consumers[ns] = append(consumers[ns], Consumer{o.Process, len(o.Process.Tasks), children})
			}
		}
	}
	for ns, all := range consumers {
		slices.SortFunc(all, func(a, b Consumer) int {
			return cmp.Or(cmp.Compare(b.Threads+b.Children, a.Threads+a.Children), cmp.Compare(a.Process.Object.ID, b.Process.Object.ID))
		})
		of[ns].Consumers = all[:min(len(all), topConsumers)]
	}
}

// bound says what is left, here and above.
func (t *Tracker) bound(b *Budget, of map[*state.Namespace]*Budget) {
	for ns := b.Namespace; ns != nil; ns = ns.Parent {
		o := of[ns]
		if o == nil || o.PidMax == 0 {
			continue
		}
		// Numbers are 1 to pid_max - 1. Below 300 they are given out once.
		left := o.PidMax - 1 - o.Allocated
		if o.Cursor > reserved {
			left = max(0, o.PidMax-reserved-o.Allocated)
		}
		if b.Left < 0 || left < b.Left {
			b.Left, b.BoundBy = left, ns
		}
	}
}

func (b *Budget) rates(births, growth float64) {
	b.Churn = births
	if births > 0 && b.PidMax > 0 && b.Cursor > 0 {
		b.WrapIn = float64(b.PidMax-b.Cursor) / births
	}
	if growth > 0 && b.Left >= 0 {
		b.ExhaustedIn = float64(b.Left) / growth
	}
}

// Used is the share of its numbers that a namespace has given out, 0 to 1; 0 if
// it is not known how many there are.
func (b *Budget) Used() float64 {
	if b.PidMax <= 1 {
		return 0
	}
	return float64(b.Allocated) / float64(b.PidMax-1)
}
