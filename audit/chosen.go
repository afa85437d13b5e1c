// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"github.com/pidgraft/pidgraft/audit/finding"
	"github.com/pidgraft/pidgraft/audit/state"
)

// Chosen are the namespaces that records are made of, by inode: what is followed
// may be more, as it is one namespace with all below it. Without any, it is all of
// that. Somebody must hold them, or an inode comes to mean another one.
type Chosen map[uint32]bool

// has reports whether a namespace is chosen, or one above it.
func (c Chosen) has(ns *state.Namespace) bool {
	if len(c) == 0 {
		return true
	}
	for ; ns != nil; ns = ns.Parent {
		if c[ns.Inode] {
			return true
		}
	}
	return false
}

// object is has for the namespace of an object.
func (c Chosen) object(o *state.Object) bool {
	if o == nil {
		return len(c) == 0
	}
	return c.has(o.Namespace)
}

// findings keeps those about what is chosen.
func (c Chosen) findings(all []finding.Finding) []finding.Finding {
	if len(c) == 0 {
		return all
	}
	kept := all[:0]
	for _, f := range all {
		if c.has(f.Namespace) {
			kept = append(kept, f)
		}
	}
	return kept
}

// Left is how many of the chosen namespaces there are in the state.
func (a *Auditor) Left() int {
	n := 0
	for ns := range a.State().Namespaces() {
		if a.opts.Chosen[ns.Inode] {
			n++
		}
	}
	return n
}
