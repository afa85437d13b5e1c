// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pidgraft/pidgraft/audit/history"
	"github.com/pidgraft/pidgraft/audit/record"
	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/image"
	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/internal/testforest"
	"github.com/pidgraft/pidgraft/restore"
	"github.com/pidgraft/pidgraft/restore/plan"
)

// dumped is the image of a container, and what was said meanwhile.
func dumped(t *testing.T, args ...string) (*forest.Forest, string, int) {
	t.Helper()
	var said bytes.Buffer
	cmd := pidgraft(append([]string{"dump"}, args...)...)
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, said.String(), cmd.ProcessState.ExitCode()
	}
	f, err := image.Read(bytes.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	return f, said.String(), 0
}

// bearer is the task that bears the leader of the ghost again, by the plan.
func bearer(t *testing.T, f *forest.Forest) int {
	t.Helper()
	p, err := restore.Plan(f, plan.Options{PidMax: 4 << 20, OwnPidMax: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, actor := range p.Actors {
		for _, op := range actor.Ops {
			if op.Code == plan.Clone && p.Actors[op.Child].Role == plan.RoleGhost {
				return actor.Task
			}
		}
	}
	t.Fatal("nobody bears a ghost")
	return 0
}

// Where tasks were born whose parents are gone, their shape does not say; an audit
// has seen it, over its own restart too, and the image tells.
func TestHistory(t *testing.T) {
	require.Root(t)
	require.Feature(t, require.BTF)
	f := testforest.Start(t, "outside fork init newpid\ninit fork a\ninit fork b")
	state := filepath.Join(t.TempDir(), "births")
	pid := fmt.Sprint(f.Root())
	follow := func(script string, last int32) {
		a := startAudit(t, "--pid", pid, "--state", state, "--hidden-every", "0")
		a.until("what there is", func(r record.Record) bool { return r.Snapshot != nil })
		do(t, f, script)
		a.until("the last birth", happened("birth", last))
		a.signal(syscall.SIGTERM)
		if code := a.end(); code != 0 {
			t.Fatalf("exit code %d", code)
		}
	}
	// A child of b's child leads a session, bears x, and is gone as is who bore
	// it; so is who bore y of a. Both are the init's by now.
	follow("b fork between\nbetween fork leader\nleader setsid\nleader fork x\nbetween exit 0\nb reap between\ninit fork w", 7)
	follow("leader exit 0\ninit reap leader\na fork child\nchild fork y\nchild exit 0\na reap child\ninit fork z", 10)

	told, said, code := dumped(t, "--history", state, pid)
	if code != 0 || said != "" {
		t.Fatalf("exit code %d: %s", code, said)
	}
	// Numbers are given out one after the other.
	names := map[int32]string{1: "init", 2: "a", 3: "b", 6: "x", 7: "w", 9: "y", 10: "z"}
	task := map[string]int{}
	for i := range told.Tasks {
		task[names[told.NumberIn(told.Tasks[i].Pid, 0)]] = i
	}
	if len(task) != len(names) || len(told.Tasks) != len(names) {
		t.Fatalf("%v of %d tasks", task, len(told.Tasks))
	}
	tag := func(name string) forest.Tag { return told.Tasks[task[name]].Pid }
	ghost := told.Tasks[task["x"]].SID
	for name, want := range map[string]forest.Origin{
		"x": {By: forest.Null, Departed: 0, Session: ghost, Group: ghost},
		"y": {By: tag("a"), Departed: forest.None, Between: 1, Session: forest.Inherited, Group: forest.Null},
		"z": {By: tag("init"), Departed: forest.None, Session: forest.Inherited, Group: forest.Null},
		"a": forest.Unknown(),
	} {
		if got := told.Origins[task[name]]; got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	if d := told.Departed; len(d) != 1 || d[0].By != tag("b") || d[0].Between != 1 || d[0].Object != ghost {
		t.Errorf("departed %+v, want one born of b's child that led %v", d, ghost)
	}
	guessed, _, _ := dumped(t, pid)
	if len(guessed.Origins) > 0 || bearer(t, guessed) != task["init"] || bearer(t, told) != task["b"] {
		t.Errorf("the leader of the session is born of task %d by guess, and of %d as told; want the init and b",
			bearer(t, guessed), bearer(t, told))
	}
	if d := forest.Diff(told, guessed, forest.DiffOptions{}); len(d) > 0 {
		t.Errorf("told, it is another forest: %v", d)
	}

	b, err := os.ReadFile(state)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		change func(*history.File)
		code   int
		says   string
	}{
		"another boot": {func(h *history.File) { h.Boot[3] ^= 1 }, exitRefused, "the history of another boot"},
		"other process": {func(h *history.File) {
			for i := range h.Entries {
				h.Entries[i].Start++
			}
		}, exitRefused, "does not know task 1"},
		"contradiction": {func(h *history.File) {
			for i := range h.Entries {
				if e := &h.Entries[i]; e.Nr == 6 {
					e.Session = 0
				}
			}
		}, exitDone, "is left out: the history contradicts what is there"},
	} {
		h, err := history.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		test.change(h)
		path := filepath.Join(t.TempDir(), "changed")
		if err := os.WriteFile(path, h.Encode(), 0o600); err != nil {
			t.Fatal(err)
		}
		got, said, code := dumped(t, "--history", path, pid)
		if code != test.code || !strings.Contains(said, test.says) || got != nil && len(got.Origins) > 0 {
			t.Errorf("%s: exit code %d, %s", name, code, said)
		}
		if name != "another boot" {
			continue
		}
		// An audit begins anew, and keeps off another namespace's.
		a := startAudit(t, "--pid", pid, "--state", path, "--hidden-every", "0")
		a.until("what there is", func(r record.Record) bool { return r.Snapshot != nil })
		a.signal(syscall.SIGTERM)
		a.end()
		if got, said, code := dumped(t, "--history", path, pid); code != 0 || said != "" || got.Origins[task["x"]] != forest.Unknown() {
			t.Errorf("begun anew: exit code %d, %s", code, said)
		}
		cmd := pidgraft("audit", "--pid", fmt.Sprint(os.Getpid()), "--state", state)
		if out, err := cmd.Output(); cmd.ProcessState.ExitCode() != exitRefused {
			t.Errorf("audit of another namespace: %v\n%s", err, out)
		}
	}
}
