// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"errors"
	"fmt"
	"strings"
)

// Kinds of failure, for errors.Is.
var (
	// ErrChanged: the target changed while it was looked at, or the views
	// of it contradict each other. Looking again may help.
	ErrChanged = errors.New("the target changed while it was being dumped")
	// ErrTarget: the target cannot be dumped in the mode asked for; another
	// mode or another target can.
	ErrTarget = errors.New("not a target for this mode")
	// ErrRefused: the target holds something that a dump cannot represent.
	ErrRefused = errors.New("cannot be represented")
)

// ChangedError says what changed or what contradicts what. It is an
// ErrChanged.
type ChangedError struct {
	What string
	// Passes is how many were made before giving up; 0 from Collect, which
	// knows of one.
	Passes int
}

func (e *ChangedError) Error() string {
	if e.Passes == 0 {
		return fmt.Sprintf("%v: %s", ErrChanged, e.What)
	}
	return fmt.Sprintf("%v (%d passes): %s", ErrChanged, e.Passes, e.What)
}

func (e *ChangedError) Is(target error) bool { return target == ErrChanged }

func changed(format string, args ...any) error {
	return &ChangedError{What: fmt.Sprintf(format, args...)}
}

// TargetError says why a target does not fit. It is an ErrTarget.
type TargetError struct{ Reason string }

func (e *TargetError) Error() string        { return e.Reason }
func (e *TargetError) Is(target error) bool { return target == ErrTarget }

// RefusedError is one task that stands against a dump. It is an ErrRefused.
type RefusedError struct {
	Task   string // the task, as the messages name it
	Reason string
}

func (e *RefusedError) Error() string        { return "task " + e.Task + ": " + e.Reason }
func (e *RefusedError) Is(target error) bool { return target == ErrRefused }

// OutsideError is a group or session of a container's task that is led from
// outside the container (EBUSY in linux-cr). It is an ErrRefused.
type OutsideError struct {
	Task string // the task, as the messages name it
	Kind string // "process group" or "session"
	// Leader is the object's number in each namespace of the machine it is
	// visible in, the initial namespace's first.
	Leader []int32
	// Alive reports whether a process still carries that number.
	Alive bool
}

func (e *OutsideError) Error() string {
	var who string
	switch {
	case len(e.Leader) == 0:
		who = "an object that is not shown"
	case e.Alive:
		who = "process " + chain(e.Leader)
	default:
		who = chain(e.Leader) + ", whose process is gone"
	}
	return fmt.Sprintf("task %s: its %s is led from outside the container, by %s "+
		"(numbers from the initial pid namespace inwards); dump a subtree that holds the leader, or --subtree to leave it out",
		e.Task, e.Kind, who)
}

func (e *OutsideError) Is(target error) bool { return target == ErrRefused }

// Refusals are all tasks that stand against a dump, each a RefusedError or an
// OutsideError. It is an ErrRefused, and comes with Options.All only.
type Refusals []error

func (r Refusals) Error() string        { return errors.Join(r...).Error() }
func (r Refusals) Is(target error) bool { return target == ErrRefused }

// chain prints the numbers of a pid object, outermost first.
func chain(numbers []int32) string {
	var b strings.Builder
	for i, n := range numbers {
		if i > 0 {
			b.WriteByte('/')
		}
		fmt.Fprint(&b, n)
	}
	return b.String()
}
