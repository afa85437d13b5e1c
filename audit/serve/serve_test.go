// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pidgraft/pidgraft/audit/overview"
	"github.com/pidgraft/pidgraft/audit/record"
)

func start(t *testing.T) (*Server, string) {
	t.Helper()
	l, err := Listen("0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(l)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return s, "http://" + s.Addr().String()
}

func get(t *testing.T, url, host string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body), resp.Header
}

func TestComplete(t *testing.T) {
	for address, want := range map[string]string{
		"9464": "127.0.0.1:9464", ":9464": "127.0.0.1:9464", "0": "127.0.0.1:0",
		"0.0.0.0:9464": "0.0.0.0:9464", "[::]:9464": "[::]:9464", "node:1": "node:1",
		"": "", "node": "", "70000": "", ":": "", "1.2.3.4": "", "::1": "", "a:b": "", "/run/x": "",
	} {
		got, err := complete(address)
		if got != want || (err == nil) != (want != "") || err != nil && !errors.Is(err, ErrAddress) {
			t.Errorf("%q: %q, %v; want %q", address, got, err, want)
		}
	}
}

func TestListen(t *testing.T) {
	l, err := Listen("0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if !l.Addr().(*net.TCPAddr).IP.IsLoopback() {
		t.Errorf("it listens at %s", l.Addr())
	}
	if _, err := Listen(l.Addr().String()); !errors.Is(err, ErrTaken) {
		t.Errorf("the same again: %v", err)
	}
	if _, err := Listen("192.0.2.1:0"); !errors.Is(err, ErrAddress) {
		t.Errorf("an address of documentation: %v", err)
	}
}

func TestHealth(t *testing.T) {
	s, url := start(t)
	expect := func(path string, code int, text string) {
		t.Helper()
		if got, body, _ := get(t, url+path, ""); got != code || !strings.Contains(body, text) {
			t.Errorf("%s: %d %q, want %d %q", path, got, body, code, text)
		}
	}
	expect("/healthz", 200, "ok")
	expect("/readyz", 503, "incomplete: there has been no snapshot yet")
	s.Publish(&overview.Overview{})
	expect("/readyz", 503, "incomplete")
	s.Publish(&overview.Overview{Ready: true, Sum: record.Summary{Lost: 7}})
	expect("/readyz", 503, "degraded: something may be missing from what is known; 7 events")
	s.Publish(&overview.Overview{Ready: true, Complete: true})
	expect("/readyz", 200, "complete")
	expect("/metrics", 200, "\npidgraft_audit_complete 1\n")
	s.moved.Add(-int64(time.Hour))
	expect("/healthz", 503, "stuck: the auditor has done nothing for 1h")
	expect("/readyz", 503, "stuck")
	expect("/nothing", 404, "")
}

// A page of another name that a browser takes for this machine gets nothing, and
// nobody can change anything.
func TestGuard(t *testing.T) {
	_, url := start(t)
	for host, want := range map[string]int{
		"": 200, "localhost": 200, "LOCALHOST:80": 200, "127.0.0.1": 200, "[::1]:9464": 200,
		"evil.example": 421, "evil.example:9464": 421, "127.0.0.1.evil.example": 421,
	} {
		if code, _, _ := get(t, url+"/metrics", host); code != want {
			t.Errorf("host %q: %d, want %d", host, code, want)
		}
	}
	resp, err := http.Post(url+"/", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %s", resp.Status)
	}
	code, body, header := get(t, url+"/", "")
	if code != 200 || !strings.Contains(body, "<!doctype html>") || !strings.Contains(header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("the page: %d, %v", code, header)
	}
}

// Who watches sees what is published, the latest if it is slow; the publisher
// waits for nobody.
func TestEvents(t *testing.T) {
	s, url := start(t)
	resp, err := http.Get(url + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if !s.Watched() {
		t.Error("nobody watches")
	}
	lines := bufio.NewReader(resp.Body)
	read := func() overview.Overview {
		t.Helper()
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if text, ok := strings.CutPrefix(line, "data: "); ok {
				var o overview.Overview
				if err := json.Unmarshal([]byte(text), &o); err != nil {
					t.Fatal(err)
				}
				return o
			}
		}
	}
	hostile := "</script>\n\ndata: {}\n\n"
	s.Publish(&overview.Overview{Generation: 1, Recent: []overview.Entry{{Text: hostile}}})
	if o := read(); o.Generation != 1 || o.Recent[0].Text != hostile {
		t.Errorf("%+v", o)
	}
	// A heap of it, that nobody reads.
	big := strings.Repeat("x", 1<<20)
	for i := 2; i <= 100; i++ {
		s.Publish(&overview.Overview{Generation: i, Recent: []overview.Entry{{Text: big}}})
	}
	last := 0
	for last < 100 {
		o := read()
		if o.Generation <= last {
			t.Fatalf("%d after %d", o.Generation, last)
		}
		last = o.Generation
	}

	// Only so many at once.
	var others []*http.Response
	for range maxWatchers {
		r, err := http.Get(url + "/events")
		if err != nil {
			t.Fatal(err)
		}
		others = append(others, r)
	}
	if code := others[maxWatchers-1].StatusCode; code != 503 {
		t.Errorf("one too many: %d", code)
	}
	for _, r := range others {
		r.Body.Close()
	}
	resp.Body.Close()
	for deadline := time.Now().Add(10 * time.Second); s.Watched(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("those who have gone are still watchers")
		}
	}
}
