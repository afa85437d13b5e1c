// SPDX-License-Identifier: Apache-2.0

package metric

import (
	"strconv"

	"github.com/pidgraft/pidgraft/audit/finding"
	"github.com/pidgraft/pidgraft/audit/overview"
)

// Metric is something that is counted.
type Metric struct {
	Name string // as Prometheus has it
	Help string
	// Unit is what OpenTelemetry writes for it: a unit of UCUM, or what is
	// counted in braces.
	Unit    string
	Counter bool // it only grows
	Labels  []string
	read    func(o *overview.Overview, emit emitter)
}

// emitter takes a value, with the values of the metric's labels.
type emitter func(value float64, labels ...string)

// Read calls emit with each value that an overview has of the metric.
func (m *Metric) Read(o *overview.Overview, emit func(value float64, labels ...string)) {
	m.read(o, emit)
}

// Labels of namespaces.
const (
	Namespace = "namespace"
	Container = "container"
	Pod       = "pod"
	Kind      = "kind"
	Severity  = "severity"
)

var place = []string{Namespace, Container, Pod}

// All are all metrics.
func All() []Metric {
	return []Metric{
		once("pidgraft_audit_ready", "Whether there has been a snapshot: 1 or 0.", "1", false,
			func(o *overview.Overview) float64 { return truth(o.Ready) }),
		once("pidgraft_audit_complete", "Whether nothing is missing from what is known: 1 or 0 (degraded).", "1", false,
			func(o *overview.Overview) float64 { return truth(o.Complete) }),
		once("pidgraft_audit_events_total", "Events of tasks that came from the kernel.", "{event}", true,
			func(o *overview.Overview) float64 { return float64(o.Sum.Events) }),
		once("pidgraft_audit_events_lost_total", "Events of tasks that were lost, as counted in the kernel.", "{event}", true,
			func(o *overview.Overview) float64 { return float64(o.Sum.Lost) }),
		once("pidgraft_audit_snapshots_total", "Snapshots that became the state.", "{snapshot}", true,
			func(o *overview.Overview) float64 { return float64(o.Sum.Snapshots) }),
		once("pidgraft_audit_recovered_changes_total", "Changes of tasks that a snapshot showed and no event had told.", "{change}", true,
			func(o *overview.Overview) float64 { return float64(o.Sum.Recovered) }),
		once("pidgraft_namespaces", "Pid namespaces with numbers in use.", "{namespace}", false,
			func(o *overview.Overview) float64 { return float64(len(o.Namespaces) + o.Omitted) }),
		once("pidgraft_namespaces_omitted", "Pid namespaces without metrics, for there are too many: those with the fewest numbers.", "{namespace}", false,
			func(o *overview.Overview) float64 { return float64(o.Omitted) }),
		delivery("pidgraft_otlp_records_total", "Records that were to be sent by OTLP.", "{record}",
			func(d *overview.Delivery) int64 { return d.Records }),
		delivery("pidgraft_otlp_records_lost_total", "Records that OTLP did not deliver: too many waited, or they were not taken.", "{record}",
			func(d *overview.Delivery) int64 { return d.Lost }),
		delivery("pidgraft_otlp_metric_exports_failed_total", "Times that metrics sent by OTLP were not taken.", "{export}",
			func(d *overview.Delivery) int64 { return d.MetricsFailed }),

		each("pidgraft_numbers_allocated", "Numbers in use in the namespace, those of namespaces below included.", "{number}", false,
			func(ns *overview.Namespace) (float64, bool) { return float64(ns.Allocated), true }),
		each("pidgraft_numbers_max", "pid_max of the namespace: numbers are below it.", "{number}", false,
			func(ns *overview.Namespace) (float64, bool) { return float64(ns.PidMax), ns.PidMax > 0 }),
		each("pidgraft_numbers_left", "Numbers that can still be given out in the namespace, also by those above it.", "{number}", false,
			func(ns *overview.Namespace) (float64, bool) { return float64(ns.Left), ns.Left >= 0 }),
		each("pidgraft_numbers_given_out_total", "Numbers that the namespace gave out since the audit began, for namespaces below included.", "{number}", true,
			func(ns *overview.Namespace) (float64, bool) { return float64(ns.Births), true }),
		each("pidgraft_cursor", "Number that the namespace tries next, as of the last snapshot.", "{number}", false,
			func(ns *overview.Namespace) (float64, bool) { return float64(ns.Cursor), ns.Cursor > 0 }),
		each("pidgraft_tasks", "Tasks (threads) with a number in the namespace, zombies included.", "{task}", false,
			func(ns *overview.Namespace) (float64, bool) { return float64(ns.Tasks), true }),
		each("pidgraft_processes", "Processes (thread groups) with a number in the namespace, zombies included.", "{process}", false,
			func(ns *overview.Namespace) (float64, bool) { return float64(ns.Processes), true }),
		each("pidgraft_zombie_tasks", "Tasks that have ended and are not reaped.", "{task}", false,
			func(ns *overview.Namespace) (float64, bool) { return float64(ns.Zombies), true }),
		each("pidgraft_ghost_objects", "Pid objects that no task carries, and a process group or session holds.", "{object}", false,
			func(ns *overview.Namespace) (float64, bool) { return float64(ns.Ghosts), true }),
		{
			Name: "pidgraft_entries_total", Help: "Tasks born into the namespace from outside that the allow-list does not expect.",
			Unit: "{task}", Counter: true, Labels: place,
			read: func(o *overview.Overview, emit emitter) {
				for i := range o.Namespaces {
					ns := &o.Namespaces[i]
					emit(float64(o.Entries[ns.Inode]), labels(ns)...)
				}
			},
		},
		{
			Name: "pidgraft_findings", Help: "What is wrong now, by kind and severity.",
			Unit: "{finding}", Labels: append(append([]string{}, place...), Kind, Severity),
			read: findings,
		},
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// once is a metric of the audit.
func once(name, help, unit string, counter bool, value func(*overview.Overview) float64) Metric {
	return Metric{Name: name, Help: help, Unit: unit, Counter: counter, read: func(o *overview.Overview, emit emitter) {
		emit(value(o))
	}}
}

// delivery is a counter of what is sent by OTLP, if anything is.
func delivery(name, help, unit string, count func(*overview.Delivery) int64) Metric {
	return Metric{Name: name, Help: help, Unit: unit, Counter: true, read: func(o *overview.Overview, emit emitter) {
		if o.Delivery != nil {
			emit(float64(count(o.Delivery)))
		}
	}}
}

// each is a metric of each namespace, of which it may not be known.
func each(name, help, unit string, counter bool, value func(*overview.Namespace) (float64, bool)) Metric {
	return Metric{Name: name, Help: help, Unit: unit, Counter: counter, Labels: place, read: func(o *overview.Overview, emit emitter) {
		for i := range o.Namespaces {
			ns := &o.Namespaces[i]
			if v, ok := value(ns); ok {
				emit(v, labels(ns)...)
			}
		}
	}}
}

func labels(ns *overview.Namespace) []string {
	return []string{strconv.FormatUint(uint64(ns.Inode), 10), ns.Container, ns.Pod}
}

// perNamespace are the kinds that each namespace has a series of even while there
// are none, so that alerts see them come. Others come and go.
var perNamespace = []struct {
	kind     finding.Kind
	severity finding.Severity
}{
	{finding.Zombie, finding.Warning},
	{finding.StuckInit, finding.Warning},
	{finding.Hidden, finding.Critical},
	{finding.Invariant, finding.Critical},
}

// findings counts those of the namespaces that are shown.
func findings(o *overview.Overview, emit emitter) {
	type key struct {
		inode          uint32
		kind, severity string
	}
	counts := make(map[key]int)
	for _, f := range o.Findings {
		counts[key{f.Namespace, f.Kind, f.Severity}]++
	}
	for i := range o.Namespaces {
		for _, k := range perNamespace {
			at := key{o.Namespaces[i].Inode, string(k.kind), k.severity.String()}
			counts[at] += 0
		}
	}
	shown := make(map[uint32]*overview.Namespace, len(o.Namespaces))
	for i := range o.Namespaces {
		shown[o.Namespaces[i].Inode] = &o.Namespaces[i]
	}
	for k, n := range counts {
		if ns := shown[k.inode]; ns != nil {
			emit(float64(n), append(labels(ns), k.kind, k.severity)...)
		}
	}
}
