// SPDX-License-Identifier: Apache-2.0

package finding

import (
	"strings"
	"testing"

	"github.com/pidgraft/pidgraft/audit/state"
	"github.com/pidgraft/pidgraft/collector"
)

// sound is a pass that shows nothing that cannot be: a namespace with an init and a
// task, below it another with an init.
func sound() *collector.Snapshot {
	task := func(id, pid collector.ID) collector.Task {
		return collector.Task{ID: id, StartTime: uint64(id), Pid: pid, TGID: pid, PGID: 1001, SID: 1001, GroupLeader: id}
	}
	pid := func(id, ns collector.ID, numbers ...int32) collector.Pid {
		return collector.Pid{ID: id, Namespace: ns, Level: len(numbers) - 1, Numbers: numbers, HasPID: true, HasTGID: true}
	}
	return &collector.Snapshot{
		Namespace: 11, Walked: true, IDR: []collector.ID{1001, 1002, 1003},
		Namespaces: []collector.Namespace{
			{ID: 11, Inode: 1, Level: 0, Reaper: 1}, {ID: 22, Inode: 2, Level: 1, Parent: 11, Reaper: 3},
		},
		Pids:  []collector.Pid{pid(1001, 11, 1), pid(1002, 11, 2), pid(1003, 22, 3, 1)},
		Tasks: []collector.Task{task(1, 1001), task(2, 1002), task(3, 1003)},
	}
}

func TestOfSnapshot(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil func(*collector.Snapshot)
		want  string // a part of the text; "": nothing is found
	}{
		{"nothing", func(*collector.Snapshot) {}, ""},
		{"a level", func(s *collector.Snapshot) { s.Namespaces[1].Level, s.Pids[2].Level = 2, 2 }, "is at level 2, and its parent is not right above"},
		{"an object's level", func(s *collector.Snapshot) { s.Pids[1].Level = 1 }, "number 2 has level 1, and its namespace 1 level 0"},
		{"a chain", func(s *collector.Snapshot) { s.Misnumbered = []collector.ID{1003} }, "number 3/1 is in namespaces that are not those above its own"},
		{"a number twice", func(s *collector.Snapshot) { s.Pids[2].Numbers = []int32{2, 1} }, "are both number 2 of pid namespace 1"},
		{"one that goes", func(s *collector.Snapshot) {
			s.Pids[2].Numbers, s.Pids[2].HasPID, s.Pids[2].HasTGID = []int32{2, 1}, false, false
		}, ""},
		{"not in the idr", func(s *collector.Snapshot) { s.IDR = s.IDR[:2] }, "number 3/1 is in use, and the idr of pid namespace 1 does not lead to it"},
		{"no idr", func(s *collector.Snapshot) { s.IDR, s.Walked = nil, false }, ""},
		{"number 0", func(s *collector.Snapshot) {
			s.Pids = append(s.Pids, collector.Pid{ID: 1000, Namespace: 11, Numbers: []int32{0}, HasSID: true})
		}, ""},
		{"a reaper", func(s *collector.Snapshot) { s.Namespaces[1].Reaper = 2 }, "pid namespace 2 has an init, and its reaper is another process"},
		{"a reaper that is gone", func(s *collector.Snapshot) { s.Namespaces[1].Reaper = 99 }, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := sound()
			before, err := state.FromSnapshot(s)
			if err != nil {
				t.Fatal(err)
			}
			test.spoil(s)
			all := OfSnapshot(before, s)
			switch {
			case test.want == "" && len(all) == 0:
			case test.want == "" || len(all) != 1 || !strings.Contains(all[0].Text, test.want) || all[0].Severity != Critical:
				t.Errorf("found %+v, want %q", all, test.want)
			case all[0].Namespace == nil:
				t.Errorf("%q is of no namespace", all[0].Text)
			}
		})
	}
}
