// SPDX-License-Identifier: Apache-2.0

package overview

import (
	"cmp"
	"slices"
	"time"

	"github.com/pidgraft/pidgraft/audit"
	"github.com/pidgraft/pidgraft/audit/budget"
	"github.com/pidgraft/pidgraft/audit/container"
	"github.com/pidgraft/pidgraft/audit/finding"
	"github.com/pidgraft/pidgraft/audit/record"
)

// Overview is one moment of an audit.
type Overview struct {
	Time       time.Time      `json:"time"`
	Header     *record.Header `json:"header,omitempty"`
	Generation int            `json:"generation"`
	// Ready: there has been a snapshot. Complete: nothing is missing from what
	// is known.
	Ready      bool              `json:"ready"`
	Complete   bool              `json:"complete"`
	Sum        record.Summary    `json:"sum"`
	Entries    map[uint32]int    `json:"-"` // that were not expected, by the namespace's inode
	Namespaces []Namespace       `json:"namespaces"`
	Findings   []*record.Finding `json:"findings"`
	// Omitted are the namespaces, those with the fewest numbers, and the
	// findings that are too many.
	Omitted         int     `json:"omitted"`
	OmittedFindings int     `json:"omitted_findings"`
	Recent          []Entry `json:"recent"` // what happened, the latest last
	// Delivery is what became of records that are sent elsewhere; nil: none are.
	Delivery *Delivery `json:"delivery,omitempty"`
}

// Namespace is a pid namespace.
type Namespace struct {
	record.Budget
	// Forest is what is in it; nil if that was not asked for.
	Forest *Forest `json:"forest,omitempty"`
}

// Entry is a record in words.
type Entry struct {
	Time  string `json:"time"`
	Type  string `json:"type"`
	Level string `json:"level"` // of a finding, its severity
	Text  string `json:"text"`
}

// Delivery counts records that are sent elsewhere: those that are neither sent nor
// lost wait.
type Delivery struct {
	Records       int64 `json:"records"`
	Sent          int64 `json:"sent"`
	Lost          int64 `json:"lost"`
	MetricsFailed int64 `json:"metrics_failed"` // times that metrics were not taken
}

// How much there is at most.
const (
	maxNamespaces = 1000
	maxFindings   = 1000
	maxRecent     = 50
)

// Maker makes overviews.
type Maker struct {
	header  *record.Header
	budgets budget.Tracker
	entries map[uint32]int
	recent  []Entry
}

// NewMaker has not seen a record yet. PidMax is as in audit.Options.
func NewMaker(pidMax int) *Maker {
	return &Maker{budgets: budget.Tracker{PidMax: pidMax}, entries: make(map[uint32]int)}
}

// Record takes in a record.
func (m *Maker) Record(r *record.Record) {
	e := Entry{Time: r.Time, Type: r.Type}
	switch {
	case r.Header != nil:
		m.header = r.Header
	case r.Loss != nil, r.Recovered != nil:
	case r.Snapshot != nil:
		if r.Snapshot.Cause == "reconcile" {
			return // one a minute
		}
	case r.Finding != nil:
		e.Level = r.Finding.Severity
		if r.Finding.Kind == string(finding.Entry) {
			m.entries[r.Finding.Namespace]++
		}
	default:
		return
	}
	e.Text = record.Text(r)
	m.recent = append(m.recent, e)
	if n := len(m.recent); n > maxRecent {
		m.recent = slices.Delete(m.recent, 0, n-maxRecent)
	}
}

// Of is how an audit is now, with what is in the namespaces if forests are asked
// for. Names names containers, by the inodes of their pid namespaces.
func (m *Maker) Of(a *audit.Auditor, names func(inode uint32) container.Name, forests bool) *Overview {
	o := &Overview{
		Time: time.Now().UTC(), Header: m.header, Generation: a.Generation(), Sum: a.Sum(),
		Namespaces: []Namespace{}, Findings: []*record.Finding{}, Recent: slices.Clone(m.recent),
	}
	s := a.State()
	if s == nil {
		return o
	}
	o.Ready, o.Complete = true, a.Complete()
	budgets := m.distinct(a.Budgets(&m.budgets))
	for _, b := range budgets {
		o.Namespaces = append(o.Namespaces, Namespace{Budget: record.OfBudget(b)})
	}
	if forests {
		grow(s, budgets, o.Namespaces)
	}
	for i := range o.Namespaces {
		o.Namespaces[i].Name(names)
	}
	o.count(m)
	o.find(a.Findings(), names)
	return o
}

// distinct keeps one namespace of each inode: one that has ended may still be
// known when another one has its inode.
func (m *Maker) distinct(all []budget.Budget) []budget.Budget {
	seen := make(map[uint32]bool, len(all))
	slices.SortStableFunc(all, func(a, b budget.Budget) int { return cmp.Compare(b.Allocated, a.Allocated) })
	all = slices.DeleteFunc(all, func(b budget.Budget) bool {
		was := seen[b.Namespace.Inode]
		seen[b.Namespace.Inode] = true
		return was
	})
	for inode := range m.entries {
		if !seen[inode] {
			delete(m.entries, inode)
		}
	}
	return all
}

// count bounds the namespaces, and puts the outermost first.
func (o *Overview) count(m *Maker) {
	if n := len(o.Namespaces); n > maxNamespaces {
		o.Omitted = n - maxNamespaces
		o.Namespaces = o.Namespaces[:maxNamespaces]
	}
	slices.SortFunc(o.Namespaces, func(a, b Namespace) int {
		return cmp.Or(cmp.Compare(a.Level, b.Level), cmp.Compare(a.Inode, b.Inode))
	})
	o.Entries = make(map[uint32]int, len(o.Namespaces))
	for _, ns := range o.Namespaces {
		o.Entries[ns.Inode] = m.entries[ns.Inode]
	}
}

func (o *Overview) find(all []finding.Finding, names func(uint32) container.Name) {
	if n := len(all); n > maxFindings {
		o.OmittedFindings = n - maxFindings
		all = all[:maxFindings]
	}
	for _, f := range all {
		r := record.OfFinding(f, "raised")
		r.Name(names)
		o.Findings = append(o.Findings, r)
	}
}
