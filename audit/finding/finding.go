// SPDX-License-Identifier: Apache-2.0

package finding

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pidgraft/pidgraft/audit/state"
)

// Severity says how much a finding matters.
type Severity uint8

const (
	// Info: it is so, and often meant to be.
	Info Severity = 1 + iota
	// Warning: somebody should look.
	Warning
	// Critical: something does not work, or somebody hides.
	Critical
)

var severities = [...]string{"", "info", "warning", "critical"}

func (s Severity) String() string {
	if int(s) < len(severities) {
		return severities[s]
	}
	return "unknown"
}

// ParseSeverity is the severity with a name.
func ParseSeverity(name string) (Severity, error) {
	for i, s := range severities {
		if i > 0 && s == name {
			return Severity(i), nil
		}
	}
	return 0, fmt.Errorf("%q is no severity: info, warning or critical", name)
}

// Kind is what is wrong.
type Kind string

const (
	Leaderless Kind = "leaderless-session" // a session whose leader is gone
	Orphaned   Kind = "orphaned-group"     // a group with nobody to continue it
	Zombie     Kind = "zombie"             // ended, and its parent does not reap it
	DeadInit   Kind = "dead-namespace"     // it has tasks or numbers, and its init is gone
	StuckInit  Kind = "stuck-init"         // its init cannot end
	Exhaustion Kind = "exhaustion"         // it runs out of numbers
	Invariant  Kind = "invariant"          // what cannot be
	Entry      Kind = "entry"              // somebody came in from outside
	Hidden     Kind = "hidden"             // a view that programs use does not have a process that is there
	Unshown    Kind = "unshown"            // the kernel keeps a process from the auditor alone
	Refused    Kind = "checkpoint-refused" // something in a container stands against a checkpoint of it
)

// Finding is something that is wrong.
type Finding struct {
	Kind     Kind
	Severity Severity
	// Key names what it is about, so that the same is not told twice.
	Key string
	// Text is what is wrong, in words.
	Text string
	// Subject is the object it is about; may be nil.
	Subject   *state.Object
	Namespace *state.Namespace
	// Culprit is the task that it rests with; may be nil.
	Culprit *state.Task
	// Views that saw a hidden process, and those that did not.
	Seen, Unseen []string
}

// Options say what is normal.
type Options struct {
	// ZombieAfter is how long a parent may take to reap.
	ZombieAfter time.Duration
	// ExitAfter is how long an init may take to end.
	ExitAfter time.Duration
	// Hold is how long anything else has to last.
	Hold time.Duration
}

// Find is all that is wrong with a state. How long it has been so is not
// looked at.
func Find(s *state.State) []Finding {
	var all []Finding
	for o := range s.Objects() {
		if o.Namespace == nil {
			continue // led from outside: nothing is known of it
		}
		all = append(all, ofSession(o)...)
		all = append(all, ofGroup(o)...)
		all = append(all, ofProcess(o)...)
	}
	all = append(all, ofNamespaces(s)...)
	slices.SortFunc(all, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Key, b.Key))
	})
	return all
}

func compareKeys(a, b Finding) int { return cmp.Compare(a.Key, b.Key) }

func key(kind Kind, o *state.Object) string {
	return fmt.Sprintf("%s/%d/%x/%s", kind, o.Namespace.Inode, uint64(o.ID), o)
}

func ofSession(o *state.Object) []Finding {
	if len(o.Session) == 0 {
		return nil
	}
	var all []Finding
	if o.Ghost() {
		all = append(all, Finding{
			Kind: Leaderless, Severity: Info, Key: key(Leaderless, o), Subject: o, Namespace: o.Namespace,
			Text: fmt.Sprintf("session %s has no leader any more, and %s", o, members(o.Session)),
		})
	}
	// A leader's session is itself: setsid is the only way to lead one.
	if p := o.Process; p != nil && p.Session != o {
		all = append(all, invariant(o, fmt.Sprintf("process %s leads session %s and is in session %s", o, o, p.Session)))
	}
	return all
}

func invariant(o *state.Object, text string) Finding {
	return Finding{
		Kind: Invariant, Severity: Critical, Key: key(Invariant, o), Text: text, Subject: o, Namespace: o.Namespace,
	}
}

// ofGroup: a group is orphaned when no member has a parent in another group of
// its session (will_become_orphaned_pgrp, kernel/exit.c). Those of session
// leaders are so from the start: every daemon's is.
func ofGroup(o *state.Object) []Finding {
	if len(o.Group) == 0 {
		return nil
	}
	var all []Finding
	session := o.Group[0].Session
	orphaned := true
	for _, p := range o.Group {
		if p.Session != session {
			all = append(all, invariant(o, fmt.Sprintf("group %s has members in the sessions %s and %s", o, session, p.Session)))
			break
		}
		l := p.Leader()
		if l == nil || l.Parent == nil || l.Parent.Process.Session == p.Session && l.Parent.Process.Group != o {
			orphaned = false
		}
	}
	if orphaned && o != session {
		all = append(all, Finding{
			Kind: Orphaned, Severity: Info, Key: key(Orphaned, o), Subject: o, Namespace: o.Namespace,
			Text: fmt.Sprintf("group %s is orphaned, with %s: who stops in it, by SIGTSTP for one, is not told", o, members(o.Group)),
		})
	}
	return all
}

func members(processes []*state.Process) string {
	if len(processes) == 1 {
		return "process " + processes[0].Object.String() + " in it"
	}
	return fmt.Sprintf("%d processes in it, %s for one", len(processes), processes[0].Object)
}

func ofProcess(o *state.Object) []Finding {
	p := o.Process
	if p == nil {
		return nil
	}
	l := p.Leader()
	if l == nil {
		if o.Held {
			return nil // there is one, and the kernel does not show it
		}
		return []Finding{invariant(o, fmt.Sprintf("process %s has threads and no leader", o))}
	}
	if !l.Zombie || len(p.Tasks) > 1 {
		return nil
	}
	who := "its parent is not known"
	if l.Parent != nil {
		who = fmt.Sprintf("its parent %s does not reap it", Name(l.Parent))
	}
	return []Finding{{
		Kind: Zombie, Severity: Warning, Key: fmt.Sprintf("%s/%d", key(Zombie, o), l.StartTime),
		Text: fmt.Sprintf("process %s has ended, and %s", Name(l), who), Subject: o, Namespace: o.Namespace, Culprit: l.Parent,
	}}
}

// Name names a task: its numbers and its name, which is the task's own word.
func Name(t *state.Task) string {
	comm := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '�' {
			return '?'
		}
		return r
	}, t.Comm)
	return fmt.Sprintf("%s (%s)", t.Object, comm)
}
