// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"maps"
	"slices"

	"github.com/cilium/ebpf/link"

	"github.com/pidgraft/pidgraft/bpf"
	"github.com/pidgraft/pidgraft/collector"
)

// tracepoints are the programs that count what happens to the target, by the raw
// tracepoint that each is for.
var tracepoints = map[string]string{
	bpf.PidsProgWatchNewtask: "task_newtask",
	bpf.PidsProgWatchExec:    "sched_process_exec",
	bpf.PidsProgWatchExit:    "sched_process_exit",
	bpf.PidsProgWatchSyscall: "sys_exit",
}

func watchers() []string { return slices.Collect(maps.Keys(tracepoints)) }

// watch attaches the watchers.
func (l *Loader) watch() error {
	for prog, tracepoint := range tracepoints {
		w, err := link.AttachRawTracepoint(link.RawTracepointOptions{
			Name:    tracepoint,
			Program: l.coll.Programs[prog],
		})
		if err != nil {
			return explain("watch "+tracepoint, err)
		}
		l.watching = append(l.watching, w)
	}
	return nil
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
	return collector.Changes{
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
