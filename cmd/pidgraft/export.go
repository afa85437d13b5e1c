// SPDX-License-Identifier: Apache-2.0

//go:build !lean

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/pidgraft/pidgraft/audit"
	"github.com/pidgraft/pidgraft/audit/otlp"
	"github.com/pidgraft/pidgraft/audit/overview"
	"github.com/pidgraft/pidgraft/audit/record"
	"github.com/pidgraft/pidgraft/audit/serve"
)

const (
	// publishEvery is how often those who look at an audit see it anew.
	publishEvery = time.Second
	// lossEvery is how often it is said that records are not delivered.
	lossEvery = time.Minute
	// deliveryPatience is how long the end waits for what is not sent yet.
	deliveryPatience = 5 * time.Second
)

// export tells others of an audit; a nil one tells nobody.
type export struct {
	maker     *overview.Maker
	server    *serve.Server
	otlp      *otlp.Exporter
	latest    atomic.Pointer[overview.Overview]
	published time.Time
	lost      int64 // as last said
	lostAt    time.Time
}

// beginExport begins what the flags ask for.
func (a *auditing) beginExport() (*export, error) {
	if a.listen == "" && a.otlp == "" {
		return nil, nil
	}
	e := &export{maker: overview.NewMaker(machinePidMax())}
	if a.otlp != "" {
		var err error
		if e.otlp, err = otlp.New(context.Background(), a.otlp, version(), e.latest.Load); err != nil {
			return nil, usageError{fmt.Errorf("--otlp: %w", err)}
		}
	}
	if a.listen != "" {
		if err := e.listen(a.listen); err != nil {
			return nil, errors.Join(fmt.Errorf("--listen: %w", err), e.close())
		}
	}
	return e, nil
}

func (e *export) listen(address string) error {
	l, err := serve.Listen(address)
	if errors.Is(err, serve.ErrAddress) || errors.Is(err, serve.ErrTaken) {
		err = usageError{err}
	}
	if err != nil {
		return err
	}
	if e.server, err = serve.New(l); err != nil {
		return errors.Join(err, l.Close())
	}
	e.server.Start()
	slog.Info(fmt.Sprintf("listening at http://%s/", e.server.Addr()))
	return nil
}

// record takes in a record.
func (e *export) record(r *record.Record) {
	if e == nil {
		return
	}
	e.maker.Record(r)
	if e.otlp != nil {
		e.otlp.Record(r)
	}
}

// turn is called now and then, and publishes once a second.
func (e *export) turn(a *audit.Auditor, n *naming) {
	if e == nil || time.Since(e.published) < publishEvery {
		return
	}
	e.published = time.Now()
	o := e.maker.Of(a, n.names.Of, e.server != nil && e.server.Watched())
	if e.otlp != nil {
		d := e.otlp.Delivery()
		o.Delivery = &d
		if d.Lost > e.lost && time.Since(e.lostAt) > lossEvery {
			e.sayLost(d)
		}
	}
	e.latest.Store(o)
	if e.server != nil {
		e.server.Publish(o)
	}
}

// sayLost says that records were not delivered, and why.
func (e *export) sayLost(d overview.Delivery) {
	e.lost, e.lostAt = d.Lost, time.Now()
	why := ""
	if err := e.otlp.Error(); err != nil {
		why = ": " + err.Error()
	}
	slog.Warn(fmt.Sprintf("OTLP: %d of %d records were not delivered%s", d.Lost, d.Records, why))
}

func (e *export) close() error {
	if e == nil {
		return nil
	}
	if e.otlp != nil {
		ctx, cancel := context.WithTimeout(context.Background(), deliveryPatience)
		defer cancel()
		e.otlp.Close(ctx)
		if d := e.otlp.Delivery(); d.Lost > e.lost {
			e.sayLost(d)
		}
	}
	if e.server != nil {
		return e.server.Close()
	}
	return nil
}
