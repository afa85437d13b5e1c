// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"github.com/cilium/ebpf/link"

	"github.com/pidgraft/pidgraft/bpf"
	"github.com/pidgraft/pidgraft/collector"
)

// watch attaches the watchers.
func (l *Loader) watch() error {
	for prog, tracepoint := range watchers {
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
