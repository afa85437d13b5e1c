// SPDX-License-Identifier: Apache-2.0

package reenact

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/internal/testforest"
	"github.com/pidgraft/pidgraft/internal/witness"
	"github.com/pidgraft/pidgraft/restore/model"
)

// ignored is what the model has no word for.
var ignored = []witness.Field{witness.Comm}

// Compare holds what /proc shows of the forest of root, and what its tasks say
// if ask is set, against the model. On a busy machine an init that ends is seen
// on its way: it looks again for as long as s.Patience. A state of which the model
// says that it cannot be exported is not compared: false.
func (s *Stage) Compare(k *model.Kernel, root model.TaskID, ask bool) (compared bool, err error) {
	f, err := k.Forest(root, forest.Container)
	if err != nil {
		return false, nil // an entrant before its setsid: the next call comes soon
	}
	for deadline := time.Now().Add(s.Patience); ; time.Sleep(5 * time.Millisecond) {
		if err = s.compare(k, f, root); err == nil || time.Now().After(deadline) {
			break
		}
	}
	if err == nil && ask {
		err = s.compareAttributes(k, f, root)
	}
	return true, err
}

func (s *Stage) compare(k *model.Kernel, f *forest.Forest, root model.TaskID) error {
	got, err := witness.Look(s.Forest.PID(Name(root)))
	if err != nil {
		return err
	}
	if d := witness.Compare(got, testimony(k, f, root), ignored...); d != nil {
		return errors.New("the kernel, then the model: " + strings.Join(d, "; "))
	}
	return s.compareGhosts(k)
}

// settle waits until what has ended in the model since the last call has really
// done so, before another step decides who adopts it: an init that ends waits
// for its namespace to empty, and is seen to, and a number is free some time
// after its task has gone from /proc.
func (s *Stage) settle(k *model.Kernel) error {
	ends := 0
	for id := range s.born {
		if k.Ended(id) && !k.Leaving(id) {
			ends++
		}
	}
	if ends == s.ends {
		return nil
	}
	for deadline := time.Now().Add(s.Patience); ; time.Sleep(time.Millisecond) {
		err := s.compareEnds(k)
		if err == nil {
			s.ends = ends
		}
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

func (s *Stage) compareEnds(k *model.Kernel) error {
	for id := range s.born {
		if got, want := s.Forest.Ended(Name(id)), k.Ended(id) && !k.Leaving(id); got != want {
			return fmt.Errorf("that %s has ended is %v, in the model %v", Name(id), got, want)
		}
	}
	return s.compareGhosts(k)
}

// compareGhosts compares which pid objects there are, of all that ever were.
func (s *Stage) compareGhosts(k *model.Kernel) error {
	for id, number := range s.born {
		got, err := s.Forest.Exists(number)
		if err != nil {
			return err
		}
		if want := k.Exists(id); got != want {
			return fmt.Errorf("that the pid object of %s exists is %v, in the model %v", Name(id), got, want)
		}
	}
	return nil
}

// compareAttributes asks every task that can answer for what /proc does not
// show.
func (s *Stage) compareAttributes(k *model.Kernel, f *forest.Forest, root model.TaskID) error {
	for i := range f.Tasks {
		t := &f.Tasks[i]
		if t.State != forest.Running {
			continue
		}
		got, err := s.Forest.Attributes(Name(k.Task(f, root, i)))
		if err != nil {
			return err
		}
		n := &f.Namespaces[f.Pid(t.Pid).Namespace]
		want := testforest.Attributes{
			Subreaper: t.Subreaper, Pdeath: t.PdeathSignal,
			LastPid: strconv.Itoa(int(n.Cursor) - 1), PidMax: strconv.Itoa(int(n.PidMax)),
		}
		if !testforest.OwnPidMax() {
			want.PidMax = got.PidMax
		}
		if got != want {
			return fmt.Errorf("%s says %+v, the model %+v", f.TaskName(i), got, want)
		}
	}
	return nil
}
