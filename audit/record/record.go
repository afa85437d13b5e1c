// SPDX-License-Identifier: Apache-2.0

package record

import (
	"github.com/pidgraft/pidgraft/audit/budget"
	"github.com/pidgraft/pidgraft/audit/entry"
	"github.com/pidgraft/pidgraft/audit/event"
	"github.com/pidgraft/pidgraft/audit/finding"
	"github.com/pidgraft/pidgraft/audit/follow"
	"github.com/pidgraft/pidgraft/audit/state"
	"github.com/pidgraft/pidgraft/forest"
)

// Schema is what every record calls its schema.
const Schema = "pidgraft.audit.v1"

// Types of records.
const (
	TypeHeader    = "header"
	TypeSnapshot  = "snapshot"
	TypeEvent     = "event"
	TypeLoss      = "loss"
	TypeRecovered = "recovered"
	TypeFinding   = "finding"
	TypeSummary   = "summary"
)

// Record is one line. Exactly one of the pointers is set, the one that Type
// names.
type Record struct {
	Type       string `json:"type"`
	Schema     string `json:"schema"`
	Time       string `json:"time"`      // wall clock, RFC 3339, UTC
	Monotonic  uint64 `json:"monotonic"` // nanoseconds of CLOCK_MONOTONIC
	Generation int    `json:"generation"`
	State      string `json:"state"` // complete, or degraded: something may be missing

	Header    *Header    `json:"header,omitempty"`
	Snapshot  *Snapshot  `json:"snapshot,omitempty"`
	Event     *Event     `json:"event,omitempty"`
	Loss      *Loss      `json:"loss,omitempty"`
	Recovered *Recovered `json:"recovered,omitempty"`
	Finding   *Finding   `json:"finding,omitempty"`
	Summary   *Summary   `json:"summary,omitempty"`
}

// Header is the first record.
type Header struct {
	Tool    string `json:"tool"`
	Release string `json:"release"`
	// Namespace that is audited, and the one that the auditor is in.
	Namespace Namespace `json:"namespace"`
	Own       Namespace `json:"own"`
	// Chosen are those that records are made of, with all below them, where
	// that is less than what is audited.
	Chosen []Namespace `json:"chosen,omitempty"`
	// Root: the auditor is in the initial pid namespace.
	Root bool `json:"root"`
	// Walked: numbers that no task carries can all be seen; if not, why.
	Walked bool   `json:"walked"`
	WhyNot string `json:"why_not,omitempty"`
	Source string `json:"source"`
	// NotFentry says why the better source was not taken.
	NotFentry string `json:"not_fentry,omitempty"`
	OnLoss    string `json:"on_loss"`
	Allowed   int    `json:"allowed"` // rules of the allow-list
}

// Namespace names a pid namespace.
type Namespace struct {
	Inode uint32 `json:"inode"`
	Level int    `json:"level"`
}

// Place is the container that a pid namespace is, as far as that is known: the
// container's id or, outside of any, a systemd unit; and the pod it is in.
type Place struct {
	Container string `json:"container,omitempty"`
	Pod       string `json:"pod,omitempty"`
}

// Task is a task. Numbers are its own, the outermost namespace's first; those of
// process, group and session are the numbers of these objects.
type Task struct {
	Numbers   []int32 `json:"numbers"`
	Namespace uint32  `json:"namespace"`
	Process   []int32 `json:"process"`
	Group     []int32 `json:"group"`
	Session   []int32 `json:"session"`
	UID       uint32  `json:"uid"`
	Comm      string  `json:"comm"`
	Start     uint64  `json:"start"` // nanoseconds since boot
	Exiting   bool    `json:"exiting,omitempty"`
	Place
}

// Event is something that happened.
type Event struct {
	Kind    string   `json:"kind"`
	Task    *Task    `json:"task"`
	Creator *Creator `json:"creator,omitempty"` // of a birth
	// Changed says what of the task is not what it was.
	Changed []string `json:"changed,omitempty"`
}

// Creator is who made a task.
type Creator struct {
	Number    int32  `json:"number"`      // of its process, in the audited namespace; 0: not visible there
	Host      int32  `json:"host_number"` // in the initial namespace
	Namespace uint32 `json:"namespace"`
	UID       uint32 `json:"uid"`
	Comm      string `json:"comm"`
	Place
}

// Snapshot is a pass that became the state, and what it counted.
type Snapshot struct {
	Cause      string   `json:"cause"`
	Begin      uint64   `json:"begin"`
	End        uint64   `json:"end"`
	Replayed   int      `json:"replayed"`
	Objects    int      `json:"objects"`
	Tasks      int      `json:"tasks"`
	Processes  int      `json:"processes"`
	Ghosts     int      `json:"ghosts"`
	Zombies    int      `json:"zombies"`
	Namespaces []Budget `json:"namespaces"`
}

// Budget is how many numbers a namespace has.
type Budget struct {
	Namespace
	Place
	Runtime     string     `json:"runtime,omitempty"` // whose container it is
	Parent      uint32     `json:"parent"`            // 0: not known
	Allocated   int        `json:"allocated"`
	Tasks       int        `json:"tasks"`
	Processes   int        `json:"processes"`
	Ghosts      int        `json:"ghosts"`
	Zombies     int        `json:"zombies"`
	Births      uint64     `json:"births"`  // numbers given out since the audit began
	PidMax      int        `json:"pid_max"` // 0: not known
	Cursor      int        `json:"cursor"`
	Churn       float64    `json:"churn"`             // births a second
	Left        int        `json:"left"`              // -1: not known
	BoundBy     uint32     `json:"bound_by"`          // the namespace that bounds it; 0: not known
	WrapIn      float64    `json:"wrap_seconds"`      // -1: never, or not known
	ExhaustedIn float64    `json:"exhausted_seconds"` // likewise
	Consumers   []Consumer `json:"consumers"`
}

// Consumer is a process with many threads or children.
type Consumer struct {
	Process  []int32 `json:"process"`
	Comm     string  `json:"comm"`
	Threads  int     `json:"threads"`
	Children int     `json:"children"`
}

// Loss is a number of events that are missing.
type Loss struct {
	Count   uint64 `json:"count"`
	Dropped uint64 `json:"dropped"`
	Missed  uint64 `json:"missed"`
	From    uint64 `json:"from"`
	Until   uint64 `json:"until"`
}

// Recovered is what a snapshot brought to light.
type Recovered struct {
	Lost    uint64   `json:"lost"`
	Changes []Change `json:"changes"`
}

// Change is a task that was not as the events had it.
type Change struct {
	Verb string   `json:"verb"` // born, gone or changed
	Task *Task    `json:"task"`
	What []string `json:"what,omitempty"`
}

// Finding is something that is wrong, or no more.
type Finding struct {
	Kind      string  `json:"kind"`
	Severity  string  `json:"severity"`
	Status    string  `json:"status"` // raised or cleared
	Text      string  `json:"text"`
	Subject   []int32 `json:"subject,omitempty"`
	Namespace uint32  `json:"namespace,omitempty"`
	Place
	Culprit *Task `json:"culprit,omitempty"`
	// Creator is who brought in an entrant, Task the entrant.
	Creator *Creator `json:"creator,omitempty"`
	Task    *Task    `json:"task,omitempty"`
	Seen    []string `json:"seen,omitempty"`
	Unseen  []string `json:"unseen,omitempty"`
}

// Summary is the last record.
type Summary struct {
	Events    uint64 `json:"events"`
	Lost      uint64 `json:"lost"`
	Snapshots int    `json:"snapshots"`
	Recovered int    `json:"recovered"`
	Findings  int    `json:"findings"` // raised, and not cleared
}

// numbers of an object; never nil, and empty if it is not visible.
func numbers(o *state.Object) []int32 {
	if o == nil || o.Namespace == nil {
		return []int32{}
	}
	return o.Numbers
}

func inode(ns *state.Namespace) uint32 {
	if ns == nil {
		return 0
	}
	return ns.Inode
}

// OfTask is a task of a state.
func OfTask(t *state.Task) *Task {
	if t == nil {
		return nil
	}
	return &Task{
		Numbers: numbers(t.Object), Namespace: inode(t.Object.Namespace), Process: numbers(t.Process.Object),
		Group: numbers(t.Process.Group), Session: numbers(t.Process.Session),
		UID: t.UID, Comm: forest.Escape(t.Comm), Start: t.StartTime, Exiting: t.Exiting,
	}
}

// OfCreator is who made a task.
func OfCreator(c event.Creator) *Creator {
	return &Creator{Number: c.Nr, Host: c.HostNr, Namespace: c.Inode, UID: c.UID, Comm: forest.Escape(c.Comm)}
}

// OfBudget is a budget.
func OfBudget(b budget.Budget) Budget {
	r := Budget{
		Namespace: Namespace{b.Namespace.Inode, b.Namespace.Level}, Parent: inode(b.Namespace.Parent),
		Allocated: b.Allocated, Tasks: b.Tasks, Ghosts: b.Ghosts, Zombies: b.Zombies,
		Processes: b.Processes, Births: b.Births,
		PidMax: b.PidMax, Cursor: b.Cursor, Churn: b.Churn, Left: b.Left, BoundBy: inode(b.BoundBy),
		WrapIn: b.WrapIn, ExhaustedIn: b.ExhaustedIn, Consumers: []Consumer{},
	}
	for _, c := range b.Consumers {
		comm := ""
		if l := c.Process.Leader(); l != nil {
			comm = forest.Escape(l.Comm)
		}
		r.Consumers = append(r.Consumers, Consumer{numbers(c.Process.Object), comm, c.Threads, c.Children})
	}
	return r
}

// OfSnapshot is a snapshot with what the state counts and the budgets.
func OfSnapshot(s follow.Snapshot, c state.Counts, budgets []budget.Budget) *Snapshot {
	r := &Snapshot{
		Cause: s.Cause, Begin: s.Begin, End: s.End, Replayed: s.Replayed,
		Objects: c.Objects, Tasks: c.Tasks, Processes: c.Processes, Ghosts: c.Ghosts, Zombies: c.Zombies,
		Namespaces: []Budget{},
	}
	for _, b := range budgets {
		r.Namespaces = append(r.Namespaces, OfBudget(b))
	}
	return r
}

// OfRecovered is what a snapshot brought to light.
func OfRecovered(v follow.Recovered) *Recovered {
	r := &Recovered{Lost: v.Lost, Changes: []Change{}}
	for _, d := range v.Differences {
		r.Changes = append(r.Changes, Change{d.Verb.String(), OfTask(d.Task), d.What})
	}
	return r
}

// OfFinding is a finding that is raised or cleared.
func OfFinding(f finding.Finding, status string) *Finding {
	r := &Finding{
		Kind: string(f.Kind), Severity: f.Severity.String(), Status: status, Text: f.Text,
		Namespace: inode(f.Namespace), Culprit: OfTask(f.Culprit), Seen: f.Seen, Unseen: f.Unseen,
	}
	if f.Subject != nil {
		r.Subject = numbers(f.Subject)
	}
	return r
}

// OfEntry is the finding that somebody came in.
func OfEntry(e entry.Entry, t *state.Task, text string) *Finding {
	return &Finding{
		Kind: string(finding.Entry), Severity: finding.Warning.String(), Status: "raised", Text: text,
		Namespace: e.Into.Inode, Creator: OfCreator(e.Creator), Task: OfTask(t),
	}
}
