// SPDX-License-Identifier: Apache-2.0

package witness_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pidgraft/pidgraft/internal/leak"
	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/internal/testforest"
	"github.com/pidgraft/pidgraft/internal/witness"
)

func TestMain(m *testing.M) { os.Exit(leak.Checked(m, testforest.Close).Run()) }

// read is the forest of a script and its tasks by name.
func read(t *testing.T, script string) (*witness.Forest, map[string]witness.Task) {
	t.Helper()
	require.Root(t)
	f, err := witness.Read(testforest.Start(t, script).Root())
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]witness.Task{}
	for _, task := range f.Tasks {
		byName[task[witness.Comm]] = task
	}
	return f, byName
}

func TestReadFields(t *testing.T) {
	_, tasks := read(t, `
		outside fork init newpid
		init setsid
		init fork a num=10
		a setsid
		a thread t num=20
		t fork b num=9
		a fork c num=8
		c setpgid self self
		c fork n newpid num=30/1
		n fork d
		c exit 3
		a exit-thread 0
		init fork k
		host kill k TERM
		init fork s
		host kill s STOP
		init fork e sig=USR1
		e unshare pid`)
	for _, want := range []struct {
		name  string
		field witness.Field
		value string
	}{
		{"init", witness.Session, "1"},
		{"init", witness.Children, "10 30/1 3 4 5"},
		{"a", witness.State, "zombie"},
		{"a", witness.Threads, "10 20"},
		{"t", witness.Process, "10"},
		{"t", witness.Children, "9 8"},
		{"b", witness.Parent, "10"},
		{"b", witness.Session, "10"},
		{"b", witness.Group, "10"},
		{"c", witness.ExitCode, "768"},
		{"n", witness.Group, "8/0"},
		{"d", witness.Group, "8/0"},
		{"n", witness.Parent, "1"},
		{"d", witness.Parent, "30/1"},
		{"k", witness.ExitCode, "15"},
		{"s", witness.State, "stopped"},
		{"e", witness.ExitSignal, "10"},
		{"e", witness.Born, "empty"},
		{"b", witness.Born, "own"},
	} {
		if got := tasks[want.name][want.field]; got != want.value {
			t.Errorf("%s of %s is %q, want %q", want.field, want.name, got, want.value)
		}
	}
}

func TestReadUserNamespaces(t *testing.T) {
	_, tasks := read(t, `
		outside fork init newpid
		init fork u newuser newpid
		host maps u uid 0 1000 1
		host setgroups u deny
		u fork a`)
	for _, want := range []struct {
		name  string
		field witness.Field
		value string
	}{
		{"init", witness.Users, "1"},
		{"u", witness.Users, "2/1 in 1"},
		{"a", witness.Users, "2/1 in 1"},
		{"a", witness.Owner, "2/1 in 1"},
		{"init", witness.Owner, "1"},
		{"u", witness.UIDMap, "0 1000 1"},
		{"u", witness.Setgroups, "deny"},
	} {
		if got := tasks[want.name][want.field]; got != want.value {
			t.Errorf("%s of %s is %q, want %q", want.field, want.name, got, want.value)
		}
	}
}

func TestGhosts(t *testing.T) {
	f, _ := read(t, `
		outside fork init newpid
		init fork a
		a setsid
		a fork b
		b setpgid self self
		b fork c
		a exit 0
		init reap a
		b exit 0
		init reap b`)
	want := []string{"group 3", "session 2"}
	if diff := cmp.Diff(want, f.Ghosts()); diff != "" {
		t.Error(diff)
	}
}

func TestReadSubtree(t *testing.T) {
	f, tasks := read(t, `
		outside fork top
		host target top
		top fork a
		outside fork other
		other setpgid self self
		top setpgid a other
		a fork b
		b setsid`)
	if len(f.Tasks) != 3 {
		t.Errorf("the subtree has %d tasks, want 3: %v", len(f.Tasks), f.Keys())
	}
	if got := tasks["a"][witness.Session]; got != "inherited" {
		t.Errorf("session of a is %q", got)
	}
	// A number, which no task of the forest has.
	if got := tasks["a"][witness.Group]; got == "0" || f.Tasks[witness.Key(got)] != nil || got[0] < '0' || got[0] > '9' {
		t.Errorf("group of a is %q", got)
	}
	if got := tasks["top"][witness.Group]; got != "inherited" {
		t.Errorf("group of top is %q", got)
	}
	if got := tasks["b"][witness.Session]; got != string(f.Keys()[2]) {
		t.Errorf("session of b is %q", got)
	}
}

// TestCompareSeesEveryKind holds each sample against each other one: a witness
// that calls two kinds of forest alike would prove nothing.
func TestCompareSeesEveryKind(t *testing.T) {
	var names []string
	var forests []*witness.Forest
	for n, s := range testforest.Samples() {
		if s.Subtree || testing.Short() && n%4 != 0 {
			continue // their numbers differ from run to run
		}
		f, _ := read(t, s.Script)
		names, forests = append(names, s.Name), append(forests, f)
	}
	for i, a := range forests {
		for j, b := range forests {
			if same := len(witness.Compare(a, b)) == 0; same != (i == j) {
				t.Errorf("%s and %s: alike is %v", names[i], names[j], same)
			}
		}
	}
}

func TestCompareWords(t *testing.T) {
	a := &witness.Forest{Root: "1", Tasks: map[witness.Key]witness.Task{
		"1": {witness.Comm: "init", witness.Group: "1"},
		"2": {witness.Comm: "old"},
		"4": {witness.Comm: "same", witness.LiveIDs: "0"},
	}}
	b := &witness.Forest{Root: "1", Tasks: map[witness.Key]witness.Task{
		"1": {witness.Comm: "init", witness.Group: "3"},
		"3": {witness.Comm: "young"},
		"4": {witness.Comm: "same", witness.LiveIDs: "1"},
	}}
	want := []string{
		`task 1 (init): group is "1", then "3"`,
		`task 2 (old) is missing`,
		`task 3 (young) is new`,
	}
	if diff := cmp.Diff(want, witness.Compare(a, b, witness.LiveIDs)); diff != "" {
		t.Error(diff)
	}
	if all := witness.Compare(a, b); !slices.ContainsFunc(all, func(s string) bool { return strings.Contains(s, "live ids") }) {
		t.Errorf("live ids were ignored: %q", all)
	}
}
