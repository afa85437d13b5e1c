// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/pidgraft/pidgraft/audit/overview"
)

// maxWatchers is how many pages are kept up to date at once.
const maxWatchers = 16

// watchers are those who look at the page.
type watchers struct {
	mu      sync.Mutex
	all     map[chan []byte]bool
	pending chan *overview.Overview // the latest that was not sent
	done    chan struct{}
	once    sync.Once
}

func (w *watchers) init() {
	w.all = make(map[chan []byte]bool)
	w.pending = make(chan *overview.Overview, 1)
	w.done = make(chan struct{})
}

func (w *watchers) close() { w.once.Do(func() { close(w.done) }) }

func (w *watchers) any() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.all) > 0
}

// add gives one who watches a channel, or nil if there are too many.
func (w *watchers) add() chan []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.all) >= maxWatchers {
		return nil
	}
	c := make(chan []byte, 1)
	w.all[c] = true
	return c
}

func (w *watchers) remove(c chan []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.all, c)
}

// publish is called by one goroutine, and does not wait: what was not sent yet is
// replaced.
func (w *watchers) publish(o *overview.Overview) {
	if !w.any() {
		return
	}
	select {
	case <-w.pending:
	default:
	}
	w.pending <- o
}

// run sends, beside the auditor: JSON of many processes takes its time.
func (w *watchers) run() {
	for {
		select {
		case o := <-w.pending:
			if text, err := json.Marshal(o); err == nil { // plain data: it cannot fail
				w.send(text)
			}
		case <-w.done:
			return
		}
	}
}

// send replaces what somebody slow has not taken.
func (w *watchers) send(text []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.all {
		select {
		case <-c:
		default:
		}
		c <- text
	}
}

// events is a stream of overviews, as server-sent events.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	c := s.watchers.add()
	if c == nil {
		say(w, http.StatusServiceUnavailable, "%d pages are open already", maxWatchers)
		return
	}
	defer s.watchers.remove(c)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	control := http.NewResponseController(w)
	alive := time.NewTicker(writeTimeout / 3)
	defer alive.Stop()
	write := func(format string, args ...any) error {
		if err := control.SetWriteDeadline(time.Now().Add(writeTimeout / 3)); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, format, args...); err != nil {
			return err
		}
		return control.Flush()
	}
	// The server's is for whole requests, and would end this one.
	if err := control.SetReadDeadline(time.Time{}); err != nil {
		return
	}
	err := write(": overviews, one a second\n\n")
	for err == nil {
		select {
		case text := <-c:
			err = write("data: %s\n\n", text)
		case <-alive.C:
			// So that one who has gone is noticed.
			err = write(": still here\n\n")
		case <-r.Context().Done():
			return
		case <-s.watchers.done:
			return
		}
	}
}
