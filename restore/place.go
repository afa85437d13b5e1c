// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/restore/plan"
)

// Here is this process's pid namespace as a plan in place must know it: where
// helpers must not take numbers. What the forest itself needs is looked at by
// Preflight.
func Here() (*plan.Place, error) {
	used, err := NumbersInUse()
	if err != nil {
		return nil, err
	}
	limit, err := ownPidMax()
	if err != nil {
		return nil, err
	}
	return &plan.Place{Taken: used.Taken, PidMax: int32(min(limit, 1<<22))}, nil
}

func ownPidMax() (int, error) {
	text, err := os.ReadFile("/proc/sys/kernel/pid_max")
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("pid_max: %w", err)
	}
	return n, nil
}

// inPlace reports whether a plan is for this process's own pid namespace.
func inPlace(p *plan.Plan) bool {
	return len(p.Births) > 0 && p.Births[0].Flags&plan.NewPID == 0
}

// clones are all Clones of a plan.
func clones(p *plan.Plan) iter.Seq[*plan.Op] {
	return func(yield func(*plan.Op) bool) {
		for i := range p.Births {
			if !yield(&p.Births[i]) {
				return
			}
		}
		for a := range p.Actors {
			for i := range p.Actors[a].Ops {
				if op := &p.Actors[a].Ops[i]; op.Code == plan.Clone && !yield(op) {
					return
				}
			}
		}
	}
}

// checkHere looks for what a restore in place needs besides free numbers.
func checkHere(p *plan.Plan) error {
	if !inPlace(p) {
		return nil
	}
	if _, err := ownCgroup(); err != nil {
		return err
	}
	limit, err := ownPidMax()
	if err != nil {
		return err
	}
	largest := int32(0)
	for op := range clones(p) {
		if len(op.Numbers) > 0 {
			largest = max(largest, op.Numbers[len(op.Numbers)-1])
		}
	}
	if int(largest) < limit {
		return nil
	}
	return &CannotRunError{
		fmt.Sprintf("a pid_max above %d in this pid namespace", largest),
		fmt.Sprintf("it is %d: raise sysctl kernel.pid_max", limit),
	}
}

// undoInPlace ends whatever there is of a forest in place and waits until it
// is gone, and the coordinator with it.
func (r *run) undoInPlace(limit <-chan time.Time) error {
	for ended := false; !ended; {
		select {
		case <-r.coordinator.ended:
			ended = true
		case <-time.After(10 * time.Millisecond): // it may be stopped
			_ = os.WriteFile(filepath.Join(r.cgroup, "cgroup.kill"), []byte("1"), 0)
		case <-limit:
			return fmt.Errorf("process %d, which clears up, does not end: look at its children", r.coordinator.cmd.Process.Pid)
		}
	}
	if err := killCgroup(r.cgroup, limit); err != nil {
		return fmt.Errorf("clear up: %w", err)
	}
	return nil
}

// holderFrom takes hold of the holder of a forest in place by its number.
func (r *run) holderFrom(pid int) (*os.File, error) {
	f, err := openPidfd(pid)
	if err == nil && !inCgroup(pid, r.cgroup) {
		_ = f.Close()
		err = unix.ESRCH // a number given out again
	}
	if err != nil {
		return nil, fmt.Errorf("the first process of the forest: %w", err)
	}
	return f, nil
}
