// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"fmt"
	"slices"
	"time"

	"github.com/pidgraft/pidgraft/audit/budget"
	"github.com/pidgraft/pidgraft/audit/entry"
	"github.com/pidgraft/pidgraft/audit/event"
	"github.com/pidgraft/pidgraft/audit/finding"
	"github.com/pidgraft/pidgraft/audit/follow"
	"github.com/pidgraft/pidgraft/audit/hidden"
	"github.com/pidgraft/pidgraft/audit/history"
	"github.com/pidgraft/pidgraft/audit/record"
	"github.com/pidgraft/pidgraft/audit/state"
	"github.com/pidgraft/pidgraft/collector"
)

// Options of an Auditor.
type Options struct {
	Follow  follow.Options
	Finding finding.Options
	// Chosen is what records are made of.
	Chosen Chosen
	// History is told of births; may be nil.
	History *history.Tracker
	// NoEvents leaves out the records of events. They are most of the work.
	NoEvents bool
	// FindEvery is how often the state is looked at for what is wrong with
	// it.
	FindEvery time.Duration
	// PidMax is that of the machine, for kernels where namespaces have none
	// of their own.
	PidMax int
	// Emit takes a record. An error ends the audit.
	Emit func(*record.Record) error
	// Tick is called a few times a second, and may ask for things. An error
	// ends the audit.
	Tick func(*Auditor) error
}

// Auditor turns what happens to a namespace into records.
type Auditor struct {
	*follow.Follower
	src     follow.Source
	opts    Options
	tracker *finding.Tracker
	budgets budget.Tracker
	allow   *entry.List

	namespaces []collector.Namespace // as of the last snapshot
	foundAt    uint64
	hiding     []finding.Finding // by the last look for hidden processes
	refused    []finding.Finding // by the last look for what stands against checkpoints
	suspected  map[string]bool   // keys of what the last snapshot showed that cannot be
	broken     []finding.Finding // of that, what the one before showed as well
	recovered  int
	entries    int
	snapshots  int
	err        error // of Emit
}

// New is an Auditor of what a source shows. It has not begun.
func New(src follow.Source, opts Options) *Auditor {
	a := &Auditor{src: src, opts: opts, tracker: finding.NewTracker(opts.Finding)}
	a.budgets.PidMax = opts.PidMax
	a.Follower = follow.New(src, a, opts.Follow)
	return a
}

// Allow sets who may enter from outside.
func (a *Auditor) Allow(l *entry.List) { a.allow = l }

// Findings are those that are raised now.
func (a *Auditor) Findings() []finding.Finding { return a.tracker.Raised() }

// Entries is how many entries were not expected.
func (a *Auditor) Entries() int { return a.entries }

// Header emits the first record.
func (a *Auditor) Header(h record.Header) error {
	a.emit(&record.Record{Type: record.TypeHeader, Header: &h})
	return a.err
}

// Sum is what there has been so far.
func (a *Auditor) Sum() record.Summary {
	totals := a.Totals()
	return record.Summary{
		Events: a.Received(), Lost: totals.Lost(), Snapshots: a.snapshots,
		Recovered: a.recovered, Findings: len(a.tracker.Raised()) + a.entries,
	}
}

// Summary emits the last record.
func (a *Auditor) Summary() error {
	sum := a.Sum()
	a.emit(&record.Record{Type: record.TypeSummary, Summary: &sum})
	return a.err
}

// Budgets are those of the chosen namespaces now, with rates since the last ones
// that the tracker gave. There is a state.
func (a *Auditor) Budgets(t *budget.Tracker) []budget.Budget {
	return slices.DeleteFunc(t.Budgets(a.State(), a.namespaces, a.src.Now()), func(b budget.Budget) bool {
		return !a.opts.Chosen.has(b.Namespace)
	})
}

// emit completes a record and hands it on. The first error is kept for Tick.
func (a *Auditor) emit(r *record.Record) {
	if a.err != nil {
		return
	}
	r.Schema = record.Schema
	r.Time = time.Now().UTC().Format(time.RFC3339Nano)
	r.Monotonic = a.src.Now()
	r.Generation = a.Generation()
	r.State = "degraded"
	if a.State() != nil && a.Complete() {
		r.State = "complete"
	}
	a.err = a.opts.Emit(r)
}

// Event is called for each event.
func (a *Auditor) Event(e event.Event, was follow.Before, t *state.Task) {
	if a.opts.History != nil {
		a.opts.History.Event(a.State(), e, was, t)
	}
	if !a.opts.NoEvents {
		a.tell(e, was, t)
	}
	if t != nil && a.opts.Chosen.object(t.Object) {
		a.entry(e, t)
	}
}

// tell emits an event, if it says anything new.
func (a *Auditor) tell(e event.Event, was follow.Before, t *state.Task) {
	r := &record.Event{Kind: e.Kind.String()}
	switch {
	case e.Kind == event.Free:
		if !was.Known || !a.opts.Chosen.object(was.Object) {
			return
		}
		r.Task = gone(was, e)
	case t == nil || !a.opts.Chosen.object(t.Object):
		return
	default:
		r.Changed = changes(was, t)
		if (e.Kind == event.Refresh || e.Kind == event.Change) && len(r.Changed) == 0 {
			return
		}
		r.Task = record.OfTask(t)
	}
	if e.Kind == event.Birth {
		r.Creator = record.OfCreator(e.Creator)
	}
	a.emit(&record.Record{Type: record.TypeEvent, Event: r})
}

// gone is a task that has been freed.
func gone(was follow.Before, e event.Event) *record.Task {
	r := &record.Task{
		Numbers: []int32{}, Process: []int32{}, Group: []int32{}, Session: []int32{},
		Comm: was.Comm, Start: e.Task.StartTime, Exiting: true,
	}
	if o := was.Object; o.Namespace != nil {
		r.Numbers, r.Namespace = o.Numbers, o.Namespace.Inode
	}
	return r
}

// changes says what an event changed of a task that was known.
func changes(was follow.Before, t *state.Task) []string {
	if !was.Known {
		return nil
	}
	var words []string
	note := func(name string, before, after *state.Object) {
		if before != after {
			words = append(words, fmt.Sprintf("%s %s, was %s", name, after, before))
		}
	}
	note("number", was.Object, t.Object)
	note("group", was.Group, t.Process.Group)
	note("session", was.Session, t.Process.Session)
	if was.ChildNamespace != t.ChildNamespace && t.ChildNamespace != 0 {
		words = append(words, fmt.Sprintf("pid_for_children %d", t.ChildInode))
	}
	if was.Subreaper != t.Process.Subreaper {
		words = append(words, fmt.Sprintf("subreaper %v", t.Process.Subreaper))
	}
	if was.Comm != t.Comm {
		words = append(words, fmt.Sprintf("name %q, was %q", t.Comm, was.Comm))
	}
	if was.ParentID != t.ParentID {
		parent := "outside"
		if t.Parent != nil {
			parent = t.Parent.Object.String()
		}
		words = append(words, "parent "+parent)
	}
	return words
}

// entry reports who came in from outside.
func (a *Auditor) entry(e event.Event, t *state.Task) {
	in, ok := entry.Of(e)
	if !ok || a.allow.Allows(in) {
		return
	}
	a.entries++
	text := fmt.Sprintf("%s was born into pid namespace %d by process %d (host number) of pid namespace %d, user %d",
		finding.Name(t), in.Into.Inode, in.Creator.HostNr, in.Creator.Inode, in.Creator.UID)
	a.emit(&record.Record{Type: record.TypeFinding, Finding: record.OfEntry(in, t, text)})
}

// Loss is called when events are missing.
func (a *Auditor) Loss(l follow.Loss) {
	a.emit(&record.Record{Type: record.TypeLoss, Loss: (*record.Loss)(&l)})
}

// Snapshot is called when a snapshot became the state.
func (a *Auditor) Snapshot(s follow.Snapshot) {
	a.snapshots++
	if a.opts.History != nil {
		a.opts.History.Renewed(a.State())
	}
	a.namespaces = s.Raw.Namespaces
	a.suspect(s)
	budgets := a.Budgets(&a.budgets)
	counts := a.State().Counts()
	if len(a.opts.Chosen) > 0 {
		counts = a.State().CountsOf(a.opts.Chosen.has)
	}
	a.emit(&record.Record{Type: record.TypeSnapshot, Snapshot: record.OfSnapshot(s, counts, budgets)})
}

// suspect looks at a snapshot for what cannot be. As it may have raced with what it
// looked at, another one has to show the same.
func (a *Auditor) suspect(s follow.Snapshot) {
	before := a.suspected
	a.suspected, a.broken = make(map[string]bool), nil
	fresh := false
	for _, f := range finding.OfSnapshot(a.State(), s.Raw) {
		a.suspected[f.Key] = true
		if before[f.Key] {
			a.broken = append(a.broken, f)
		} else {
			fresh = true
		}
	}
	if fresh && s.Cause != causeSuspicion {
		a.Want(causeSuspicion)
	}
}

// causeSuspicion is why a snapshot is taken to confirm another.
const causeSuspicion = "suspicion"

// Recovered is called for what a snapshot brought to light.
func (a *Auditor) Recovered(r follow.Recovered) {
	r.Differences = slices.DeleteFunc(r.Differences, func(d state.Difference) bool { return !a.opts.Chosen.object(d.Task.Object) })
	if len(r.Differences) == 0 {
		return
	}
	a.recovered += len(r.Differences)
	a.emit(&record.Record{Type: record.TypeRecovered, Recovered: record.OfRecovered(r)})
}

// Tick looks for what is wrong, every now and then.
func (a *Auditor) Tick() error {
	if a.err == nil && a.opts.Tick != nil {
		if err := a.opts.Tick(a); err != nil {
			return err
		}
	}
	now := a.src.Now()
	if a.State() != nil && now-a.foundAt >= uint64(a.opts.FindEvery) {
		a.foundAt = now
		a.Look()
	}
	return a.err
}

// Look looks for what is wrong now. Of a state that may lack something nothing
// is said.
func (a *Auditor) Look() {
	if a.State() == nil || !a.Complete() {
		return
	}
	all := append(finding.Find(a.State()), a.exhaustion()...)
	all = slices.Concat(all, a.hiding, a.refused, a.broken)
	raised, cleared := a.tracker.Update(a.opts.Chosen.findings(all), a.src.Now())
	for _, f := range raised {
		a.emit(&record.Record{Type: record.TypeFinding, Finding: record.OfFinding(f, "raised")})
	}
	for _, f := range cleared {
		a.emit(&record.Record{Type: record.TypeFinding, Finding: record.OfFinding(f, "cleared")})
	}
}

// Hiding takes in what a look for hidden processes found; the next replaces it.
func (a *Auditor) Hiding(found []hidden.Process) {
	a.hiding = a.hiding[:0]
	for _, p := range found {
		a.hiding = append(a.hiding, p.Finding())
	}
}

// Refused takes in what a look for what stands against checkpoints found; the next
// replaces it.
func (a *Auditor) Refused(found []Refusal) {
	a.refused = a.refused[:0]
	for _, r := range found {
		if ns := a.State().Namespace(r.Namespace); ns != nil && ns.Inode == r.Inode {
			a.refused = append(a.refused, r.finding(ns))
		}
	}
}

// Shares of a namespace's numbers above which it is said.
const (
	nearlyUsed = 0.8
	almostUsed = 0.95
)

// exhaustion are the namespaces that run out of numbers.
func (a *Auditor) exhaustion() []finding.Finding {
	var all []finding.Finding
	// Not the tracker that rates are taken from: those are between snapshots.
	t := budget.Tracker{PidMax: a.opts.PidMax}
	for _, b := range t.Budgets(a.State(), a.namespaces, a.src.Now()) {
		if b.Used() < nearlyUsed {
			continue
		}
		f := finding.Finding{
			Kind: finding.Exhaustion, Severity: finding.Warning, Namespace: b.Namespace,
			Key: fmt.Sprintf("%s/%d", finding.Exhaustion, b.Namespace.Inode),
			Text: fmt.Sprintf("pid namespace %d has %d of %d numbers in use: %d tasks, %d of them zombies, and %d ghosts",
				b.Namespace.Inode, b.Allocated, b.PidMax-1, b.Tasks, b.Zombies, b.Ghosts),
		}
		if b.Used() >= almostUsed {
			f.Severity = finding.Critical
		}
		if len(b.Consumers) > 0 {
			f.Culprit = b.Consumers[0].Process.Leader()
		}
		all = append(all, f)
	}
	return all
}
