// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	colmetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"

	"github.com/pidgraft/pidgraft/audit/metric"
	"github.com/pidgraft/pidgraft/audit/overview"
	"github.com/pidgraft/pidgraft/audit/record"
)

// collector receives OTLP over HTTP, as it is specified.
type collector struct {
	*httptest.Server
	mu       sync.Mutex
	logs     []*logs.LogRecord
	metrics  map[string]*metrics.Metric
	resource map[string]string
	headers  http.Header
	answer   int           // instead of 200
	stall    chan struct{} // until it is closed nothing is answered
}

func newCollector(t *testing.T) *collector {
	c := &collector{metrics: map[string]*metrics.Metric{}, resource: map[string]string{}}
	c.Server = httptest.NewServer(c)
	t.Cleanup(func() {
		if c.stall != nil {
			close(c.stall)
		}
		c.Close()
	})
	return c
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := read(r)
	if c.stall != nil {
		<-c.stall
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var reply proto.Message
	switch {
	case err != nil || r.Header.Get("Content-Type") != "application/x-protobuf":
		w.WriteHeader(http.StatusBadRequest)
		return
	case c.answer != 0:
		w.WriteHeader(c.answer)
		return
	case r.URL.Path == "/v1/logs":
		var request collogs.ExportLogsServiceRequest
		err = proto.Unmarshal(body, &request)
		for _, resource := range request.ResourceLogs {
			for k, v := range attrs(resource.Resource.Attributes) {
				c.resource[k] = v.GetStringValue()
			}
			for _, scope := range resource.ScopeLogs {
				c.logs = append(c.logs, scope.LogRecords...)
			}
		}
		reply = &collogs.ExportLogsServiceResponse{}
	case r.URL.Path == "/v1/metrics":
		var request colmetrics.ExportMetricsServiceRequest
		err = proto.Unmarshal(body, &request)
		for _, resource := range request.ResourceMetrics {
			for _, scope := range resource.ScopeMetrics {
				for _, m := range scope.Metrics {
					c.metrics[m.Name] = m
				}
			}
		}
		reply = &colmetrics.ExportMetricsServiceResponse{}
	default:
		w.WriteHeader(http.StatusNotFound)
		return
	}
	c.headers = r.Header
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	text, _ := proto.Marshal(reply)
	w.Header().Set("Content-Type", "application/x-protobuf")
	_, _ = w.Write(text)
}

func read(r *http.Request) ([]byte, error) {
	if r.Header.Get("Content-Encoding") != "gzip" {
		return io.ReadAll(r.Body)
	}
	z, err := gzip.NewReader(r.Body)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

func attrs(all []*common.KeyValue) map[string]*common.AnyValue {
	m := make(map[string]*common.AnyValue)
	for _, kv := range all {
		m[kv.Key] = kv.Value
	}
	return m
}

func nothing() *overview.Overview { return nil }

func begin(t *testing.T, endpoint string, latest func() *overview.Overview) *Exporter {
	t.Helper()
	e, err := New(context.Background(), endpoint, "test", latest)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// end closes, and holds against each other what was given, sent and lost.
func end(t *testing.T, e *Exporter, patience time.Duration) overview.Delivery {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	e.Close(ctx)
	d := e.Delivery()
	if d.Sent+d.Lost != d.Records {
		t.Errorf("%d sent and %d lost of %d", d.Sent, d.Lost, d.Records)
	}
	return d
}

var birth = &record.Record{
	Type: record.TypeEvent, Time: "2026-11-28T21:00:00.123456789Z", State: "complete", Generation: 3,
	Event: &record.Event{
		Kind: "birth",
		Task: &record.Task{
			Numbers: []int32{700, 7}, Process: []int32{600, 6}, Group: []int32{500, 5}, Session: []int32{400},
			Namespace: 4026532222, UID: 1000, Comm: "bad\xff", Place: record.Place{Container: strings.Repeat("ab", 32), Pod: "3d1f8c9a-5b7e-4f60-8a21-c0ffee123456"},
		},
		Creator: &record.Creator{Host: 99, Comm: "sh", Namespace: 4026531836},
	},
}

func TestDelivery(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=blue")
	t.Setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.name=node-audit")
	c := newCollector(t)
	o := &overview.Overview{
		Time: time.Now(), Ready: true, Complete: true, Sum: record.Summary{Events: 12},
		Namespaces: []overview.Namespace{
			{Budget: record.Budget{Namespace: record.Namespace{Inode: 7}, Tasks: 5, Left: -1, Place: record.Place{Container: "web.service"}}},
		},
		Delivery: &overview.Delivery{},
	}
	e := begin(t, c.URL, func() *overview.Overview { return o })
	e.Record(birth)
	e.Record(&record.Record{Type: record.TypeLoss, Time: birth.Time, State: "degraded", Loss: &record.Loss{Count: 4}})
	for range 2000 {
		e.Record(birth)
	}
	if d := end(t, e, 30*time.Second); d.Records != 2002 || d.Lost != 0 || d.MetricsFailed != 0 {
		t.Errorf("%+v, %v", d, e.Error())
	}
	if len(c.logs) != 2002 || c.headers.Get("X-Tenant") != "blue" {
		t.Errorf("%d logs came, with headers %v", len(c.logs), c.headers)
	}
	if c.resource["service.name"] != "node-audit" || c.resource["service.version"] != "test" || c.resource["deployment.environment.name"] != "test" || c.resource["host.name"] == "" {
		t.Errorf("resource %v", c.resource)
	}
	first := c.logs[0]
	if first.EventName != "pidgraft.audit.event" || first.SeverityNumber != logs.SeverityNumber_SEVERITY_NUMBER_DEBUG ||
		first.TimeUnixNano != 1795899600123456789 || !strings.HasPrefix(first.Body.GetStringValue(), "birth 700/7") {
		t.Errorf("%v", first)
	}
	got := attrs(first.Attributes)
	for key, want := range map[string]int64{
		"process.pid": 600, "process.vpid": 6, "process.group_leader.pid": 500, "process.session_leader.pid": 400, "thread.id": 700,
		"process.real_user.id": 1000, "pidgraft.namespace": 4026532222, "pidgraft.generation": 3, "pidgraft.creator.pid": 99,
	} {
		if got[key].GetIntValue() != want {
			t.Errorf("%s is %v, want %d", key, got[key], want)
		}
	}
	for key, want := range map[string]string{
		"thread.name": "bad�", "container.id": birth.Event.Task.Container, "k8s.pod.uid": birth.Event.Task.Pod,
		"pidgraft.state": "complete", "pidgraft.event": "birth",
	} {
		if got[key].GetStringValue() != want {
			t.Errorf("%s is %v, want %q", key, got[key], want)
		}
	}
	if second := c.logs[1]; second.SeverityNumber != logs.SeverityNumber_SEVERITY_NUMBER_WARN || attrs(second.Attributes)["pidgraft.loss.count"].GetIntValue() != 4 {
		t.Errorf("%v", second)
	}

	tasks := c.metrics["pidgraft.tasks"]
	if tasks.GetUnit() != "{task}" || len(tasks.GetGauge().GetDataPoints()) != 1 {
		t.Fatalf("%v", tasks)
	}
	point := tasks.GetGauge().DataPoints[0]
	if at := attrs(point.Attributes); point.GetAsDouble() != 5 || at["pidgraft.namespace"].GetIntValue() != 7 || at["pidgraft.unit"].GetStringValue() != "web.service" || len(at) != 2 {
		t.Errorf("%v", point)
	}
	if sum := c.metrics["pidgraft.audit.events"].GetSum(); !sum.GetIsMonotonic() || sum.DataPoints[0].GetAsDouble() != 12 {
		t.Errorf("%v", sum)
	}
	for _, m := range metric.All() {
		known := slices.Contains([]string{"pidgraft_numbers_max", "pidgraft_numbers_left", "pidgraft_cursor"}, m.Name) // not of this one
		if c.metrics[name(&m)] == nil && !known {
			t.Errorf("%s was not sent", name(&m))
		}
	}
}

// Nobody waits for a collector that stalls, and what it costs is counted.
func TestStall(t *testing.T) {
	t.Setenv("OTEL_BLRP_MAX_QUEUE_SIZE", "100")
	c := newCollector(t)
	c.stall = make(chan struct{})
	e := begin(t, c.URL, nothing)
	for range 100_000 {
		e.Record(birth)
	}
	if d := e.Delivery(); d.Lost < 100_000-200 || d.Sent != 0 {
		t.Errorf("while it stalls: %+v", d)
	}
	if d := end(t, e, 100*time.Millisecond); d.Lost != 100_000 {
		t.Errorf("in the end: %+v", d)
	}
}

func TestRefused(t *testing.T) {
	c := newCollector(t)
	c.answer = http.StatusForbidden
	e := begin(t, c.URL, nothing)
	for range 10 {
		e.Record(birth)
	}
	if d := end(t, e, 10*time.Second); d.Lost != 10 || e.Error() == nil {
		t.Errorf("%+v, %v", d, e.Error())
	}

	away := httptest.NewServer(nil)
	away.Close()
	e = begin(t, away.URL, func() *overview.Overview { return &overview.Overview{} })
	e.Record(birth)
	if d := end(t, e, 300*time.Millisecond); d.Lost != 1 {
		t.Errorf("nobody is there: %+v", d)
	}
}

func TestEndpoint(t *testing.T) {
	for _, endpoint := range []string{"", "collector:4318", "127.0.0.1:4318", "grpc://x:4317", "http://", "ftp://x", "://"} {
		if _, err := New(context.Background(), endpoint, "", nothing); !errors.Is(err, ErrEndpoint) {
			t.Errorf("%q: %v", endpoint, err)
		}
	}
	c := newCollector(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
	e := begin(t, Environment, nothing)
	e.Record(birth)
	if d := end(t, e, 10*time.Second); d.Sent != 1 {
		t.Errorf("%+v, %v", d, e.Error())
	}
	t.Setenv("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "grpc")
	if _, err := New(context.Background(), Environment, "", nothing); !errors.Is(err, ErrEndpoint) {
		t.Errorf("gRPC: %v", err)
	}
}
