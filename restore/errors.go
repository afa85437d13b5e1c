// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"fmt"
	"os"
)

// CannotRunError says that this machine, or this process's place on it, does
// not allow a restore. Nothing was made.
type CannotRunError struct {
	Missing string // what is missing
	Hint    string // what to do about it
}

func (e *CannotRunError) Error() string {
	return fmt.Sprintf("cannot restore here: missing: %s (%s)", e.Missing, e.Hint)
}

// OpError is an operation of the plan that the kernel refused. Everything made
// so far was undone.
type OpError struct {
	Who  string // the task, with its numbers, or helper
	What string // the system call
	Err  error  // an errno
	Hint string // what it means here
}

func (e *OpError) Error() string {
	s := e.Who + ": " + e.What + ": " + errnoName(e.Err)
	if e.Hint != "" {
		s += ": " + e.Hint
	}
	return s
}

func (e *OpError) Unwrap() error { return e.Err }

// StallError says that a plan stopped making progress: a fault of the plan,
// or of a machine that stands still. Everything made so far was undone.
type StallError struct {
	Waiting []string // who waits for what
}

func (e *StallError) Error() string {
	s := "the restore stopped making progress"
	const most = 10
	for i, w := range e.Waiting {
		if i == most {
			s += fmt.Sprintf("\n  and %d more", len(e.Waiting)-most)
			break
		}
		s += "\n  " + w
	}
	return s
}

// InterruptedError says that a signal ended the restore before the commit.
type InterruptedError struct {
	Signal os.Signal
}

func (e *InterruptedError) Error() string {
	return fmt.Sprintf("interrupted by %v before the forest was complete; nothing of it remains", e.Signal)
}
