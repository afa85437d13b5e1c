// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore/plan"
)

func pidMax(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/kernel/pid_max")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A namespace's own pid_max is written where there is one, and never where
// that would be the machine's.
func TestPidMax(t *testing.T) {
	requireRoot(t)
	each, err := PidMaxEach(nil)
	if err != nil {
		t.Fatal(err)
	}
	before := pidMax(t)
	s := newScript(t)
	s.clone("init", "a", 0, 400)
	s.hold("a")
	s.do("init", plan.Op{Code: plan.PidMax, Number: 301})
	s.hold("init")
	s.withTasks(map[string]forest.Task{"init": {}}, map[string][]int32{"init": {1}})
	out, in := pipe(t, 10*time.Second)
	_, err = Run(context.Background(), s.forest, s.finished(),
		Options{Stdout: in, Exec: "cat /proc/sys/kernel/pid_max"})
	in.Close()
	if after := pidMax(t); after != before {
		t.Fatalf("this machine's pid_max became %s", after)
	}
	var cannot *CannotRunError
	if !each {
		if !errors.As(err, &cannot) {
			t.Errorf("pid_max is the machine's: %v", err)
		}
		return
	}
	if text, _ := io.ReadAll(out); err != nil || string(text) != "301\n" {
		t.Errorf("pid_max inside is %q (%v)", text, err)
	}
}

// Numbers above this namespace's pid_max fit where every namespace has its
// own; elsewhere that is said before anything is made.
func TestLargeNumbers(t *testing.T) {
	requireRoot(t)
	each, err := PidMaxEach(nil)
	if err != nil {
		t.Fatal(err)
	}
	s := newScript(t)
	s.clone("init", "a", 0, 1<<22-1)
	s.hold("init", "a")
	if each || strings.TrimSpace(pidMax(t)) == "4194304" {
		s.expect(Options{}, `
			1 init S parent - pgid 0 sid 0
			4194303 a S parent 1 pgid 0 sid 0
		`)
		return
	}
	var cannot *CannotRunError
	if _, err := Run(context.Background(), s.forest, s.finished(), Options{}); !errors.As(err, &cannot) {
		t.Errorf("run: %v", err)
	}
}

// From the wrong place, nothing is even tried.
func TestWrongPlace(t *testing.T) {
	requireRoot(t)
	for want, attr := range map[string]*syscall.SysProcAttr{
		"the initial user namespace": {
			Cloneflags:  unix.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{HostID: 0, Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: 0, Size: 1}},
		},
		"a /proc of this pid namespace": {Cloneflags: unix.CLONE_NEWPID},
	} {
		cmd := restorer(t, "shared")
		cmd.SysProcAttr = attr
		var said bytes.Buffer
		cmd.Stderr = &said
		if err := cmd.Run(); err == nil || !strings.Contains(said.String(), want) {
			t.Errorf("want %q: %v, %s", want, err, said.String())
		}
	}
	nothingLeft(t)
}

// A plan with a fault is refused, whatever the planner.
func TestFaultyPlans(t *testing.T) {
	for want, fault := range map[string]func(s *script){
		"has no program":               func(s *script) { s.actor("b") },
		"is made by nobody":            func(s *script) { s.hold("b") },
		"makes actor 2, which is":      func(s *script) { s.clone("init", "a", 0, 8) },
		"operation 1 of 5 is hold":     func(s *script) { s.comm("a") },
		"is after {9 0}":               func(s *script) { s.do("init", plan.Op{Code: plan.Nop}, plan.Ref{Actor: 9}) },
		"write-maps is not for it":     func(s *script) { s.do("init", plan.Op{Code: plan.WriteMaps, Number: 1, Child: 2}) },
		"setsid is not for it":         func(s *script) { s.do("restorer", plan.Op{Code: plan.Setsid}) },
		"user namespace 4, child 2":    func(s *script) { s.do("restorer", plan.Op{Code: plan.WriteMaps, Number: 4, Child: 2}) },
		"33 numbers":                   func(s *script) { s.clone("init", "b", 0, make([]int32, 33)...) },
		"exit signal 65":               func(s *script) { s.do("init", plan.Op{Code: plan.Clone, Child: s.actor("b"), Signal: 65}) },
		"via -1":                       func(s *script) { s.do("init", plan.Op{Code: plan.JoinPID, Via: -1}) },
		"child 99":                     func(s *script) { s.do("init", plan.Op{Code: plan.Reap, Child: 99}) },
		"signal 65 for actor 2":        func(s *script) { s.do("init", plan.Op{Code: plan.Kill, Child: 2, Signal: 65}) },
		"signal 0":                     func(s *script) { s.do("init", plan.Op{Code: plan.Ignore}) },
		"with status 0x9":              func(s *script) { s.clone("init", "b", 0, 8); s.do("b", plan.Op{Code: plan.ExitThread, Number: 9}) },
		"exit code 256":                func(s *script) { s.clone("init", "b", 0, 8); s.exit("b", 256) },
		"the first task ends with die": func(s *script) { s.do("init", plan.Op{Code: plan.Die, Signal: 9}) },
	} {
		s := newScript(t)
		s.clone("init", "a", 0, 7)
		s.hold("a")
		fault(s)
		for name, actor := range s.names {
			ops := s.plan.Actors[actor].Ops
			if name != "restorer" && len(ops) > 0 && !ops[len(ops)-1].Code.Last() {
				s.hold(name)
			}
		}
		if _, err := analyse(s.forest, s.finished(), &Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}
