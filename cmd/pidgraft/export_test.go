// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pidgraft/pidgraft/audit/record"
	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/internal/testforest"
)

// startListening starts an audit that listens at a free port, and gives where.
func startListening(t *testing.T, args ...string) (*auditRun, string) {
	t.Helper()
	return startListeningCommand(t, pidgraft(append([]string{"audit", "--listen", "0"}, args...)...))
}

func startListeningCommand(t *testing.T, cmd *exec.Cmd) (*auditRun, string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = w
	a := startCommand(t, cmd)
	w.Close()
	says := bufio.NewReader(r)
	line, err := says.ReadString('\n')
	at, ok := strings.CutPrefix(strings.TrimSpace(line), "pidgraft audit: listening at ")
	if err != nil || !ok {
		t.Fatalf("it says %q (%v)", line, err)
	}
	rest := make(chan struct{})
	go func() {
		defer close(rest)
		_, _ = io.Copy(os.Stderr, says)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-rest
		r.Close()
	})
	return a, at
}

func fetch(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// eventually asks until the answer is right.
func eventually(t *testing.T, what string, right func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !right(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in a minute: %s", what)
		}
	}
}

// freePort is a port of this machine where nobody listens.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// program runs one until the test ends, or dies.
func program(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("%s says:\n%s", name, text)
		}
	})
}

// query asks Prometheus, and gives the value of the first series and how many
// there are.
func query(t *testing.T, at, q string) (value string, n int) {
	t.Helper()
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + at + "/api/v1/query?query=" + url.QueryEscape(q))
	if err != nil {
		return "", 0 // it is not up yet
	}
	defer resp.Body.Close()
	var answer struct {
		Data struct {
			Result []struct{ Value [2]any }
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return "", 0
	}
	for _, r := range answer.Data.Result {
		value = fmt.Sprint(r.Value[1])
	}
	return value, len(answer.Data.Result)
}

// A real Prometheus scrapes an audit, and knows of a container what the audit does;
// when the container ends, so do its series.
func TestPrometheus(t *testing.T) {
	require.Root(t)
	require.Feature(t, require.BTF)
	require.Feature(t, require.Program("prometheus", "prometheus"))
	require.Feature(t, require.Program("promtool", "prometheus"))
	f := testforest.Start(t, "outside fork init newpid\ninit fork a\na setsid\na fork b")
	inContainer(t, f.Root(), filepath.Join("docker", containerID))
	outer := testforest.Start(t, "outside fork init newpid\ninit fork a")
	a, at := startListening(t, "--pid", fmt.Sprint(f.Root()), "--pid", fmt.Sprint(outer.Root()), "--hidden-every", "0", "--zombie-after", "1s")

	eventually(t, "ready", func() bool { code, _ := fetch(t, at+"readyz"); return code == http.StatusOK })
	code, metrics := fetch(t, at+"metrics")
	if code != http.StatusOK {
		t.Fatalf("%d: %s", code, metrics)
	}
	lint := exec.Command("promtool", "check", "metrics")
	lint.Stdin = strings.NewReader(metrics)
	if out, err := lint.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}

	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	target := strings.TrimSuffix(strings.TrimPrefix(at, "http://"), "/")
	if err := os.WriteFile(config, fmt.Appendf(nil, `
global: {scrape_interval: 500ms, evaluation_interval: 500ms}
scrape_configs:
- job_name: pidgraft
  static_configs: [{targets: ["%s"]}]
`, target), 0o600); err != nil {
		t.Fatal(err)
	}
	prometheus := freePort(t)
	program(t, "prometheus", "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+prometheus)

	of := fmt.Sprintf(`{container="%s"}`, containerID)
	expect := func(q, want string) {
		t.Helper()
		var got string
		defer func() {
			if t.Failed() {
				t.Logf("%s is %q, want %q", q, got, want)
			}
		}()
		eventually(t, q, func() bool { got, _ = query(t, prometheus, q); return got == want })
	}
	expect("up", "1")
	expect("pidgraft_tasks"+of, "3")
	expect("pidgraft_processes"+of, "3")
	expect("pidgraft_audit_complete", "1")
	expect("count(pidgraft_tasks)", "2")
	do(t, f, "a exit 0")
	expect(fmt.Sprintf(`pidgraft_findings{container="%s",kind="zombie"}`, containerID), "1")
	do(t, f, "init reap a")
	expect("pidgraft_ghost_objects"+of, "1")
	expect(`count(pidgraft_findings{kind="zombie"} > 0) or vector(0)`, "0")

	do(t, f, "init exit 0")
	// It waits for its namespace first, which may take a moment.
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := f.Run("outside reap init")
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	expect(`count(pidgraft_tasks) or vector(0)`, "1")
	if _, n := query(t, prometheus, "pidgraft_tasks"+of); n != 0 {
		t.Errorf("a container that has ended has %d series", n)
	}

	a.signal(syscall.SIGTERM)
	if code := a.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if last := a.records[len(a.records)-1]; last.Type != record.TypeSummary {
		t.Errorf("the last record is %+v", last)
	}
	if _, err := http.Get(at); err == nil {
		t.Error("it still listens")
	}
}

// A collector hears of an audit by OTLP; one that is not there costs nothing but
// what it misses, and that is said.
func TestOTLP(t *testing.T) {
	require.Root(t)
	require.Feature(t, require.BTF)
	f := testforest.Start(t, "outside fork init newpid\ninit fork a")
	var mu sync.Mutex
	heard := map[string]int{}
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		heard[r.Method+" "+r.URL.Path]++
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	defer collector.Close()
	audit := func(endpoint string) (said string) {
		cmd := pidgraft("audit", "--pid", fmt.Sprint(f.Root()), "--hidden-every", "0", "--otlp", endpoint)
		var text strings.Builder
		cmd.Stderr = &text
		a := startCommand(t, cmd)
		a.until("what there is", func(r record.Record) bool { return r.Snapshot != nil })
		do(t, f, "a sleepers 3")
		a.until("a birth", func(r record.Record) bool { return r.Event != nil && r.Event.Kind == "birth" })
		a.signal(syscall.SIGTERM)
		if code := a.end(); code != 0 {
			t.Errorf("exit code %d: %s", code, text.String())
		}
		return text.String()
	}
	if said := audit(collector.URL); said != "" {
		t.Errorf("it says %q", said)
	}
	if heard["POST /v1/logs"] == 0 || heard["POST /v1/metrics"] == 0 || len(heard) != 2 {
		t.Errorf("the collector heard %v", heard)
	}
	if said := audit("http://" + freePort(t)); !strings.Contains(said, "records were not delivered") {
		t.Errorf("it says %q", said)
	}
}

// Whoever may use BPF may audit the namespace that he is in, serve it, and nothing
// else is asked for.
func TestAuditCapabilities(t *testing.T) {
	require.Root(t)
	require.Feature(t, require.BTF)
	u := newUnprivileged(t)
	const look = "-all,+bpf,+perfmon"
	cmd := exec.Command("setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", "--inh-caps="+look, "--ambient-caps="+look,
		"--bounding-set="+look, u.path("pidgraft"), "audit", "--no-events", "--listen", "0", "--hidden-every", "1s")
	cmd.Dir = u.dir
	a, at := startListeningCommand(t, cmd)
	eventually(t, "ready", func() bool { code, _ := fetch(t, at+"readyz"); return code == http.StatusOK })
	time.Sleep(2 * time.Second) // for a look at what hides
	a.signal(syscall.SIGTERM)
	if code := a.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, r := range a.records {
		if r.Event != nil {
			t.Errorf("an event: %+v", r.Event)
		}
	}
}
