// SPDX-License-Identifier: Apache-2.0

package audit_test

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pidgraft/pidgraft/audit"
	"github.com/pidgraft/pidgraft/audit/finding"
	"github.com/pidgraft/pidgraft/audit/follow"
	"github.com/pidgraft/pidgraft/audit/history"
	"github.com/pidgraft/pidgraft/audit/record"
	"github.com/pidgraft/pidgraft/audit/source"
	"github.com/pidgraft/pidgraft/audit/state"
	"github.com/pidgraft/pidgraft/internal/churn"
	"github.com/pidgraft/pidgraft/internal/leak"
	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/loader"
)

var recordFor = flag.Duration("audit.record", 0, "record the logs in testdata anew, each of a random workload for so long, as root")

func TestMain(m *testing.M) { os.Exit(leak.Checked(m, churn.Close).Run()) }

// logs are recorded workloads, and how much was lost of each.
var logs = map[string]loader.StreamOptions{
	"random": {},
	"lossy":  {DropOneIn: 20},
}

// told is an audit of what a source says, with its records as they were told, but
// for the wall clock.
type told struct {
	*audit.Auditor
	lines bytes.Buffer
}

func follows(t *testing.T, src follow.Source) *told {
	a := &told{}
	a.Auditor = audit.New(src, audit.Options{
		Follow:    follow.Options{Heal: true, Reconcile: 400 * time.Millisecond, Settle: 400 * time.Millisecond, Pause: 200 * time.Millisecond, Inline: true},
		Finding:   finding.Options{ZombieAfter: 500 * time.Millisecond, ExitAfter: 500 * time.Millisecond, Hold: 300 * time.Millisecond},
		History:   history.NewTracker(),
		FindEvery: 100 * time.Millisecond,
		PidMax:    1 << 22,
		Emit: func(r *record.Record) error {
			r.Time = "2026-01-01T00:00:00Z"
			return record.JSON(&a.lines, r)
		},
	})
	return a
}

// step is one round of what an audit does.
func (a *told) step(t *testing.T) {
	t.Helper()
	if err := a.Advance(context.Background(), time.Now().Add(20*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if err := a.Tick(); err != nil {
		t.Fatal(err)
	}
}

func (a *told) recovered() bool { return bytes.Contains(a.lines.Bytes(), []byte(`"type":"recovered"`)) }

func (a *told) end(t *testing.T) {
	t.Helper()
	if err := a.Drain(); err != nil {
		t.Fatal(err)
	}
	if err := a.Summary(); err != nil {
		t.Fatal(err)
	}
}

// take records a log, with what was told of it beside.
func take(t *testing.T, name string, opts loader.StreamOptions) {
	require.Root(t)
	w := churn.Random(t, 11, 4, 10, -1)
	live, err := source.Open(loader.Target{PID: w.PID(), Scope: loader.Container}, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	r := &source.Recorder{Source: live}
	a := follows(t, r)
	enough := func() bool { return a.Generation() > 2 && (opts.DropOneIn == 0 || a.recovered()) }
	for end := time.Now().Add(*recordFor); time.Now().Before(end) || !enough(); {
		a.step(t)
		r.Log.Rounds++
	}
	a.end(t)
	var log bytes.Buffer
	if err := r.Log.Write(&log); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{name + ".log.gz": log.Bytes(), name + ".jsonl": a.lines.Bytes()} {
		if strings.HasSuffix(name, ".jsonl") {
			b = slices.Concat(telling(b)...)
		}
		if err := os.WriteFile(filepath.Join("testdata", name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// telling are the records that say more than one event does.
func telling(lines []byte) [][]byte {
	var all [][]byte
	for line := range bytes.Lines(lines) {
		if !bytes.Contains(line, []byte(`"type":"event"`)) {
			all = append(all, line)
		}
	}
	return all
}

// What a kernel once said of a random workload is understood as it was then: the
// same snapshots, losses, recoveries and findings, and in the end the state that the
// last of its passes confirms.
func TestReplay(t *testing.T) {
	for name, opts := range logs {
		t.Run(name, func(t *testing.T) {
			if *recordFor > 0 {
				take(t, name, opts)
			}
			f, err := os.Open(filepath.Join("testdata", name+".log.gz"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			log, err := source.ReadLog(f)
			if err != nil {
				t.Fatal(err)
			}
			events, last := 0, log.Snapshots[len(log.Snapshots)-1]
			for _, batch := range log.Reads {
				events += len(batch)
			}
			want, err := os.ReadFile(filepath.Join("testdata", name+".jsonl"))
			if err != nil {
				t.Fatal(err)
			}
			r := &source.Replay{Log: log}
			a := follows(t, r)
			for range log.Rounds {
				a.step(t)
				if a.State() == nil {
					continue
				}
				if err := a.State().Check(); err != nil {
					t.Fatal(err)
				}
			}
			a.end(t)
			got := telling(a.lines.Bytes())
			for i, line := range telling(want) {
				if i >= len(got) || !bytes.Equal(got[i], line) {
					t.Fatalf("record %d is\n%.600s\nand was\n%.600s", i, slices.Concat(got[min(i, len(got)):]...), line)
				}
			}
			if r.Left() > 0 || a.Generation() < 2 {
				t.Errorf("%d answers are left, after %d snapshots", r.Left(), a.Generation())
			}
			if a.recovered() != (opts.DropOneIn > 0) {
				t.Errorf("something was recovered: %v", a.recovered())
			}
			pass, err := state.FromSnapshot(last)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d events, %d records that tell more, %d snapshots; %d tasks in the last of them, %d in the end",
				events, len(got), a.Generation(), pass.Counts().Tasks, a.State().Counts().Tasks)
		})
	}
}
