// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/pidgraft/pidgraft/bpf"
	"github.com/pidgraft/pidgraft/collector"
)

// watched are the tracepoints at which the target's tasks are watched, and the
// program that counts there. The first takes longest to attach: it marks every task
// of the machine.
var watched = []struct{ name, program string }{
	{"sys_exit", bpf.PidsProgWatchSyscall},
	{"task_newtask", bpf.PidsProgWatchTask},
	{"sched_process_exec", bpf.PidsProgWatchTask},
	{"sched_process_exit", bpf.PidsProgWatchTask},
}

// needWatchers loads those that are not loaded yet, and attaches them if that is
// wanted. Nothing counts before there is a target.
func (l *Loader) needWatchers(attach bool) error {
	if l.watchers == nil {
		l.watchers = make(map[string]*ebpf.Program)
	}
	for i, at := range watched {
		prog := l.watchers[at.program]
		if prog == nil {
			var err error
			if prog, err = l.loadProgram(at.program, l.coll.Maps); err != nil {
				return err
			}
			l.watchers[at.program] = prog
		}
		if !attach || i < len(l.watching) {
			continue
		}
		watching, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: at.name, Program: prog})
		if err != nil {
			return explain("watch "+at.name, err)
		}
		l.watching = append(l.watching, watching)
	}
	return nil
}

// unwatch detaches them.
func (l *Loader) unwatch() error { return detach(&l.watching) }

// detach closes all links, and forgets them.
func detach(links *[]link.Link) error {
	var errs []error
	for _, l := range *links {
		errs = append(errs, l.Close())
	}
	*links = nil
	return errors.Join(errs...)
}

// Changes are the events of the target's tasks since Open.
func (l *Loader) Changes() (collector.Changes, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.coll == nil {
		return collector.Changes{}, errClosed
	}
	if len(l.watching) == 0 {
		return collector.Changes{}, nil
	}
	var c bpf.PidsChanges
	if err := l.get(bpf.PidsVarChanges, &c); err != nil {
		return collector.Changes{}, err
	}
	missed := uint64(0)
	for _, w := range l.watchers {
		n, err := misses(w)
		if err != nil {
			return collector.Changes{}, err
		}
		missed += n
	}
	return collector.Changes{
		Missed:   missed,
		Forks:    c.Forks,
		Execs:    c.Execs,
		Exits:    c.Exits,
		Setsids:  c.Setsids,
		Setpgids: c.Setpgids,
		Setns:    c.Setns,
		Unshares: c.Unshares,
		Prctls:   c.Prctls,
	}, nil
}

// misses are how often the kernel did not run a program because it was running on
// that processor already. Kernels that do not count them (before 5.12) run it.
func misses(prog *ebpf.Program) (uint64, error) {
	stats, err := prog.Stats()
	switch {
	case errors.Is(err, ebpf.ErrNotSupported):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("read the statistics of %s: %w", prog, err)
	}
	return stats.RecursionMisses, nil
}
