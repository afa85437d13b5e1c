// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"bytes"
	"fmt"
	"os"

	"github.com/cilium/ebpf"

	"github.com/pidgraft/pidgraft/bpf"
)

// guess is what the scope will be. Only how soon the right programs are loaded
// depends on it: choose decides by what the kernel's own objects say. A pidfd's
// fdinfo has the process's number in each namespace from the caller's inwards.
func (l *Loader) guess() Scope {
	if l.scope != Auto {
		return l.scope
	}
	info, _ := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", l.pidfd))
	_, after, _ := bytes.Cut(info, []byte("\nNSpid:"))
	line, _, _ := bytes.Cut(after, []byte("\n"))
	if numbers := bytes.Fields(line); len(numbers) > 1 && string(numbers[len(numbers)-1]) == "1" {
		return Container
	}
	return Subtree
}

// find finds the process with number l.pid in the caller's namespace.
func (l *Loader) find() error {
	pid := l.pid
	l.target = bpf.PidsTarget{Nr: int32(pid)}
	if err := l.set(bpf.PidsVarTarget, &l.target); err != nil {
		return err
	}
	looked, err := l.findInIDR()
	if err == nil && !looked {
		err = l.findTask()
	}
	if err != nil {
		return err
	}
	switch {
	case !l.alive():
		return fmt.Errorf("process %d: %w: it ended just now", pid, ErrNoProcess)
	case l.target.Pid == 0:
		return fmt.Errorf("process %d: %w: it exists, but this kernel hides it", pid, ErrNotVisible)
	}
	return nil
}

// findInIDR looks the number up in the idr of the caller's namespace, and
// reports whether this kernel lets it.
func (l *Loader) findInIDR() (bool, error) {
	prog := l.coll.Programs[bpf.PidsProgFind]
	if prog == nil {
		return false, nil
	}
	// The tree can change underfoot, but only where numbers come and go.
	for range 1000 {
		status, err := prog.Run(&ebpf.RunOptions{})
		if err != nil {
			l.walkErr = explain("run the look-up in the idr", err)
			return false, nil
		}
		switch status {
		case walkMore, walkDone:
			_, err := l.foundTarget()
			return true, err
		case walkCannot:
			return false, nil
		}
	}
	return false, nil
}

// findTask runs the task iterator up to the process. It enumerates the caller's
// namespace.
func (l *Loader) findTask() error {
	if err := l.needTasks(); err != nil {
		return err
	}
	return read(l.iter, func() (bool, error) {
		found, err := l.foundTarget()
		return !found, err
	})
}

// foundTarget gets what the programs found.
func (l *Loader) foundTarget() (bool, error) {
	if err := l.get(bpf.PidsVarTarget, &l.target); err != nil {
		return false, err
	}
	var passes [lanes]bpf.PidsPass
	if err := l.get(bpf.PidsVarPasses, &passes); err != nil {
		return false, err
	}
	if passes[0].Drift != 0 {
		return false, fmt.Errorf("struct upid is not {int nr; struct pid_namespace *ns}: %w (kernel %s)", ErrUnsupported, release())
	}
	return l.target.Pid != 0, nil
}
