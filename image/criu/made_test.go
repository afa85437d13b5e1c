// SPDX-License-Identifier: Apache-2.0

package criu

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/image/criu/packing"
	"github.com/pidgraft/pidgraft/internal/require"
)

// made reads a checkpoint that CRIU itself made: see testdata/made/README.md.
func made(t *testing.T, name string) *forest.Forest {
	t.Helper()
	in, err := os.Open(filepath.Join("testdata", "made", name+".tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	p, r := packing.Sniff(in)
	f, err := ReadArchive(r, p)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// witnessed is a forest in the form of the witness, which the kernel wrote.
func witnessed(f *forest.Forest) []string {
	number := func(tag forest.Tag) int32 {
		if tag == forest.Outside {
			return 0
		}
		return f.Pid(tag).Numbers[0]
	}
	tasks := slices.Clone(f.Tasks)
	slices.SortFunc(tasks, func(a, b forest.Task) int { return cmp.Compare(number(a.Pid), number(b.Pid)) })
	var lines []string
	for i := range tasks {
		t := &tasks[i]
		state := "S"
		switch t.State {
		case forest.Stopped:
			state = "T"
		case forest.Zombie:
			state = "Z"
		}
		lines = append(lines, fmt.Sprint(number(t.Pid), number(t.TGID), number(t.Parent), number(t.PGID), number(t.SID))+" "+state+" "+t.Comm)
	}
	return lines
}

// What CRIU dumped is what /proc showed, and goes back and forth without loss.
// CRIU's crit reads what is written.
func TestMade(t *testing.T) {
	for _, name := range []string{"container", "subtree"} {
		t.Run(name, func(t *testing.T) {
			f := made(t, name)
			text, err := os.ReadFile(filepath.Join("testdata", "made", name+".txt"))
			if err != nil {
				t.Fatal(err)
			}
			want := strings.Split(strings.TrimSpace(string(text)), "\n")[1:]
			if got := witnessed(f); !slices.Equal(got, want) {
				t.Errorf("read is\n%s\nthe kernel said\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			files, lost, err := Write(f)
			if err != nil || len(lost) > 0 {
				t.Fatalf("lost %q, %v", lost, err)
			}
			if d := forest.Diff(f, read(t, files), forest.DiffOptions{LiveIDs: true}); len(d) > 0 {
				t.Errorf("there and back it is another: %v", d)
			}
			require.Feature(t, require.Program("crit", "criu"))
			compareWithCrit(t, f)
		})
	}
}
