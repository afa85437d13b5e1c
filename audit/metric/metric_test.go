// SPDX-License-Identifier: Apache-2.0

package metric

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/pidgraft/pidgraft/audit/overview"
	"github.com/pidgraft/pidgraft/audit/record"
)

func namespace(inode uint32, tasks int, place record.Place) overview.Namespace {
	return overview.Namespace{Budget: record.Budget{
		Namespace: record.Namespace{Inode: inode}, Place: place,
		Allocated: tasks, Tasks: tasks, Processes: tasks, PidMax: 32768, Left: 32767 - tasks, Cursor: tasks + 1,
	}}
}

func registry(t *testing.T, o **overview.Overview) *prometheus.Registry {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(NewCollector(func() *overview.Overview { return *o }))
	return r
}

const wantFindings = `
# HELP pidgraft_findings What is wrong now, by kind and severity.
# TYPE pidgraft_findings gauge
pidgraft_findings{container="",kind="hidden",namespace="1",pod="",severity="critical"} 0
pidgraft_findings{container="",kind="invariant",namespace="1",pod="",severity="critical"} 0
pidgraft_findings{container="",kind="stuck-init",namespace="1",pod="",severity="warning"} 0
pidgraft_findings{container="",kind="zombie",namespace="1",pod="",severity="warning"} 0
pidgraft_findings{container="c",kind="hidden",namespace="2",pod="p",severity="critical"} 0
pidgraft_findings{container="c",kind="invariant",namespace="2",pod="p",severity="critical"} 0
pidgraft_findings{container="c",kind="stuck-init",namespace="2",pod="p",severity="warning"} 0
pidgraft_findings{container="c",kind="zombie",namespace="2",pod="p",severity="warning"} 2
`

func TestCollector(t *testing.T) {
	o := &overview.Overview{
		Ready: true, Sum: record.Summary{Events: 12, Lost: 3},
		Namespaces: []overview.Namespace{namespace(1, 20, record.Place{}), namespace(2, 7, record.Place{Container: "c", Pod: "p"})},
		Findings: []*record.Finding{
			{Kind: "zombie", Severity: "warning", Namespace: 2}, {Kind: "zombie", Severity: "warning", Namespace: 2},
			{Kind: "zombie", Severity: "warning", Namespace: 77}, // of one that has ended
		},
		Entries: map[uint32]int{2: 4},
		Omitted: 5,
	}
	r := registry(t, &o)
	if problems, err := testutil.GatherAndLint(r); err != nil || len(problems) > 0 {
		t.Errorf("%v %+v", err, problems)
	}
	want := `
# HELP pidgraft_audit_complete Whether nothing is missing from what is known: 1 or 0 (degraded).
# TYPE pidgraft_audit_complete gauge
pidgraft_audit_complete 0
# HELP pidgraft_audit_events_lost_total Events of tasks that were lost, as counted in the kernel.
# TYPE pidgraft_audit_events_lost_total counter
pidgraft_audit_events_lost_total 3
# HELP pidgraft_entries_total Tasks born into the namespace from outside that the allow-list does not expect.
# TYPE pidgraft_entries_total counter
pidgraft_entries_total{container="",namespace="1",pod=""} 0
pidgraft_entries_total{container="c",namespace="2",pod="p"} 4
# HELP pidgraft_namespaces Pid namespaces with numbers in use.
# TYPE pidgraft_namespaces gauge
pidgraft_namespaces 7
# HELP pidgraft_numbers_left Numbers that can still be given out in the namespace, also by those above it.
# TYPE pidgraft_numbers_left gauge
pidgraft_numbers_left{container="",namespace="1",pod=""} 32747
pidgraft_numbers_left{container="c",namespace="2",pod="p"} 32760
`
	if err := testutil.GatherAndCompare(r, strings.NewReader(want), "pidgraft_audit_complete", "pidgraft_audit_events_lost_total",
		"pidgraft_entries_total", "pidgraft_namespaces", "pidgraft_numbers_left"); err != nil {
		t.Error(err)
	}
	if err := testutil.GatherAndCompare(r, strings.NewReader(wantFindings), "pidgraft_findings"); err != nil {
		t.Error(err)
	}

	// What has ended is gone, and what is not known is not 0.
	ended := namespace(2, 7, record.Place{})
	ended.PidMax, ended.Left = 0, -1
	o = &overview.Overview{Namespaces: []overview.Namespace{ended}}
	for name, n := range map[string]int{"pidgraft_tasks": 1, "pidgraft_numbers_left": 0, "pidgraft_numbers_max": 0, "pidgraft_findings": len(perNamespace)} {
		if got, err := testutil.GatherAndCount(r, name); err != nil || got != n {
			t.Errorf("%s has %d series, want %d (%v)", name, got, n, err)
		}
	}
	o = nil
	if got, err := testutil.GatherAndCount(r); err != nil || got != 0 {
		t.Errorf("%d series of nothing (%v)", got, err)
	}
}

// However much goes wrong, the number of series is bounded, and no label is a pid
// or a name that a process gave itself.
func TestCardinality(t *testing.T) {
	const namespaces = 1000 // as many as an overview has
	o := &overview.Overview{}
	for i := range namespaces {
		o.Namespaces = append(o.Namespaces, namespace(uint32(i+1), 3, record.Place{Container: strconv.Itoa(i)}))
	}
	for i := range 50_000 {
		o.Findings = append(o.Findings, &record.Finding{
			Kind: "zombie", Severity: "warning", Namespace: uint32(i%namespaces + 1), Subject: []int32{int32(i)},
			Culprit: &record.Task{Comm: strconv.Itoa(i)},
		})
	}
	n, err := testutil.GatherAndCount(registry(t, &o))
	if most := 8 + namespaces*(10+len(perNamespace)); err != nil || n > most {
		t.Errorf("%d series, want at most %d (%v)", n, most, err)
	}
	for _, m := range All() {
		for _, l := range m.Labels {
			if !slices.Contains([]string{Namespace, Container, Pod, Kind, Severity}, l) {
				t.Errorf("%s has a label %s", m.Name, l)
			}
		}
	}
}
