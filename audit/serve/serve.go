// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/pidgraft/pidgraft/audit/metric"
	"github.com/pidgraft/pidgraft/audit/overview"
)

// How long the other side may take, and the auditor.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = time.Minute
	maxHeader     = 16 << 10
	// stuckAfter is when an auditor that publishes nothing is called stuck: it
	// does so once a second.
	stuckAfter = 15 * time.Second
)

// Server is an HTTP server.
type Server struct {
	listener net.Listener
	http     http.Server
	latest   atomic.Pointer[overview.Overview]
	moved    atomic.Int64 // when something was published; nanoseconds of clock
	began    time.Time
	watchers watchers
	ended    chan error
}

//go:embed page
var pages embed.FS

// New is a server at a listener, which it closes. More collectors are for metrics
// of others.
func New(l net.Listener, more ...prometheus.Collector) (*Server, error) {
	s := &Server{listener: l, began: time.Now(), ended: make(chan error, 1)}
	s.watchers.init()
	registry := prometheus.NewRegistry()
	for _, c := range append(more, metric.NewCollector(s.latest.Load), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})) {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	page, err := fs.Sub(pages, "page")
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		Registry: registry, EnableOpenMetrics: true, MaxRequestsInFlight: 4, Timeout: writeTimeout / 2,
	}))
	mux.HandleFunc("/healthz", s.healthz)
	mux.HandleFunc("/readyz", s.readyz)
	mux.HandleFunc("/events", s.events)
	mux.Handle("/", harden(http.FileServerFS(page)))
	s.http = http.Server{
		Handler:           guard(l.Addr(), mux),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
	}
	return s, nil
}

// Start serves in the background until Close.
func (s *Server) Start() {
	go func() {
		err := s.http.Serve(s.listener)
		if errors.Is(err, http.ErrServerClosed) {
			err = nil
		}
		s.ended <- err
	}()
	go s.watchers.run()
}

// Addr is where it listens.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Close lets requests come to their end, for a moment, and stops.
func (s *Server) Close() error {
	const patience = 2 * time.Second
	s.watchers.close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close() // who reads so slowly has been waited for
	}
	return errors.Join(err, <-s.ended)
}

// Watched reports whether somebody looks at the page, so that forests are wanted.
func (s *Server) Watched() bool { return s.watchers.any() }

// Publish makes an overview the latest. It does not wait.
func (s *Server) Publish(o *overview.Overview) {
	s.latest.Store(o)
	s.moved.Store(int64(time.Since(s.began)))
	s.watchers.publish(o)
}

// still is how long nothing was published.
func (s *Server) still() time.Duration {
	return time.Since(s.began) - time.Duration(s.moved.Load())
}

// healthz says whether the auditor is at work.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	if d := s.still(); d > stuckAfter {
		say(w, http.StatusServiceUnavailable, "stuck: the auditor has done nothing for %v", d.Round(time.Second))
		return
	}
	say(w, http.StatusOK, "ok")
}

// readyz says whether what is shown is all there is.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	o := s.latest.Load()
	switch {
	case s.still() > stuckAfter:
		say(w, http.StatusServiceUnavailable, "stuck: the auditor has done nothing for %v", s.still().Round(time.Second))
	case o == nil || !o.Ready:
		say(w, http.StatusServiceUnavailable, "incomplete: there has been no snapshot yet")
	case !o.Complete:
		say(w, http.StatusServiceUnavailable, "degraded: something may be missing from what is known; %d events were lost so far", o.Sum.Lost)
	default:
		say(w, http.StatusOK, "complete")
	}
}

func say(w http.ResponseWriter, code int, format string, args ...any) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	// Who has gone meanwhile does not hear it.
	_, _ = fmt.Fprintf(w, format+"\n", args...)
}

// harden lets a page load and run nothing but what comes with it.
func harden(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "+
			"img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}
