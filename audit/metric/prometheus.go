// SPDX-License-Identifier: Apache-2.0

package metric

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pidgraft/pidgraft/audit/overview"
)

// Collector gives Prometheus the metrics of the latest overview.
type Collector struct {
	latest  func() *overview.Overview
	metrics []Metric
	descs   []*prometheus.Desc
}

var _ prometheus.Collector = (*Collector)(nil)

// NewCollector reads what latest gives at each scrape; nil: nothing yet.
func NewCollector(latest func() *overview.Overview) *Collector {
	c := &Collector{latest: latest, metrics: All()}
	for _, m := range c.metrics {
		c.descs = append(c.descs, prometheus.NewDesc(m.Name, m.Help, m.Labels, nil))
	}
	return c
}

// Describe names the metrics.
func (c *Collector) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		descs <- d
	}
}

// Collect reads them.
func (c *Collector) Collect(metrics chan<- prometheus.Metric) {
	o := c.latest()
	if o == nil {
		return
	}
	for i := range c.metrics {
		kind := prometheus.GaugeValue
		if c.metrics[i].Counter {
			kind = prometheus.CounterValue
		}
		c.metrics[i].Read(o, func(value float64, labels ...string) {
			metrics <- prometheus.MustNewConstMetric(c.descs[i], kind, value, labels...)
		})
	}
}
