// SPDX-License-Identifier: Apache-2.0

package container

import (
	"testing"
	"time"

	"github.com/pidgraft/pidgraft/audit/event"
	"github.com/pidgraft/pidgraft/audit/state"
	"github.com/pidgraft/pidgraft/collector"
)

// put adds a task with number nr of the machine, and inner of a namespace.
func put(s *state.State, nr, inner int32, ns collector.ID, inode uint32, object collector.ID) {
	e := event.Task{
		ID: collector.ID(nr), StartTime: uint64(nr), Pid: object, Process: object, Group: object, Session: object,
		Numbers: []event.Number{{Nr: nr, Inode: 1, Namespace: 11}},
	}
	if inner != 0 {
		e.Numbers = append(e.Numbers, event.Number{Nr: inner, Inode: inode, Namespace: ns})
	}
	s.Put(e)
}

func TestNames(t *testing.T) {
	s := state.New(0)
	put(s, 1, 0, 0, 0, 1001)
	put(s, 50, 1, 22, 2, 1050)
	put(s, 51, 2, 22, 2, 1051)
	n := NewNames(0)
	now := uint64(time.Hour)

	due := n.Due(s, now)
	if len(due) != 1 || due[0].Number != 50 {
		t.Fatalf("due are %+v, want only the init of namespace 2", due)
	}
	if again := n.Due(s, now); len(again) != 0 {
		t.Errorf("due at once again: %+v", again)
	}
	n.Take(s, due[0], "0::/docker/"+id+"\n")
	if got := n.Of(2); got.ID != id {
		t.Errorf("namespace 2 is %+v", got)
	}
	if got := n.Of(1); got != (Name{}) {
		t.Errorf("the machine is %+v", got)
	}
	now += uint64(time.Second)
	due = n.Due(s, now)
	if len(due) != 1 {
		t.Fatalf("due after a second are %+v", due)
	}
	n.Take(s, due[0], "0::/\n")
	if got := n.Of(2); got.ID != id {
		t.Errorf("its name was lost: %+v", got)
	}

	// The answer comes late: its number is another's, in a namespace with the
	// address and the inode of the one that was.
	now += uint64(10 * time.Second)
	due = n.Due(s, now)
	s.Remove(50, 50)
	s.Remove(51, 51)
	n.Due(s, now)
	if got := n.Of(2); got != (Name{}) {
		t.Errorf("namespace 2 is no more, and is %+v", got)
	}
	put(s, 50, 1, 22, 2, 2050)
	fresh := n.Due(s, now)
	n.Take(s, due[0], "0::/docker/"+id+"\n")
	if got := n.Of(2); got != (Name{}) {
		t.Errorf("an answer about another init was taken: %+v", got)
	}
	n.Take(s, fresh[0], "0::/docker/"+other+"\n")
	if got := n.Of(2); got.ID != other {
		t.Errorf("namespace 2 is %+v", got)
	}
}
