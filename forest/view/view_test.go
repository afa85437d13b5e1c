// SPDX-License-Identifier: Apache-2.0

package view

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/forest/foresttest"
	"github.com/pidgraft/pidgraft/internal/schematest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// sample is a container with most of what can be shown.
func sample() *forest.Forest {
	const self = forest.SameNamespace
	task := func(pid, tgid, pgid, sid, parent forest.Tag, comm string) forest.Task {
		t := forest.Task{Pid: pid, TGID: tgid, PGID: pgid, SID: sid, Parent: parent, ParentThread: parent,
			ExitSignal: forest.SIGCHLD, ChildNamespace: self, Comm: comm, StartTime: uint64(pid) * 1000}
		if pid != tgid {
			t.ExitSignal = forest.ExitSignalThread
		}
		return t
	}
	f := &forest.Forest{
		UserNamespaces: []forest.UserNamespace{
			{Parent: -1, Setgroups: true, Inode: 4026531837},
			{Parent: 0, OwnerUID: 1000, OwnerGID: 1000, Inode: 4026532300,
				UIDMap: []forest.Extent{{First: 0, Parent: 1000, Count: 1}}, GIDMap: []forest.Extent{{First: 0, Parent: 1000, Count: 1}}},
		},
		Namespaces: []forest.Namespace{
			{Parent: -1, Cursor: 41, PidMax: 4194304, Inode: 4026532201},
			{Parent: 0, Level: 1, Owner: 1, Cursor: 4, PidMax: 4194304, Inode: 4026532301},
			{Parent: 1, Level: 2, Owner: 1, State: forest.Empty, Inode: 4026532302},
		},
		Pids: []forest.Pid{
			{Numbers: []int32{1}}, {Numbers: []int32{7}}, {Numbers: []int32{8}}, {Numbers: []int32{20, 1}, Namespace: 1},
			{Numbers: []int32{21, 2}, Namespace: 1}, {Numbers: []int32{9}}, {Numbers: []int32{12}}, {Numbers: []int32{5}},
			{Numbers: []int32{30}}, {Numbers: []int32{40}}, {Numbers: []int32{22, 3}, Namespace: 1}, {Numbers: []int32{6}},
		},
		Cut: forest.Cut{Walked: true},
		Producer: forest.Producer{Release: "6.18.0-test", Version: "#1 SMP", Machine: "x86_64",
			Tool: "v0", Time: 1767225600000000000},
	}
	f.Tasks = []forest.Task{
		task(1, 1, forest.Inherited, forest.Inherited, 0, "init"),
		task(2, 2, 2, 2, 1, "sh"),
		task(3, 3, 3, 2, 2, "sleep"),
		task(4, 4, 4, 4, 2, "bwrap"),
		task(5, 5, 11, 4, 4, "in\x1b[31m"),
		task(6, 2, 2, 2, 1, "worker"),
		task(7, 7, 8, 8, 1, "orphan"),
		task(9, 9, 9, 2, 1, "gone"),
		task(10, 10, 10, 10, 0, "exec'd"),
	}
	f.Tasks[1].Subreaper, f.Tasks[5].Subreaper = true, true
	f.Tasks[2].State, f.Tasks[2].StopSignal = forest.Stopped, 20
	f.Tasks[3].UserNamespace, f.Tasks[4].UserNamespace = 1, 1
	f.Tasks[3].PdeathSignal = 9
	f.Tasks[4].ChildNamespace = 2
	f.Tasks[4].UID, f.Tasks[4].EUID = 1000, 1000
	f.Tasks[6].ExitSignal = 0
	f.Tasks[7].State, f.Tasks[7].ExitCode = forest.Zombie, 0x8b
	f.References = []forest.Reference{
		{Object: 0, Kind: forest.PIDFD, Holder: 3, FD: 7},
		{Object: 1, Kind: forest.PIDFD, FD: forest.NoFD},
		{Object: 2, Kind: forest.TerminalSession, FD: forest.NoFD, Terminal: "pts1"},
		{Object: 2, Kind: forest.OwnerGroup, Holder: 6, FD: 5},
		{Object: 3, Kind: forest.TerminalGroup, FD: forest.NoFD, Terminal: "pts1"},
	}
	return f
}

func TestSampleIsValid(t *testing.T) {
	if err := forest.Validate(sample()); err != nil {
		t.Error(err)
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

func TestGolden(t *testing.T) {
	told := foresttest.Told()
	sub := sample()
	sub.Mode, sub.Cut = forest.Subtree, forest.Cut{Method: forest.Frozen}
	sub.Tasks = sub.Tasks[:7]
	sub.References = nil
	sub.Tasks[6].SID = forest.Outside
	sub.Inexact = []string{"task 7 (sh): for a \x07 test"}
	for _, tt := range []struct {
		name string
		f    *forest.Forest
		show func(io.Writer, *forest.Forest) error
	}{
		{"tree.txt", sample(), func(w io.Writer, f *forest.Forest) error { return Tree(w, f, Options{}) }},
		{"subtree.txt", sub, func(w io.Writer, f *forest.Forest) error { return Tree(w, f, Options{}) }},
		{"color.txt", sample(), func(w io.Writer, f *forest.Forest) error { return Tree(w, f, Options{Color: true}) }},
		{"table.txt", sample(), func(w io.Writer, f *forest.Forest) error { return Table(w, f, Options{}) }},
		{"forest.json", sample(), JSON},
		{"told.txt", told, func(w io.Writer, f *forest.Forest) error { return Tree(w, f, Options{}) }},
		{"told.json", told, JSON},
		{"saved.json", foresttest.Saved(), JSON},
		{"forest.svg", sample(), SVG},
		{"forest.dot", sample(), DOT},
		{"forest.html", sample(), func(w io.Writer, f *forest.Forest) error {
			return bare(w, func(w io.Writer) error { return HTML(w, f) })
		}},
		{"diff.html", sample(), func(w io.Writer, f *forest.Forest) error {
			return bare(w, func(w io.Writer) error {
				return HTMLDiff(w, f, sub, forest.Diff(f, sub, forest.DiffOptions{}), "a<b.img", "pid:7")
			})
		}},
	} {
		var b bytes.Buffer
		if err := tt.show(&b, tt.f); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		golden(t, tt.name, b.Bytes())
	}
}

// chain is n processes, each the child of the one before.
func chain(n int32) *forest.Forest {
	f := sample()
	f.Tasks, f.Pids, f.References = f.Tasks[:1], f.Pids[:1], nil
	for i := int32(2); i <= n; i++ {
		f.Pids = append(f.Pids, forest.Pid{Numbers: []int32{i}})
		tag := forest.Tag(i)
		f.Tasks = append(f.Tasks, forest.Task{Pid: tag, TGID: tag, PGID: forest.Inherited, SID: forest.Inherited,
			Parent: tag - 1, ParentThread: tag - 1, ExitSignal: forest.SIGCHLD, ChildNamespace: forest.SameNamespace, Comm: "x"})
	}
	return f
}

// A chain as deep as a namespace is large neither recurses nor indents for
// ever.
func TestDeepChain(t *testing.T) {
	f := chain(50000)
	var b bytes.Buffer
	if err := Tree(&b, f, Options{}); err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(b.Bytes(), []byte("\n")); n != 5+len(f.Tasks) {
		t.Errorf("%d lines for %d tasks", n, len(f.Tasks))
	}
	if b.Len() > 400*len(f.Tasks) {
		t.Errorf("%d bytes for %d tasks", b.Len(), len(f.Tasks))
	}
}

// Nothing that a process chose reaches a terminal as it is.
func TestEscaped(t *testing.T) {
	f := sample()
	for i := range f.Tasks {
		f.Tasks[i].Comm = "\x1b]0;\xff\n\r\u202e\x7f"
	}
	f.Producer.Release, f.Producer.Machine = "\x1b[2J", "\x9b"
	f.Inexact = []string{"\x1b"}
	f.References[2].Terminal, f.References[4].Terminal = "\x1b[2J", "\xff"
	for name, show := range map[string]func(io.Writer) error{
		"tree":  func(w io.Writer) error { return Tree(w, f, Options{}) },
		"table": func(w io.Writer) error { return Table(w, f, Options{}) },
		"json":  func(w io.Writer) error { return JSON(w, f) },
		"svg":   func(w io.Writer) error { return SVG(w, f) },
		"dot":   func(w io.Writer) error { return DOT(w, f) },
		"html":  func(w io.Writer) error { return HTML(w, f) },
	} {
		var b bytes.Buffer
		if err := show(&b); err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{"\x1b", "\xff", "\r", "\u202e", "\x7f", "\x9b"} {
			if strings.Contains(b.String(), bad) {
				t.Errorf("%s: %q gets through", name, bad)
			}
		}
	}
}

func TestJSONFitsSchema(t *testing.T) {
	const schema = "../../docs/schema/forest.v1.json"
	var b bytes.Buffer
	for _, f := range []*forest.Forest{foresttest.Told(), foresttest.Saved(), sample()} {
		b.Reset()
		if err := JSON(&b, f); err != nil {
			t.Fatal(err)
		}
		errs, err := schematest.Check(schema, b.Bytes())
		if err != nil || len(errs) > 0 {
			t.Error(err, strings.Join(errs, "\n"))
		}
	}
	// The checker can find something.
	var doc map[string]any
	if err := json.Unmarshal(b.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	doc["tasks"].([]any)[0].(map[string]any)["state"] = "asleep"
	delete(doc, "cut")
	doc["extra"] = 1.0
	wrong, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	if errs, err := schematest.Check(schema, wrong); err != nil || len(errs) != 3 {
		t.Errorf("a wrong document: %q, %v", errs, err)
	}
}
