// SPDX-License-Identifier: Apache-2.0

package finding

import (
	"fmt"

	"github.com/pidgraft/pidgraft/audit/state"
)

// ofNamespaces: a namespace that has tasks has a reaper, its number 1, which may
// be exiting. While it exits it waits for every object of the namespace, ghosts
// included (zap_pid_ns_processes; kernel-rules 23).
func ofNamespaces(s *state.State) []Finding {
	var all []Finding
	for ns := range s.Namespaces() {
		if ns.Own == 0 || ns.Level < s.Level() {
			continue
		}
		one := s.Number(ns, 1)
		if one != nil && one.Held {
			continue
		}
		var init *state.Task
		if one != nil {
			init = one.Carrier
		}
		switch {
		case init == nil || init.Zombie:
			all = append(all, dead(s, ns, init))
		case init.Exiting:
			all = append(all, stuck(s, ns, init))
		}
	}
	return all
}

// dead is a namespace whose init has ended. Its tasks ended before that; numbers
// that others still use may be left.
func dead(s *state.State, ns *state.Namespace, init *state.Task) Finding {
	f := Finding{
		Kind: DeadInit, Severity: Info, Key: fmt.Sprintf("%s/%d", DeadInit, ns.Inode), Namespace: ns,
		Text: fmt.Sprintf("pid namespace %d has no init any more and still has %d numbers", ns.Inode, ns.Own),
	}
	others := 0
	for o := range s.Objects() {
		if o.Namespace == ns && o.Carrier != nil && o.Carrier != init {
			others++
		}
	}
	if others > 0 {
		f.Severity, f.Kind, f.Key = Critical, Invariant, fmt.Sprintf("%s/%d", Invariant, ns.Inode)
		f.Text = fmt.Sprintf("pid namespace %d has no init and has %d tasks", ns.Inode, others)
	} else if init != nil && ns.Own == 1 {
		f.Kind, f.Key = Zombie, fmt.Sprintf("%s/init/%d", Zombie, ns.Inode)
		f.Text = fmt.Sprintf("the init of pid namespace %d, %s, has ended and is not reaped", ns.Inode, Name(init))
		f.Subject, f.Culprit = init.Object, init.Parent
	}
	return f
}

// stuck is a namespace whose init waits to end. What it waits for is an entrant
// that its outside parent does not reap, or a group with a member outside.
func stuck(s *state.State, ns *state.Namespace, init *state.Task) Finding {
	f := Finding{
		Kind: StuckInit, Severity: Warning, Key: fmt.Sprintf("%s/%d", StuckInit, ns.Inode), Namespace: ns, Subject: init.Object,
		Text: fmt.Sprintf("the init of pid namespace %d, %s, is exiting and cannot end: %d numbers are still in use",
			ns.Inode, Name(init), ns.Own),
	}
	for o := range s.Objects() {
		if o.Namespace == nil || !within(o.Namespace, ns) || o == init.Object {
			continue
		}
		if t := o.Carrier; t != nil && t.Zombie && t.Parent != nil && !within(t.Parent.Object.Namespace, ns) {
			f.Culprit = t.Parent
			f.Text += fmt.Sprintf("; %s outside has not reaped %s", Name(t.Parent), Name(t))
			return f
		}
		for _, p := range o.Group {
			if l := p.Leader(); l != nil && l.Object.Namespace != nil && !within(l.Object.Namespace, ns) {
				f.Culprit = l
				f.Text += fmt.Sprintf("; %s outside is in the group %s, which was led inside", Name(l), o)
				return f
			}
		}
	}
	return f
}

// within reports whether a namespace is another or below it.
func within(ns, outer *state.Namespace) bool {
	for ; ns != nil; ns = ns.Parent {
		if ns == outer {
			return true
		}
	}
	return false
}
