// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
)

// schema is of docs/schema/bench.v1.json.
const schema = "pidgraft.bench.v1"

// Report is what was measured on a machine.
type Report struct {
	Schema  string  `json:"schema"`
	Machine Machine `json:"machine"`
	Rounds  int     `json:"rounds"`
	Rows    []Row   `json:"rows"`
}

// Row is one piece of work.
type Row struct {
	Name    string  `json:"name"`
	Work    string  `json:"work"`
	Size    int     `json:"size"` // tasks; 0 if it has none
	Entries []Entry `json:"entries"`
	Values  []Value `json:"values"`
	// Error is why it could not be measured.
	Error string `json:"error,omitempty"`
}

// Role is what an entry is to its row.
type Role string

const (
	Ours  Role = "ours"  // pidgraft
	Peer  Role = "peer"  // another program for the same work or a part of it
	Floor Role = "floor" // the least that any program has to do
	Base  Role = "base"  // pidgraft, without what the row is about
)

// Entry is one thing that was timed.
type Entry struct {
	Name   string  `json:"name"`
	Role   Role    `json:"role"`
	Time   *Spread `json:"ms,omitempty"`
	CPU    *Spread `json:"cpu_ms,omitempty"`
	Memory *Spread `json:"mib,omitempty"`
	// Ratio is the time of ours, by this one's.
	Ratio float64 `json:"ratio,omitempty"`
	// Target is what Ratio should be at most.
	Target    float64 `json:"target,omitempty"`
	CannotRun string  `json:"cannot_run,omitempty"`
}

// Spread is a median of runs, and their ends.
type Spread struct {
	Median float64 `json:"median"`
	Least  float64 `json:"least"`
	Most   float64 `json:"most"`
	Runs   int     `json:"runs"`
}

// Value is something counted rather than timed.
type Value struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// Target is what it should be at most.
	Target float64 `json:"target,omitempty"`
}

func newReport(b *bench) *Report {
	return &Report{Schema: schema, Machine: thisMachine(b.pidgraft), Rounds: b.rounds, Rows: []Row{}}
}

func readReport(file string) (*Report, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	r := &Report{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if r.Schema != schema {
		return nil, fmt.Errorf("%s: its schema is %q, not %s", file, r.Schema, schema)
	}
	return r, nil
}

// target says what the ratio to the entry of a name should be at most.
func (r *Row) target(name string, atMost float64) {
	for i := range r.Entries {
		if r.Entries[i].Name == name {
			r.Entries[i].Target = atMost
		}
	}
}

func (r *Row) value(name string, v float64, unit string, target float64) {
	r.Values = append(r.Values, Value{Name: name, Value: v, Unit: unit, Target: target})
}

// ours is the entry that others are compared with: the first of that role.
func (r *Row) ours() *Entry {
	i := slices.IndexFunc(r.Entries, func(e Entry) bool { return e.Role == Ours })
	if i < 0 {
		return nil
	}
	return &r.Entries[i]
}

// compare fills the ratios.
func (r *Row) compare() {
	if r.Entries == nil {
		r.Entries = []Entry{}
	}
	if r.Values == nil {
		r.Values = []Value{}
	}
	o := r.ours()
	if o == nil || o.Time == nil {
		return
	}
	for i := range r.Entries {
		if e := &r.Entries[i]; e != o && e.Time != nil {
			e.Ratio = o.Time.Median / e.Time.Median
		}
	}
}

// failed is why rows could not be measured.
func (r *Report) failed() error {
	var errs []error
	for _, row := range r.Rows {
		if row.Error != "" {
			errs = append(errs, fmt.Errorf("%s: %s", row.Name, row.Error))
		}
	}
	return errors.Join(errs...)
}

func isFormat(s string) bool { return slices.Contains([]string{"text", "json", "svg"}, s) }

func (r *Report) print(w io.Writer, format string) error {
	for i := range r.Rows {
		r.Rows[i].compare()
	}
	switch format {
	case "json":
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	case "svg":
		return r.plot(w)
	}
	return r.table(w)
}

// table prints one line for each comparison, its ratio first.
func (r *Report) table(out io.Writer) error {
	m := &r.Machine
	fmt.Fprintf(out, "pidgraft %s on %d × %s, %.0f GiB, Linux %s (%s), %s, %s, load %.2f\n", m.Version, m.Processors, m.CPU, m.GiB, m.Kernel, m.Architecture, m.Go,
		m.Time.Format("2006-01-02 15:04 MST"), m.Load)
	fmt.Fprintf(out, "Medians of %d runs in turn (least to most). A ratio is ours by theirs, of the time; cpu: of the processors' time.\n\n", r.Rounds)
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', tabwriter.AlignRight)
	line := func(ratio, cpu, ours, theirs, against string) {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t  %s\n", ratio, cpu, ours, theirs, against)
	}
	for _, row := range r.Rows {
		w.Flush()
		fmt.Fprintf(out, "%s: %s\n", row.Name, row.Work)
		if row.Error != "" {
			fmt.Fprintf(out, "  not measured: %s\n", row.Error)
		}
		o := row.ours()
		alone := o != nil && o.Time != nil
		for i := range row.Entries {
			e := &row.Entries[i]
			switch {
			case e == o:
			case e.CannotRun != "":
				line("-", "", "", "cannot run", string(e.Role)+" "+e.Name+": "+e.CannotRun)
			case e.Time != nil && o != nil && o.Time != nil:
				alone = false
				line(fmt.Sprintf("%.3f", e.Ratio), ratio(o.CPU, e.CPU), o.Time.String()+" ms", e.Time.String()+" ms", string(e.Role)+" "+e.Name+met(e.Ratio, e.Target))
			}
		}
		if alone {
			line("", "", o.Time.String()+" ms", "", "ours "+o.Name)
		}
		for _, v := range row.Values {
			if v.Target > 0 {
				line(fmt.Sprintf("%.3f", v.Value/v.Target), "", number(v.Value)+" "+v.Unit, number(v.Target)+" "+v.Unit, "target "+v.Name+met(v.Value, v.Target))
			} else {
				line("", "", number(v.Value)+" "+v.Unit, "", v.Name)
			}
		}
	}
	return w.Flush()
}

func ratio(ours, theirs *Spread) string {
	if ours == nil || theirs == nil {
		return ""
	}
	return fmt.Sprintf("cpu %.3f", ours.Median/theirs.Median)
}

// met says how something is to its target.
func met(v, target float64) string {
	switch {
	case target == 0:
		return ""
	case v <= target:
		return fmt.Sprintf(" (target %s: met)", number(target))
	}
	return fmt.Sprintf(" (target %s: MISSED)", number(target))
}

func (s *Spread) String() string {
	return fmt.Sprintf("%s (%s-%s)", number(s.Median), number(s.Least), number(s.Most))
}

// number has three digits or so.
func number(v float64) string {
	switch {
	case v >= 100 || v == float64(int64(v)):
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return strings.TrimRight(fmt.Sprintf("%.4f", v), "0")
}
