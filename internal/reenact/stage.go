// SPDX-License-Identifier: Apache-2.0

package reenact

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/internal/testforest"
	"github.com/pidgraft/pidgraft/restore/model"
)

// Stage is where real tasks make the steps of one history.
type Stage struct {
	Forest *testforest.Forest
	// ShareMemory has most processes share their parent's memory, which is
	// much faster. Up to 5.15 one that would dump core kills all that share
	// its memory (kernel-rules 25).
	ShareMemory bool

	// Patience is how long what a step does may take: on a busy machine a
	// dying task may have to wait for a processor.
	Patience time.Duration

	born map[model.TaskID]int // by number in the test's namespace
	ends int                  // of those, how many have ended
}

// NewStage makes a stage with nobody but the outsider, who leads a session as
// in the model.
func NewStage() (*Stage, error) {
	f, err := testforest.New()
	if err != nil {
		return nil, err
	}
	s := &Stage{Forest: f, born: map[model.TaskID]int{}, Patience: 10 * time.Second, ShareMemory: testforest.Release() >= 601}
	if err := f.Do("outside setsid"); err != nil {
		return nil, errors.Join(err, f.Kill())
	}
	return s, nil
}

// Close ends every task.
func (s *Stage) Close() error {
	// A stopped member would have the first process hung up with its group
	// when the others are killed; so would one that stops by the exit signal
	// of a child. Some are gone: no matter.
	_ = s.Forest.Do("outside ignore HUP ign")
	for id := range s.born {
		_ = s.Forest.Do("host kill " + Name(id) + " CONT")
	}
	return s.Forest.Kill()
}

// ErrFull: the machine has no room for another task, which is not the model's.
var ErrFull = errors.New("clone: EAGAIN: the machine's limit of tasks")

// Step makes a step in the model and with real tasks, and compares how it ended.
// false: here the history ends, before this step, since its outcome is the
// scheduler's, or it ends the outsider.
func (s *Stage) Step(k *model.Kernel, step *model.Step) (more bool, err error) {
	want := k.Apply(step)
	if k.Racy() != "" || k.Ended(model.Outsider) {
		return false, nil
	}
	made, err := s.Do(step)
	if err != nil {
		return false, fmt.Errorf("%s: %w", step.String(), err)
	}
	if made == model.EAGAIN && want == 0 && step.Child != 0 {
		return false, fmt.Errorf("%s: %w", step.String(), ErrFull)
	}
	if made != want && made != model.ENOTRUN {
		return false, fmt.Errorf("%s: the kernel says %v, the model %v (%s)", step.String(), made, want, k.Why())
	}
	if err := s.settle(k); err != nil {
		return false, fmt.Errorf("after %s: %w", step.String(), err)
	}
	return true, nil
}

// Do makes a step that the model has made, and returns with what errno it
// ended. Errno ENOTRUN: the testforest cannot express it, and in the model it
// failed.
func (s *Stage) Do(step *model.Step) (model.Errno, error) {
	for _, line := range Lines(step) {
		if s.ShareMemory && step.Child%4 != 0 && strings.Contains(line, " fork ") {
			line += " vm"
		}
		err := s.Forest.Do(line)
		var errno unix.Errno
		switch {
		case errors.As(err, &errno):
			return kernelErrno(step, errno), nil
		case errors.Is(err, testforest.ErrNothing):
			return model.EAGAIN, nil
		case (errors.Is(err, testforest.ErrUnseen) || errors.Is(err, testforest.ErrMachine)) && step.Errno != 0:
			return model.ENOTRUN, nil
		case err != nil:
			return 0, err
		}
	}
	if step.Errno == 0 && step.Child != 0 {
		s.born[step.Child] = s.Forest.PID(Name(step.Child))
	}
	return 0, nil
}

// kernelErrno is an errno as the model has it: a clone that is to fail late
// fails otherwise here.
func kernelErrno(step *model.Step, errno unix.Errno) model.Errno {
	if step.Kind == model.ForkFail && errno == unix.EFAULT {
		return model.EAGAIN
	}
	return model.Errno(errno)
}
