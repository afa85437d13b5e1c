// SPDX-License-Identifier: Apache-2.0

package finding

import (
	"fmt"
	"slices"

	"github.com/pidgraft/pidgraft/audit/state"
	"github.com/pidgraft/pidgraft/collector"
)

// OfSnapshot is what a pass shows that no kernel should, and a state made of it
// does not: it settles such contradictions. A pass that races with what it looks at
// may show some too; who wants to say so has to see it in two of them.
func OfSnapshot(s *state.State, snap *collector.Snapshot) []Finding {
	v := view{
		state: s, snap: snap, found: make(map[string]Finding),
		namespaces: make(map[collector.ID]*collector.Namespace, len(snap.Namespaces)),
		pids:       make(map[collector.ID]*collector.Pid, len(snap.Tasks)),
	}
	for i := range snap.Namespaces {
		v.namespaces[snap.Namespaces[i].ID] = &snap.Namespaces[i]
	}
	// Of an object that was described twice, the later sight counts.
	for i := range snap.Pids {
		v.pids[snap.Pids[i].ID] = &snap.Pids[i]
	}
	v.levels()
	v.numbers()
	v.idr()
	v.reapers()
	all := make([]Finding, 0, len(v.found))
	for _, f := range v.found {
		all = append(all, f)
	}
	slices.SortFunc(all, compareKeys)
	return all
}

// view is a pass with its records by identity.
type view struct {
	state      *state.State
	snap       *collector.Snapshot
	namespaces map[collector.ID]*collector.Namespace
	pids       map[collector.ID]*collector.Pid
	found      map[string]Finding
}

// object notes that something is wrong with an object.
func (v *view) object(p *collector.Pid, format string, args ...any) {
	f := Finding{
		Kind: Invariant, Severity: Critical, Subject: v.state.Object(p.ID), Namespace: v.state.Namespace(p.Namespace),
		Text: fmt.Sprintf("number %s ", chain(p.Numbers)) + fmt.Sprintf(format, args...),
	}
	f.Key = fmt.Sprintf("%s/%x/%s", Invariant, uint64(p.ID), f.Text)
	v.found[f.Key] = f
}

func (v *view) namespace(ns *collector.Namespace, format string, args ...any) {
	f := Finding{
		Kind: Invariant, Severity: Critical, Namespace: v.state.Namespace(ns.ID),
		Text: fmt.Sprintf("pid namespace %d ", ns.Inode) + fmt.Sprintf(format, args...),
	}
	f.Key = fmt.Sprintf("%s/%x/%s", Invariant, uint64(ns.ID), f.Text)
	v.found[f.Key] = f
}

func chain(numbers []int32) string {
	return (&state.Object{Namespace: new(state.Namespace), Numbers: numbers}).String()
}

// levels: a namespace is one below its parent, an object at its namespace's level,
// and its numbers are in that and its ancestors.
func (v *view) levels() {
	for _, ns := range v.namespaces {
		up := v.namespaces[ns.Parent]
		if ns.Parent == 0 && ns.Level != 0 || up != nil && up.Level != ns.Level-1 {
			v.namespace(ns, "is at level %d, and its parent is not right above", ns.Level)
		}
	}
	for _, p := range v.pids {
		if ns := v.namespaces[p.Namespace]; ns != nil && ns.Level != p.Level {
			v.object(p, "has level %d, and its namespace %d level %d", p.Level, ns.Inode, ns.Level)
		}
	}
	for _, id := range v.snap.Misnumbered {
		if p := v.pids[id]; p != nil {
			v.object(p, "is in namespaces that are not those above its own")
		}
	}
}

// numbers: no number of a namespace is given out twice.
func (v *view) numbers() {
	type number struct {
		namespace collector.ID
		nr        int32
	}
	taken := make(map[number]*collector.Pid, len(v.pids))
	for _, p := range v.pids {
		if !inUse(p) {
			continue // it goes this moment
		}
		ns := v.namespaces[p.Namespace]
		for i := len(p.Numbers) - 1; i >= 0 && ns != nil; i-- {
			n := number{ns.ID, p.Numbers[i]}
			if other := taken[n]; other != nil && n.nr != 0 {
				v.object(p, "and number %s are both number %d of pid namespace %d", chain(other.Numbers), n.nr, ns.Inode)
			}
			taken[n] = p
			ns = v.namespaces[ns.Parent]
		}
	}
}

func inUse(p *collector.Pid) bool { return p.HasPID || p.HasTGID || p.HasPGID || p.HasSID }

// idr: what is used can be found by its number. That the idr's entries have the
// numbers that they are found by, the walk itself has seen to.
func (v *view) idr() {
	root := v.namespaces[v.snap.Namespace]
	if !v.snap.Walked || root == nil {
		return
	}
	listed := make(map[collector.ID]bool, len(v.snap.IDR))
	for _, id := range v.snap.IDR {
		listed[id] = true
	}
	for _, p := range v.pids {
		if listed[p.ID] || !inUse(p) || root.Level >= len(p.Numbers) || p.Numbers[root.Level] == 0 {
			continue
		}
		ns := v.namespaces[p.Namespace]
		for ns != nil && ns.Level > root.Level {
			ns = v.namespaces[ns.Parent]
		}
		if ns == root {
			v.object(p, "is in use, and the idr of pid namespace %d does not lead to it", root.Inode)
		}
	}
}

// reapers: who reaps in a namespace is a thread of its number 1.
func (v *view) reapers() {
	tasks := make(map[collector.ID]*collector.Task, len(v.snap.Tasks))
	ones := make(map[collector.ID]collector.ID) // the pid object of number 1, by namespace
	for i := range v.snap.Tasks {
		t := &v.snap.Tasks[i]
		tasks[t.ID] = t
		if p := v.pids[t.Pid]; p != nil && p.Level < len(p.Numbers) && p.Numbers[p.Level] == 1 {
			ones[p.Namespace] = p.ID
		}
	}
	for _, ns := range v.namespaces {
		one, reaper := ones[ns.ID], tasks[ns.Reaper]
		if one != 0 && reaper != nil && reaper.TGID != one {
			v.namespace(ns, "has an init, and its reaper is another process")
		}
	}
}
