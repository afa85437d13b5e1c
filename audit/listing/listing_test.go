// SPDX-License-Identifier: Apache-2.0

package listing

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pidgraft/pidgraft/audit/container"
	"github.com/pidgraft/pidgraft/audit/event"
	"github.com/pidgraft/pidgraft/audit/state"
	"github.com/pidgraft/pidgraft/internal/schematest"
)

// sample is a shell with a thread, whose child is in a namespace of its own and in
// a group whose leader is gone; and a zombie.
func sample() *state.State {
	top := func(nr int32) event.Number { return event.Number{Nr: nr, Inode: 10, Namespace: 0x10} }
	in := func(nr int32) event.Number { return event.Number{Nr: nr, Inode: 20, Namespace: 0x20} }
	s := state.New(0)
	s.Put(event.Task{ID: 1, StartTime: 1_500_000_000, Pid: 0x100, Process: 0x100, Group: 0x100, Session: 0x100,
		Numbers: []event.Number{top(4)}, Comm: "sh"})
	s.Put(event.Task{ID: 2, StartTime: 2, Pid: 0x200, Process: 0x100, Group: 0x100, Session: 0x100,
		Numbers: []event.Number{top(5)}, Comm: "io\x1b"})
	s.Put(event.Task{ID: 9, StartTime: 3, Pid: 0x900, Process: 0x900, Group: 0x900, Session: 0x100,
		Numbers: []event.Number{top(11)}, Comm: "leader", Parent: 1})
	s.Put(event.Task{ID: 3, StartTime: 4, Pid: 0x300, Process: 0x300, Group: 0x900, Session: 0x100,
		Numbers: []event.Number{top(20), in(1)}, Comm: "init", UID: 1000, Parent: 1})
	s.Remove(9, 3)
	return s
}

func names(inode uint32) container.Name {
	if inode == 20 {
		return container.Name{Runtime: container.Docker, ID: strings.Repeat("3f", 32), Pod: "p-1"}
	}
	return container.Name{}
}

func all(*state.Object) bool { return true }

func TestTable(t *testing.T) {
	rows := Rows(sample(), names, all)
	if err := Sort(rows, "numbers"); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := Table(&b, rows, append(Default, "start", "pod"), 0); err != nil {
		t.Fatal(err)
	}
	want := `NUMBERS  NAMESPACE  USES                   PROCESS  PARENT  GROUP  SESSION  STATE   UID  COMM    START  POD
4               10  pid tgid:2 pgid sid:2        4       -      4        4  live      0  sh      1.500  -
5               10  pid                          4       -      4        4  live      0  io\x1b  0.000  -
11              10  pgid                         -       -      -        -  ghost     -  -           -  -
20/1            20  pid tgid                    20       4     11        4  live   1000  init    0.000  p-1
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	// From inside the inner namespace what is outside has no number.
	b.Reset()
	if err := Table(&b, rows[3:], []string{"numbers", "group"}, 1); err != nil {
		t.Fatal(err)
	}
	if b.String() != "NUMBERS  GROUP\n1            -\n" {
		t.Errorf("%q", b.String())
	}
}

func TestSort(t *testing.T) {
	rows := Rows(sample(), names, all)
	for by, want := range map[string]string{
		"numbers": "4 5 11 20", "-numbers": "20 11 5 4", "-uses": "4 11 20 5", "comm": "11 20 5 4", "-uid": "20 4 5 11",
	} {
		if err := Sort(rows, by); err != nil {
			t.Fatal(err)
		}
		var is []string
		for _, r := range rows {
			is = append(is, chain(r.Numbers[:1], 0))
		}
		if strings.Join(is, " ") != want {
			t.Errorf("by %s: %v, want %s", by, is, want)
		}
	}
	if Sort(rows, "pid") == nil {
		t.Error("a column that is none")
	}
}

func TestJSON(t *testing.T) {
	s := sample()
	var b bytes.Buffer
	for name, write := range map[string]func() error{
		"ps.v1.json":  func() error { return JSON(&b, Rows(s, names, all)) },
		"map.v1.json": func() error { return MapsJSON(&b, Maps([]*state.Object{s.Object(0x300), s.Object(0x900)}, names, 10)) },
	} {
		b.Reset()
		if err := write(); err != nil {
			t.Fatal(err)
		}
		errs, err := schematest.Check("../../docs/schema/"+name, b.Bytes())
		if err != nil || len(errs) > 0 {
			t.Errorf("%s: %v, %s\n%s", name, err, strings.Join(errs, "\n"), b.String())
		}
		// A name is as in a Go string, as wherever one is shown.
		if name == "ps.v1.json" && !strings.Contains(b.String(), `"comm": "io\\x1b"`) {
			t.Errorf("%s has not the name of the thread:\n%s", name, b.String())
		}
	}
}

func TestMaps(t *testing.T) {
	s := sample()
	maps := Maps([]*state.Object{s.Object(0x300), s.Object(0x900), s.Object(0x300)}, names, 10)
	var b bytes.Buffer
	if err := MapsTable(&b, maps); err != nil {
		t.Fatal(err)
	}
	want := "LEVEL   NAMESPACE   NUMBER  WHERE\n" +
		"    0          10       11  here  (ghost)\n\n" +
		"    0          10       20  here\n" +
		"    1          20        1  " + strings.Repeat("3f", 32) + "  init\n"
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}
