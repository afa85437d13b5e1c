// SPDX-License-Identifier: Apache-2.0

// Package otlp sends the records of an audit, as logs, and its metrics to an
// OpenTelemetry collector, by OTLP over HTTP.
//
// Contract: Record never waits. What does not fit the queue, or is not taken by
// the other side, is counted. The OTEL_ variables of the specification hold:
// endpoint, headers, certificates, timeouts, compression, sizes of queue and
// batch, the interval of metrics, and attributes of the resource. The names of
// attributes are those of OpenTelemetry where it has one.
package otlp
