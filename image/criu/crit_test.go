// SPDX-License-Identifier: Apache-2.0

package criu

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/internal/require"
)

// critFile is what `crit show` prints of a file.
type critFile[E any] struct {
	Magic   string `json:"magic"`
	Entries []E    `json:"entries"`
}

type critProcess struct {
	PID     int32   `json:"pid"`
	PPID    int32   `json:"ppid"`
	PGID    int32   `json:"pgid"`
	SID     int32   `json:"sid"`
	Threads []int32 `json:"threads"`
}

type critCore struct {
	Mtype string `json:"mtype"`
	Task  *struct {
		State     critState `json:"task_state"`
		ExitCode  int32     `json:"exit_code"`
		Comm      string    `json:"comm"`
		Subreaper bool      `json:"child_subreaper"`
	} `json:"tc"`
	Thread *struct {
		Pdeath int32  `json:"pdeath_sig"`
		Comm   string `json:"comm"`
		Creds  struct {
			UID  uint32 `json:"uid"`
			GID  uint32 `json:"gid"`
			EUID uint32 `json:"euid"`
			EGID uint32 `json:"egid"`
		} `json:"creds"`
	} `json:"thread_core"`
}

// critState is a task's state by its number. crit has words for some, not all of
// which are those of CRIU: what it calls Zombie is stopped, and no word is dead.
type critState int

func (s *critState) UnmarshalJSON(b []byte) error {
	if n, ok := map[string]critState{`"Alive"`: 1, `"Zombie"`: 3, `"Stopped"`: 6}[string(b)]; ok {
		*s = n
		return nil
	}
	return json.Unmarshal(b, (*int)(s))
}

func crit[E any](t *testing.T, dir, name, magic string) []E {
	t.Helper()
	out, err := exec.Command("crit", "show", filepath.Join(dir, name)).CombinedOutput()
	if err != nil {
		t.Fatalf("crit show %s: %v\n%s", name, err, out)
	}
	var f critFile[E]
	if err := json.Unmarshal(out, &f); err != nil {
		t.Fatalf("crit show %s: %v\n%s", name, err, out)
	}
	if f.Magic != magic {
		t.Errorf("crit show %s: the magic is that of %s", name, f.Magic)
	}
	return f.Entries
}

// TestCrit: Debian's crit reads what is written, and says the same as the forest.
func TestCrit(t *testing.T) {
	require.Feature(t, require.Program("crit", "criu"))
	for name, f := range goldens() {
		t.Run(name, func(t *testing.T) { compareWithCrit(t, f) })
	}
}

func compareWithCrit(t *testing.T, f *forest.Forest) {
	// A name that is not UTF-8 crit shows in its own way, and complains.
	g := *f
	g.Tasks = slices.Clone(f.Tasks)
	for i := range g.Tasks {
		g.Tasks[i].Comm = strings.ToValidUTF8(g.Tasks[i].Comm, "?")
	}
	f = &g
	dir := t.TempDir()
	for _, file := range written(t, f) {
		if err := os.WriteFile(filepath.Join(dir, file.Name), file.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	number := func(tag forest.Tag, otherwise int32) int32 {
		if p := f.Pid(tag); p != nil {
			return p.Numbers[0]
		}
		return otherwise
	}
	processes := crit[critProcess](t, dir, "pstree.img", "PSTREE")
	for i := range f.Tasks {
		task := &f.Tasks[i]
		n := number(task.Pid, 0)
		core := crit[critCore](t, dir, fmt.Sprintf("core-%d.img", n), "CORE")[0]
		if task.IsLeader() {
			at := slices.IndexFunc(processes, func(p critProcess) bool { return p.PID == n })
			if at < 0 {
				t.Fatalf("crit does not know process %d", n)
			}
			p := processes[at]
			if p.PPID != number(task.Parent, 0) || p.PGID != number(task.PGID, p.PGID) || p.SID != number(task.SID, p.SID) {
				t.Errorf("crit says %+v\nof %+v", p, *task)
			}
			var threads []int32
			for j := range f.Tasks {
				if f.Tasks[j].TGID == task.TGID {
					threads = append(threads, number(f.Tasks[j].Pid, 0))
				}
			}
			if !slices.Equal(threads, p.Threads) {
				t.Errorf("crit says that %d has threads %v, and it has %v", n, p.Threads, threads)
			}
			state := map[forest.State]critState{forest.Running: 1, forest.Zombie: 2, forest.Stopped: 3}[task.State]
			if core.Task.State != state || core.Task.Comm != task.Comm || core.Task.Subreaper != task.Subreaper {
				t.Errorf("crit says %+v of %d\n%+v", *core.Task, n, *task)
			}
			if task.State == forest.Zombie {
				if core.Task.ExitCode != task.WaitStatus() {
					t.Errorf("crit says that %d ended by %d, and it did by %d", n, core.Task.ExitCode, task.WaitStatus())
				}
				continue
			}
		} else if core.Task != nil {
			t.Errorf("crit says %+v of thread %d", *core.Task, n)
		}
		if core.Thread == nil || core.Thread.Comm != task.Comm || core.Thread.Pdeath != task.PdeathSignal {
			t.Errorf("crit says %+v of %d\n%+v", core.Thread, n, *task)
		}
		if c := core.Thread.Creds; task.UserNamespace == 0 && (c.UID != task.UID || c.EUID != task.EUID || c.GID != task.GID || c.EGID != task.EGID) {
			t.Errorf("crit says %+v of %d\n%+v", c, n, *task)
		}
	}
	// And all of it at once, as a tree.
	out, err := exec.Command("crit", "x", dir, "ps").CombinedOutput()
	if err != nil {
		t.Errorf("crit x ps: %v\n%s", err, out)
	}
	if lines := strings.Count(string(out), "\n"); lines != 1+len(f.Tasks) && lines != 1+len(processes) {
		t.Errorf("crit x ps has %d lines:\n%s", lines, out)
	}
}
