// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"testing"

	"github.com/pidgraft/pidgraft/collector"
	"github.com/pidgraft/pidgraft/internal/testforest"
)

// Each event of the target is counted, under its name, and those of others are
// not.
func TestChanges(t *testing.T) {
	privileged(t)
	all := loaders{}
	const base = `
		outside fork init newpid
		init fork a
		init fork b
		b fork c
		b fork d
		init fork n newpid`
	for _, test := range []struct {
		script string
		want   collector.Changes
	}{
		{"b fork x", collector.Changes{Forks: 1}},
		{"b fork x vm", collector.Changes{Forks: 1}},
		{"b thread x", collector.Changes{Forks: 1}},
		{"b sleepers 3", collector.Changes{Forks: 3}},
		{"b setsid", collector.Changes{Setsids: 1}},
		{"b setpgid self self", collector.Changes{Setpgids: 1}},
		{"c exit 0", collector.Changes{Exits: 1}},
		{"c exec", collector.Changes{Execs: 1}},
		{"b subreaper 1", collector.Changes{Prctls: 1}},
		{"b unshare pid", collector.Changes{Unshares: 1}},
		{"b setns n pid", collector.Changes{Setns: 1}},
	} {
		each := t
		t.Run(test.script, func(t *testing.T) {
			for _, scope := range []Scope{Container, Subtree} {
				root := "init"
				if scope == Subtree {
					root = "b"
				}
				f, other := testforest.Start(t, base), testforest.Start(t, base)
				l := all.start(each, Target{PID: f.PID(root), Scope: scope})
				before, err := l.Changes()
				if err != nil {
					t.Fatal(err)
				}
				if err := other.Run(test.script); err != nil {
					t.Fatal(err)
				}
				if err := f.Run("a fork y\na setsid"); scope == Subtree && err != nil {
					t.Fatal(err)
				}
				beside, err := l.Changes()
				if err != nil {
					t.Fatal(err)
				}
				if d := minus(beside, before); scope == Subtree && d != (collector.Changes{}) {
					t.Errorf("scope %d: events beside the target were counted: %+v", scope, d)
				}
				if err := f.Run(test.script); err != nil {
					t.Fatal(err)
				}
				got, err := l.Changes()
				if err != nil {
					t.Fatal(err)
				}
				got = minus(got, beside)
				if test.want.Prctls == 0 {
					got.Prctls = 0 // a new puppet makes one of its own
				}
				got.Missed = 0 // of all the machine
				if got != test.want {
					t.Errorf("scope %d: got %+v, want %+v", scope, got, test.want)
				}
			}
		})
	}
}

func minus(a, b collector.Changes) collector.Changes {
	return collector.Changes{
		Forks: a.Forks - b.Forks, Execs: a.Execs - b.Execs, Exits: a.Exits - b.Exits,
		Setsids: a.Setsids - b.Setsids, Setpgids: a.Setpgids - b.Setpgids,
		Setns: a.Setns - b.Setns, Unshares: a.Unshares - b.Unshares, Prctls: a.Prctls - b.Prctls,
		Missed: a.Missed - b.Missed,
	}
}

func TestUnwatched(t *testing.T) {
	privileged(t)
	f := testforest.Start(t, "outside fork init newpid")
	l := start(t, Target{PID: f.Root(), Unwatched: true})
	if err := f.Run("init fork a"); err != nil {
		t.Fatal(err)
	}
	if c, err := l.Changes(); err != nil || c != (collector.Changes{}) {
		t.Errorf("got %+v, %v", c, err)
	}
}
