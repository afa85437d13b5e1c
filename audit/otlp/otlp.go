// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"

	"github.com/pidgraft/pidgraft/audit/overview"
	"github.com/pidgraft/pidgraft/audit/record"
)

const scope = "github.com/pidgraft/pidgraft/audit"

// Environment is the endpoint that stands for what the OTEL_ variables say.
const Environment = "env"

// Sizes, if no variable gives others.
const (
	defaultQueue = 8192
	defaultBatch = 512
)

// ErrEndpoint is an endpoint that cannot be used.
var ErrEndpoint = errors.New("not an OTLP endpoint")

// Exporter sends. Its methods can be called by different goroutines.
type Exporter struct {
	logs    *sdklog.LoggerProvider
	logger  log.Logger
	metrics *sdkmetric.MeterProvider
	limit   int64 // of records that wait or are under way

	given, sent, failed, dropped atomic.Int64
	metricsFailed                atomic.Int64

	mu   sync.Mutex
	last error
}

// New sends to a collector: http://HOST:PORT or https://…, or Environment.
// Latest is where metrics are read from.
//
// Errors: ErrEndpoint. That nobody answers is none, and is counted later.
func New(ctx context.Context, endpoint, version string, latest func() *overview.Overview) (*Exporter, error) {
	logs, metrics, err := options(endpoint)
	if err != nil {
		return nil, err
	}
	logExporter, err := otlploghttp.New(ctx, logs...)
	if err != nil {
		return nil, fmt.Errorf("%w: logs: %w", ErrEndpoint, err)
	}
	metricExporter, err := otlpmetrichttp.New(ctx, metrics...)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: metrics: %w", ErrEndpoint, err), logExporter.Shutdown(ctx))
	}
	// A part that cannot be found out is left out.
	res, _ := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(attribute.String("service.name", "pidgraft"), attribute.String("service.version", version)),
		resource.WithFromEnv())
	queue, batch := variable("OTEL_BLRP_MAX_QUEUE_SIZE", defaultQueue), variable("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", defaultBatch)
	e := &Exporter{limit: int64(queue)}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(e.note))
	e.logs = sdklog.NewLoggerProvider(sdklog.WithResource(res), sdklog.WithProcessor(
		// It would replace the oldest without a word; Record does not let it
		// come to that.
		sdklog.NewBatchProcessor(&countedLogs{logExporter, e}, sdklog.WithMaxQueueSize(queue), sdklog.WithExportMaxBatchSize(min(batch, queue)))))
	e.logger = e.logs.Logger(scope, log.WithInstrumentationVersion(version))
	e.metrics = sdkmetric.NewMeterProvider(sdkmetric.WithResource(res), sdkmetric.WithReader(
		sdkmetric.NewPeriodicReader(&countedMetrics{metricExporter, e}, sdkmetric.WithProducer(&producer{latest, version, time.Now()}))))
	return e, nil
}

func options(endpoint string) ([]otlploghttp.Option, []otlpmetrichttp.Option, error) {
	for _, name := range []string{"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL"} {
		if p := os.Getenv(name); p != "" && p != "http/protobuf" {
			return nil, nil, fmt.Errorf("%w: %s=%s: only http/protobuf is spoken here, which collectors take at port 4318", ErrEndpoint, name, p)
		}
	}
	if endpoint == Environment {
		return nil, nil, nil
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, nil, fmt.Errorf("%w: %q is neither http://HOST:PORT, nor https://HOST:PORT, nor %s", ErrEndpoint, endpoint, Environment)
	}
	return []otlploghttp.Option{otlploghttp.WithEndpointURL(u.JoinPath("v1/logs").String())},
		[]otlpmetrichttp.Option{otlpmetrichttp.WithEndpointURL(u.JoinPath("v1/metrics").String())}, nil
}

// variable is a number in the environment.
func variable(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return otherwise
}

// Record sends a record, or counts it as lost if too many wait.
func (e *Exporter) Record(r *record.Record) {
	e.given.Add(1)
	if e.waiting() > e.limit {
		e.dropped.Add(1)
		return
	}
	e.logger.Emit(context.Background(), logRecord(r))
}

// waiting is how many records are neither sent nor lost, the one that is being
// given included.
func (e *Exporter) waiting() int64 {
	return e.given.Load() - e.dropped.Load() - e.sent.Load() - e.failed.Load()
}

// Delivery is what has become of everything so far.
func (e *Exporter) Delivery() overview.Delivery {
	return overview.Delivery{
		Records: e.given.Load(), Sent: e.sent.Load(), Lost: e.dropped.Load() + e.failed.Load(),
		MetricsFailed: e.metricsFailed.Load(),
	}
}

// Error is why something was lost last; nil if nothing was.
func (e *Exporter) Error() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.last
}

func (e *Exporter) note(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.last = err
}

// Close sends what waits, as long as the context lasts. What is not sent by then
// is lost, and counted so.
func (e *Exporter) Close(ctx context.Context) {
	for _, err := range []error{e.logs.Shutdown(ctx), e.metrics.Shutdown(ctx)} {
		if err != nil {
			e.note(err)
		}
	}
	e.dropped.Add(e.waiting())
}

// countedLogs counts what an exporter does with records. It does not say which of
// a batch the other side took: then the whole of it counts as lost.
type countedLogs struct {
	sdklog.Exporter
	e *Exporter
}

func (c *countedLogs) Export(ctx context.Context, records []sdklog.Record) error {
	err := c.Exporter.Export(ctx, records)
	if err != nil {
		c.e.failed.Add(int64(len(records)))
		return err
	}
	c.e.sent.Add(int64(len(records)))
	return nil
}

type countedMetrics struct {
	sdkmetric.Exporter
	e *Exporter
}

func (c *countedMetrics) Export(ctx context.Context, m *metricdata.ResourceMetrics) error {
	err := c.Exporter.Export(ctx, m)
	if err != nil {
		c.e.metricsFailed.Add(1)
	}
	return err
}
