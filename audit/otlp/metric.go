// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"context"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/pidgraft/pidgraft/audit/metric"
	"github.com/pidgraft/pidgraft/audit/overview"
	"github.com/pidgraft/pidgraft/audit/record"
)

// producer makes metrics of the latest overview.
type producer struct {
	latest  func() *overview.Overview
	version string
	since   time.Time
}

// Produce gives all metrics. Series of namespaces that have ended are not among
// them any more.
func (p *producer) Produce(context.Context) ([]metricdata.ScopeMetrics, error) {
	o := p.latest()
	if o == nil {
		return nil, nil
	}
	all := metric.All()
	scoped := metricdata.ScopeMetrics{Scope: instrumentation.Scope{Name: scope, Version: p.version}}
	for i := range all {
		m := &all[i]
		var points []metricdata.DataPoint[float64]
		m.Read(o, func(value float64, labels ...string) {
			points = append(points, metricdata.DataPoint[float64]{
				Attributes: attribute.NewSet(attributes(m.Labels, labels)...), StartTime: p.since, Time: o.Time, Value: value,
			})
		})
		if len(points) == 0 {
			continue
		}
		var data metricdata.Aggregation = metricdata.Gauge[float64]{DataPoints: points}
		if m.Counter {
			data = metricdata.Sum[float64]{DataPoints: points, Temporality: metricdata.CumulativeTemporality, IsMonotonic: true}
		}
		scoped.Metrics = append(scoped.Metrics, metricdata.Metrics{Name: name(m), Description: m.Help, Unit: m.Unit, Data: data})
	}
	return []metricdata.ScopeMetrics{scoped}, nil
}

// name is a metric's as OpenTelemetry has it: Prometheus's, in dots, and without
// what a counter ends in there.
func name(m *metric.Metric) string {
	return strings.ReplaceAll(strings.TrimSuffix(m.Name, "_total"), "_", ".")
}

// attributes are labels that have a value, under the names that logs have them by.
func attributes(names, values []string) []attribute.KeyValue {
	var attrs []attribute.KeyValue
	var place record.Place
	for i, v := range values {
		switch names[i] {
		case metric.Container:
			place.Container = v
		case metric.Pod:
			place.Pod = v
		case metric.Namespace:
			n, _ := strconv.ParseInt(v, 10, 64) // an inode
			attrs = append(attrs, attribute.Int64("pidgraft.namespace", n))
		case metric.Kind, metric.Severity:
			attrs = append(attrs, attribute.String("pidgraft.finding."+names[i], v))
		}
	}
	return append(attrs, ofPlace(place)...)
}
