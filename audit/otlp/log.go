// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"

	"github.com/pidgraft/pidgraft/audit/record"
)

// logRecord is a record as a log record: what it says in words, and attributes.
func logRecord(r *record.Record) log.Record {
	var l log.Record
	l.SetEventName("pidgraft.audit." + r.Type)
	// It was written by the auditor, in this form.
	if t, err := time.Parse(time.RFC3339Nano, r.Time); err == nil {
		l.SetTimestamp(t)
	}
	severity := severityOf(r)
	l.SetSeverity(severity)
	l.SetSeverityText(severity.String())
	l.SetBody(attribute.StringValue(record.Text(r)))
	l.AddAttributes(attribute.String("pidgraft.state", r.State), attribute.Int("pidgraft.generation", r.Generation))
	switch {
	case r.Event != nil:
		l.AddAttributes(attribute.String("pidgraft.event", r.Event.Kind))
		if len(r.Event.Changed) > 0 {
			l.AddAttributes(attribute.StringSlice("pidgraft.changed", r.Event.Changed))
		}
		l.AddAttributes(ofTask(r.Event.Task)...)
		l.AddAttributes(ofCreator(r.Event.Creator)...)
	case r.Loss != nil:
		l.AddAttributes(attribute.Int64("pidgraft.loss.count", int64(r.Loss.Count)))
	case r.Recovered != nil:
		l.AddAttributes(attribute.Int("pidgraft.recovered.changes", len(r.Recovered.Changes)))
	case r.Snapshot != nil:
		l.AddAttributes(attribute.String("pidgraft.snapshot.cause", r.Snapshot.Cause))
	case r.Finding != nil:
		l.AddAttributes(ofFinding(r.Finding)...)
	}
	return l
}

func severityOf(r *record.Record) log.Severity {
	switch {
	case r.Loss != nil, r.Recovered != nil:
		return log.SeverityWarn
	case r.Event != nil:
		return log.SeverityDebug
	case r.Finding == nil, r.Finding.Status == "cleared", r.Finding.Severity == "info":
		return log.SeverityInfo
	case r.Finding.Severity == "critical":
		return log.SeverityError
	}
	return log.SeverityWarn
}

// ofTask are a task's attributes. A process has as many numbers as namespaces see
// it: pid is the initial namespace's, as who collects logs from a machine sees it,
// vpid that of its own.
func ofTask(t *record.Task) []attribute.KeyValue {
	if t == nil {
		return nil
	}
	attrs := []attribute.KeyValue{
		attribute.String("thread.name", text(t.Comm)),
		attribute.Int64("process.real_user.id", int64(t.UID)),
		attribute.Int64("pidgraft.namespace", int64(t.Namespace)),
	}
	number := func(name string, numbers []int32, at int) {
		if len(numbers) > 0 {
			attrs = append(attrs, attribute.Int(name, int(numbers[at])))
		}
	}
	process := t.Process
	number("thread.id", t.Numbers, 0)
	number("process.pid", process, 0)
	number("process.vpid", process, max(0, len(process)-1))
	number("process.group_leader.pid", t.Group, 0)
	number("process.session_leader.pid", t.Session, 0)
	return append(attrs, ofPlace(t.Place)...)
}

// ofCreator are those of who made a task. Its process is not the task's parent, if
// that was asked for (CLONE_PARENT).
func ofCreator(c *record.Creator) []attribute.KeyValue {
	if c == nil {
		return nil
	}
	return []attribute.KeyValue{
		attribute.Int("pidgraft.creator.pid", int(c.Host)),
		attribute.String("pidgraft.creator.name", text(c.Comm)),
		attribute.Int64("pidgraft.creator.namespace", int64(c.Namespace)),
		attribute.Int64("pidgraft.creator.real_user.id", int64(c.UID)),
	}
}

// ofPlace are the container's and the pod's. What is no container is a unit, and
// what has no uid of Kubernetes is a pod of Podman.
func ofPlace(p record.Place) []attribute.KeyValue {
	var attrs []attribute.KeyValue
	switch {
	case strings.Contains(p.Container, "."):
		attrs = append(attrs, attribute.String("pidgraft.unit", p.Container))
	case p.Container != "":
		attrs = append(attrs, attribute.String("container.id", p.Container))
	}
	switch len(p.Pod) {
	case 0:
	case 64:
		attrs = append(attrs, attribute.String("pidgraft.pod", p.Pod))
	default:
		attrs = append(attrs, attribute.String("k8s.pod.uid", p.Pod))
	}
	return attrs
}

func ofFinding(f *record.Finding) []attribute.KeyValue {
	attrs := []attribute.KeyValue{
		attribute.String("pidgraft.finding.kind", f.Kind),
		attribute.String("pidgraft.finding.severity", f.Severity),
		attribute.String("pidgraft.finding.status", f.Status),
	}
	if f.Task == nil {
		attrs = append(attrs, attribute.Int64("pidgraft.namespace", int64(f.Namespace)))
		attrs = append(attrs, ofPlace(f.Place)...)
		if len(f.Subject) > 0 {
			attrs = append(attrs, attribute.Int("process.pid", int(f.Subject[0])), attribute.Int("process.vpid", int(f.Subject[len(f.Subject)-1])))
		}
	}
	attrs = append(attrs, ofTask(f.Task)...)
	attrs = append(attrs, ofCreator(f.Creator)...)
	if c := f.Culprit; c != nil && len(c.Process) > 0 {
		attrs = append(attrs, attribute.Int("pidgraft.culprit.pid", int(c.Process[0])), attribute.String("pidgraft.culprit.name", text(c.Comm)))
	}
	if len(f.Seen)+len(f.Unseen) > 0 {
		attrs = append(attrs, attribute.StringSlice("pidgraft.finding.seen", f.Seen), attribute.StringSlice("pidgraft.finding.unseen", f.Unseen))
	}
	return attrs
}

// text is a name with what is no UTF-8 replaced: a message with such a string is
// not encoded at all.
func text(s string) string { return strings.ToValidUTF8(s, "�") }
