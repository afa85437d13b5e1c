// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/internal/churn"
	"github.com/pidgraft/pidgraft/internal/leak"
	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/internal/schematest"
	"github.com/pidgraft/pidgraft/internal/testforest"
	"github.com/pidgraft/pidgraft/restore"
	"github.com/pidgraft/pidgraft/restore/plan"
)

func TestMain(m *testing.M) {
	// The tests are a peer, too: see own.
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], peerArgument) {
		main()
		return
	}
	os.Exit(leak.Checked(m, testforest.Close, churn.Close).Run())
}

const benchSchema = "../../docs/schema/bench.v1.json"

// sampleReport has one of everything.
func sampleReport() *Report {
	s := func(median float64) *Spread {
		return &Spread{Median: median, Least: median / 2, Most: median * 2, Runs: 7}
	}
	entries := func(n float64) []Entry {
		return []Entry{
			{Name: "pidgraft dump", Role: Ours, Time: s(30 * n), CPU: s(25), Memory: s(60)},
			{Name: psName, Role: Peer, Time: s(300 * n), CPU: s(250), Target: 1. / 15},
			{Name: "criu <restore>", Role: Peer, CannotRun: "criu check: no & no"},
			{Name: iterName, Role: Floor, Time: s(7)},
		}
	}
	r := &Report{Schema: schema, Rounds: 7, Machine: Machine{CPU: "P & Q", Processors: 2, GiB: 23.5, Kernel: "6.18", Architecture: "amd64", Go: "go1.26", Version: "0.1"}}
	r.Rows = []Row{
		{Name: "dump/1000", Work: "dump", Size: 1000, Entries: entries(1), Values: []Value{{Name: "image", Value: 116, Unit: "bytes a task", Target: 64}}},
		{Name: "dump/20000", Work: "dump", Size: 20000, Entries: entries(15)},
		{Name: "audit/cpu", Work: "audit", Values: []Value{{Name: "of a processor", Value: 3.5, Unit: "%"}}},
		{Name: "small", Work: "small", Error: "it failed"},
	}
	return r
}

// What is printed as JSON is what the schema says, and is read back.
func TestJSON(t *testing.T) {
	var first bytes.Buffer
	if err := sampleReport().print(&first, "json"); err != nil {
		t.Fatal(err)
	}
	checkSchema(t, first.Bytes())
	file := filepath.Join(t.TempDir(), "bench.json")
	if err := os.WriteFile(file, first.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	var second bytes.Buffer
	if err := run([]string{"-from", file, "-o", "json"}, &second); err != nil {
		t.Fatal(err)
	}
	if first.String() != second.String() {
		t.Errorf("%s, read and printed again: %s", &first, &second)
	}
}

func checkSchema(t *testing.T, text []byte) {
	t.Helper()
	faults, err := schematest.Check(benchSchema, text)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range faults {
		t.Error(f)
	}
}

// The table has the ratio first, the target, and why something is not there.
func TestTable(t *testing.T) {
	var out bytes.Buffer
	if err := sampleReport().print(&out, "text"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"2 × P & Q", "Linux 6.18", "medians of 7", "dump/1000: dump", "0.100", "(target 0.0667: MISSED)",
		"criu check: no & no", "4.286", "1.812", "116 bytes a task", "3.50 %", "not measured: it failed",
	} {
		if !strings.Contains(strings.ToLower(out.String()), strings.ToLower(want)) {
			t.Errorf("the table has no %q:\n%s", want, &out)
		}
	}
}

// A plot is well-formed and has a line for each of what was measured at more
// than one size.
func TestPlot(t *testing.T) {
	var out bytes.Buffer
	if err := sampleReport().print(&out, "svg"); err != nil {
		t.Fatal(err)
	}
	lines, texts := 0, ""
	for d := xml.NewDecoder(bytes.NewReader(out.Bytes())); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in %s", err, &out)
		}
		switch e := token.(type) {
		case xml.StartElement:
			for _, a := range e.Attr {
				if strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf") {
					t.Errorf("%s=%q", a.Name.Local, a.Value)
				}
				if a.Name.Local == "fill" && a.Value == "none" {
					lines++
				}
			}
		case xml.CharData:
			texts += string(e) + "\n"
		}
	}
	if lines != 3 || !strings.Contains(texts, psName) || strings.Contains(texts, "criu") || !strings.Contains(texts, "P & Q") {
		t.Errorf("%d lines and the texts %q", lines, texts)
	}
	r := sampleReport()
	r.Rows = r.Rows[:1]
	if err := r.print(&out, "svg"); !errors.Is(err, errNoPlot) {
		t.Errorf("of one size: %v", err)
	}
}

func TestChoose(t *testing.T) {
	b := &bench{sizes: sizes{tasks: []int{10, 100}, restores: []int{10, 100}, objects: 1000, plans: []int{10}, rest: 20}}
	all := b.rows()
	names := make(map[string]bool)
	for _, r := range all {
		if names[r.name] {
			t.Errorf("two rows are called %s", r.name)
		}
		names[r.name] = true
	}
	for args, want := range map[string]int{"": len(all), "dump/10$": 1, "restore/flat": 2, "audit small": 6, "none": -1, "(": -1} {
		chosen, err := choose(all, strings.Fields(args))
		if (err != nil) != (want < 0) || err == nil && len(chosen) != want {
			t.Errorf("%q: %d rows, %v", args, len(chosen), err)
		}
	}
}

// What the rows are made of can be rebuilt, so that they measure what they say.
func TestShapes(t *testing.T) {
	for name, f := range map[string]*forest.Forest{
		"flat": growFlat(50), "chain": growChain(50), "random": growRandom(500), "nested": growNested(100, 31),
		"threads": growThreads(50), "ghosts": growGhosts(50),
	} {
		if err := forest.Validate(f); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := restore.Plan(f, plan.Options{PidMax: 4 << 20, OwnPidMax: true}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if f := growNested(100, 31); len(f.Tasks) != 101 || len(f.Namespaces) != 31 {
		t.Errorf("nested: %d tasks in %d namespaces", len(f.Tasks), len(f.Namespaces))
	}
}

// Every row can be measured, though not of such sizes.
func TestMeasure(t *testing.T) {
	require.Root(t)
	require.Feature(t, require.Sources)
	require.Feature(t, require.Program("go", "golang"))
	t.Chdir("../..")
	var out bytes.Buffer
	err := run([]string{
		"-rounds", "1", "-tasks", "12", "-restores", "15", "-objects", "20", "-plans", "50", "-n", "40", "-o", "json",
		"start", "dump", "small", "restore", "plan", "encode", "decode", "audit/getppid",
	}, &out)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir("internal/bench")
	checkSchema(t, out.Bytes())
	r := &Report{}
	if err := json.Unmarshal(out.Bytes(), r); err != nil {
		t.Fatal(err)
	}
	for _, row := range r.Rows {
		for _, e := range row.Entries {
			if e.CannotRun != "" && e.Name != "criu restore" && e.Name != "lsns -t pid" {
				t.Errorf("%s: %s cannot run: %s", row.Name, e.Name, e.CannotRun)
			}
		}
	}
	for _, mine := range []string{nsLines, prometheus} {
		if n, err := map[string]func() (int, error){nsLines: readNSLines, prometheus: readProcfs}[mine](); err != nil || n < 2 {
			t.Errorf("%s saw %d tasks: %v", mine, n, err)
		}
	}
}
