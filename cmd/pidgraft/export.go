// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/pidgraft/pidgraft/audit"
	"github.com/pidgraft/pidgraft/audit/overview"
	"github.com/pidgraft/pidgraft/audit/record"
	"github.com/pidgraft/pidgraft/audit/serve"
)

// publishEvery is how often those who look at an audit see it anew.
const publishEvery = time.Second

// export tells others of an audit; a nil one tells nobody.
type export struct {
	maker     *overview.Maker
	server    *serve.Server
	published time.Time
}

// beginExport begins what the flags ask for.
func (a *auditing) beginExport() (*export, error) {
	if a.listen == "" {
		return nil, nil
	}
	e := &export{maker: overview.NewMaker(machinePidMax())}
	l, err := serve.Listen(a.listen)
	if errors.Is(err, serve.ErrAddress) || errors.Is(err, serve.ErrTaken) {
		err = usageError{err}
	}
	if err != nil {
		return nil, fmt.Errorf("--listen: %w", err)
	}
	if e.server, err = serve.New(l); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	e.server.Start()
	fmt.Fprintf(os.Stderr, "pidgraft audit: listening at http://%s/\n", e.server.Addr())
	return e, nil
}

// record takes in a record.
func (e *export) record(r *record.Record) {
	if e != nil {
		e.maker.Record(r)
	}
}

// turn is called now and then, and publishes once a second.
func (e *export) turn(a *audit.Auditor, n *naming) {
	if e == nil || time.Since(e.published) < publishEvery {
		return
	}
	e.published = time.Now()
	e.server.Publish(e.maker.Of(a, n.names.Of, e.server.Watched()))
}

func (e *export) close() error {
	if e == nil {
		return nil
	}
	return e.server.Close()
}
