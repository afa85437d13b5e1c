// SPDX-License-Identifier: Apache-2.0

package entry

import (
	"strings"
	"testing"

	"github.com/pidgraft/pidgraft/audit/event"
)

func birth(comm string, from uint32, nr int32) event.Event {
	return event.Event{
		Kind:    event.Birth,
		Task:    event.Task{Numbers: []event.Number{{Nr: 700, Inode: 1, Namespace: 10}, {Nr: nr, Inode: 2, Namespace: 20}}},
		Creator: event.Creator{Namespace: 10, Inode: from, Comm: comm, UID: 5},
	}
}

func TestOf(t *testing.T) {
	inside := birth("sh", 2, 9)
	inside.Creator.Namespace = 20
	exec := birth("sh", 1, 9)
	exec.Kind = event.Exec
	released := birth("sh", 1, 9)
	released.Task.Numbers = nil
	for name, test := range map[string]struct {
		e    event.Event
		want bool
	}{
		"from outside": {birth("sh", 1, 9), true},
		"init":         {birth("sh", 1, 1), false},
		"from inside":  {inside, false},
		"no birth":     {exec, false},
		"gone":         {released, false},
	} {
		if _, got := Of(test.e); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestList(t *testing.T) {
	for _, test := range []struct {
		list string
		comm string
		want bool
	}{
		{"", "runc", false},
		{"# nobody\n\n", "runc", false},
		{"comm=runc", "runc", true},
		{"comm=runc", "runc2", false},
		{"comm=runc:*", "runc:[1:CHILD]", true},
		{"comm=runc # the runtime", "runc", true},
		{"comm=runc uid=5", "runc", true},
		{"comm=runc uid=0", "runc", false},
		{"comm=runc from=1 into=2", "runc", true},
		{"comm=runc from=2", "runc", false},
		{"into=3", "runc", false},
		{"uid=0\ncomm=r*", "runc", true},
		{`comm=a\x20b`, "a b", true},
	} {
		l, err := ParseList(strings.NewReader(test.list))
		if err != nil {
			t.Errorf("%q: %v", test.list, err)
			continue
		}
		e, _ := Of(birth(test.comm, 1, 9))
		if got := l.Allows(e); got != test.want {
			t.Errorf("%q allows %q: %v", test.list, test.comm, got)
		}
	}
	for _, bad := range []string{"runc", "comm=[", "uid=x", "uid=-1", "from=", "comm=runc\nwho=1"} {
		if _, err := ParseList(strings.NewReader(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		} else if !strings.Contains(err.Error(), "line ") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
