// SPDX-License-Identifier: Apache-2.0

package model

import (
	"strings"
	"testing"

	"github.com/pidgraft/pidgraft/forest"
)

// A history reads as a script, and each kind of step has words of its own.
func TestHistoryPrints(t *testing.T) {
	h := &History{Root: 3, Steps: []Step{
		{Kind: ForkUser, Actor: Outsider, Child: 3, Flags: NewPID | NewUser, Number: forest.SIGCHLD},
		{Kind: ForkNamed, Actor: 3, Child: 4, SetTID: []int32{7, 9}, Number: 10},
		{Kind: MoveChild, Actor: 3, Target: 4, Errno: EACCES},
	}}
	want := "# container, root t3; t1 is the machine's init, t2 a task outside\n" +
		"t2: clone(NEWPID, NEWUSER) = t3\n" +
		"t3: clone(exit_signal 10, set_tid [7 9]) = t4\n" +
		"t3: setpgid(t4, 0) = EACCES\n"
	if got := h.String(); got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
	for k := range nrKinds {
		if s := (&Step{Kind: k}).call(); strings.HasPrefix(s, "step") {
			t.Errorf("kind %d prints as %q", k, s)
		}
	}
}

// A replay that goes another way than the history says is an error.
func TestReplayChecks(t *testing.T) {
	h := &History{Steps: []Step{{Kind: NewSession, Actor: Outsider}}}
	if _, err := h.Replay(); err == nil || !strings.Contains(err.Error(), "EPERM") {
		t.Errorf("got %v, want EPERM: the outsider leads a session already", err)
	}
}
