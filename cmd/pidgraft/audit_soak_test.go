// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pidgraft/pidgraft/audit/record"
	"github.com/pidgraft/pidgraft/internal/churn"
	"github.com/pidgraft/pidgraft/internal/require"
)

var soak = flag.Duration("audit.soak", 10*time.Second, "how long TestAuditSoak follows a random workload, a fifth with -short; from 10 minutes on its memory is judged")

// counting reads records, and keeps the last and how many there were of each type.
type counting struct {
	rest  []byte
	types map[string]int
	lost  uint64 // that records say
	last  []byte
}

func (c *counting) Write(b []byte) (int, error) {
	n := len(b)
	for {
		line, more, ok := bytes.Cut(b, []byte("\n"))
		if !ok {
			break
		}
		c.last = append(append(c.last[:0], c.rest...), line...)
		c.rest, b = c.rest[:0], more
		_, after, _ := bytes.Cut(c.last, []byte(`"type":"`))
		typ, _, _ := bytes.Cut(after, []byte(`"`))
		c.types[string(typ)]++
		if string(typ) == record.TypeLoss {
			var r record.Record
			if json.Unmarshal(c.last, &r) == nil && r.Loss != nil {
				c.lost += r.Loss.Count
			}
		}
	}
	c.rest = append(c.rest, b...)
	return n, nil
}

// resident is how many KiB of a process are in memory (VmRSS).
func resident(t *testing.T, pid int) float64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(b), "VmRSS:")
	kib, err := strconv.ParseFloat(strings.Fields(after)[0], 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib
}

// An audit of a namespace in which much comes and goes loses nothing in silence,
// recovers nothing without a loss, and does not grow.
func TestAuditSoak(t *testing.T) {
	require.Root(t)
	require.Feature(t, require.BTF)
	w := churn.Random(t, 5, 60, 500, -1)
	seen := &counting{types: make(map[string]int)}
	cmd := pidgraft("audit", "--pid", strconv.Itoa(w.PID()), "--reconcile", "10s", "--hidden-every", "10s",
		"--state", filepath.Join(t.TempDir(), "births"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(seen, out)
		ended <- err
	}()
	whole := *soak
	if testing.Short() {
		whole /= 5
	}
	const samples = 120
	var sizes []float64
	for range samples {
		time.Sleep(whole / samples)
		sizes = append(sizes, resident(t, cmd.Process.Pid))
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitDone {
		t.Errorf("exit code %d", code)
	}
	var last record.Record
	if err := json.Unmarshal(seen.last, &last); err != nil || last.Summary == nil {
		t.Fatalf("the last record is %.300q: %v", seen.last, err)
	}
	s := last.Summary
	if s.Lost != seen.lost {
		t.Errorf("%d events were lost, and the records say %d", s.Lost, seen.lost)
	}
	if s.Lost == 0 && s.Recovered > 0 || s.Lost > 0 && seen.types[record.TypeLoss] == 0 || s.Events < 100 {
		t.Errorf("summary %+v, records %v", s, seen.types)
	}
	// What the runtime takes at first is no leak.
	rest := sizes[samples/3:]
	slope, deviation := slopeOf(rest)
	hourly := samples / whole.Hours() / 1024 // of a step's KiB
	t.Logf("%v: memory %+.2f ± %.2f MiB an hour, %.1f to %.1f MiB resident; %d events (%.0f a second), %d lost and %d reported, %d recovered, %d snapshots",
		whole, slope*hourly, deviation*hourly, rest[0]/1024, rest[len(rest)-1]/1024,
		s.Events, float64(s.Events)/whole.Seconds(), s.Lost, seen.lost, s.Recovered, s.Snapshots)
	if third := len(rest) / 3; whole >= 10*time.Minute && mean(rest[2*third:]) > 1.1*mean(rest[:third]) {
		t.Errorf("it grows: %.0f KiB on average, and then %.0f", mean(rest[:third]), mean(rest[2*third:]))
	}
}

func mean(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += x
	}
	return sum / float64(len(v))
}

// slopeOf is that of the line that fits best, for each step, with its standard
// error. What neighbours have in common makes that look smaller than it is.
func slopeOf(v []float64) (slope, err float64) {
	x, y := float64(len(v)-1)/2, mean(v)
	var xy, xx, rest float64
	for i, value := range v {
		xy += (float64(i) - x) * (value - y)
		xx += (float64(i) - x) * (float64(i) - x)
	}
	slope = xy / xx
	for i, value := range v {
		d := value - y - slope*(float64(i)-x)
		rest += d * d
	}
	return slope, math.Sqrt(rest / float64(len(v)-2) / xx)
}
