// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"errors"
	"fmt"

	"github.com/pidgraft/pidgraft/forest"
)

// maxUserLevel bounds the nesting of user namespaces (create_user_ns,
// kernel/user_namespace.c: a parent may be at level 32).
const maxUserLevel = 33

// visibility of a namespace from the root namespace.
type visibility uint8

const (
	unknown visibility = iota
	visible
	invisible
)

// visible reports whether a pid object has a number in the root namespace:
// level >= root.level && numbers[root.level].ns == root ns.
func (c *collector) visible(p *Pid) (bool, error) {
	if p.Level < c.rootLevel {
		return false, nil
	}
	ns, ok := c.pidns[p.Namespace]
	if !ok {
		return false, changed("the namespace of number %s was not seen", chain(p.Numbers))
	}
	if c.nsVisible[ns] == unknown {
		v, err := c.look(ns)
		if err != nil {
			return false, err
		}
		c.nsVisible[ns] = v
	}
	return c.nsVisible[ns] == visible, nil
}

// inside reports whether pid object id has a number in the root namespace.
func (c *collector) inside(id ID) (bool, error) {
	p, err := c.object(id)
	if err != nil {
		return false, err
	}
	return c.visible(p)
}

// look walks up to the root's level. Levels fall by one at each step, so it
// ends.
func (c *collector) look(ns int32) (visibility, error) {
	n := &c.s.Namespaces[ns]
	for n.Level > c.rootLevel {
		up, ok := c.pidns[n.Parent]
		if !ok || c.s.Namespaces[up].Level != n.Level-1 {
			return unknown, changed("the parent of the pid namespace with inode %d was not seen", n.Inode)
		}
		n = &c.s.Namespaces[up]
	}
	if n.ID == c.s.Namespace {
		return visible, nil
	}
	return invisible, nil
}

// namespace is the index in the forest of pid namespace id, which is the root
// namespace or below it; it is added after its ancestors and its owner.
func (c *collector) namespace(id ID) (int, error) {
	var missing []int32
	parent := none
	for {
		r, ok := c.pidns[id]
		if !ok {
			return none, changed("a pid namespace was not seen")
		}
		if c.nsIndex[r] != none {
			parent = c.nsIndex[r]
			break
		}
		n := &c.s.Namespaces[r]
		missing = append(missing, r)
		if id == c.s.Namespace {
			break
		}
		if n.Level <= c.rootLevel || len(missing) > forest.MaxDepth {
			return none, changed("the pid namespace with inode %d is not below the root namespace", n.Inode)
		}
		id = n.Parent
	}
	for i := len(missing) - 1; i >= 0; i-- {
		n := &c.s.Namespaces[missing[i]]
		owner, err := c.userNamespace(n.Owner)
		if err != nil {
			return none, fmt.Errorf("owner of the pid namespace with inode %d: %w", n.Inode, err)
		}
		level := 0
		if parent != none {
			level = c.f.Namespaces[parent].Level + 1
		}
		if n.Level != c.rootLevel+level {
			return none, changed("the pid namespace with inode %d is not at its parent's level + 1", n.Inode)
		}
		c.f.Namespaces = append(c.f.Namespaces, forest.Namespace{
			Parent: parent, Level: level, Owner: owner,
			Cursor: n.Cursor, PidMax: n.PidMax, Inode: n.Inode,
		})
		c.nsRecord = append(c.nsRecord, missing[i])
		parent = len(c.f.Namespaces) - 1
		c.nsIndex[missing[i]] = parent
	}
	return parent, nil
}

// describeNamespaces finds the state of each namespace, which depends on the
// tasks, and drops what is not the forest's own.
func (c *collector) describeNamespaces() error {
	populated := make([]bool, len(c.f.Namespaces)) // by a task that has not ended
	owned := make([]bool, len(c.f.Namespaces))     // its number 1 is in the forest
	for i := range c.f.Tasks {
		t := &c.f.Tasks[i]
		p := c.f.Pid(t.Pid)
		if p.Number() == 1 {
			owned[p.Namespace] = true
		}
		for ns := p.Namespace; !t.State.Exited() && ns != none && !populated[ns]; ns = c.f.Namespaces[ns].Parent {
			populated[ns] = true
		}
	}
	for i := range c.f.Namespaces {
		n := &c.f.Namespaces[i]
		n.State = namespaceState(&c.s.Namespaces[c.nsRecord[i]], populated[i])
		if n.State == forest.Alive && !populated[i] && c.mode == forest.Container {
			return changed("the pid namespace with inode %d lives, but no task in it was seen", n.Inode)
		}
		if c.mode == forest.Subtree && !owned[i] && (n.State == forest.Alive || n.State == forest.InitExiting) {
			n.Cursor, n.PidMax = 0, 0
		}
	}
	return nil
}

// namespaceState reads a namespace's life from its reaper and from
// PIDNS_ADDING, which disable_pid_allocation clears when the init's exit
// begins and free_pid clears when the first clone fails late
// (kernel/pid.c, kernel/pid_namespace.c).
func namespaceState(n *Namespace, populated bool) forest.NamespaceState {
	adding := n.Allocated&PidnsAdding != 0
	switch {
	case n.Reaper == 0 && adding:
		return forest.Empty
	case n.Reaper == 0:
		return forest.Spoilt
	case adding:
		return forest.Alive
	case populated:
		return forest.InitExiting
	}
	return forest.Dead
}

// addInitialUserNamespace makes the initial user namespace number 0.
func (c *collector) addInitialUserNamespace() error {
	for i := range c.s.UserNamespaces {
		if u := &c.s.UserNamespaces[i]; u.Parent == 0 && u.Level == 0 {
			if c.f.UserNamespaces != nil && c.userIndex[c.userns[u.ID]] == none {
				return changed("two initial user namespaces were seen")
			}
			if c.f.UserNamespaces == nil {
				// Its maps are the identity, not recorded.
				c.f.UserNamespaces = []forest.UserNamespace{{
					Parent: none, OwnerUID: u.OwnerUID, OwnerGID: u.OwnerGID,
					Setgroups: u.Flags&usernsSetgroupsAllowed != 0, Inode: u.Inode,
				}}
				c.userIndex[c.userns[u.ID]] = 0
			}
		}
	}
	if c.f.UserNamespaces == nil {
		return changed("the initial user namespace was not seen")
	}
	return nil
}

// userNamespace is the index in the forest of user namespace id; it is added
// after its ancestors.
func (c *collector) userNamespace(id ID) (int, error) {
	var missing []int32
	parent := none
	for parent == none {
		r, ok := c.userns[id]
		if !ok || len(missing) > maxUserLevel {
			return none, changed("a user namespace was not seen")
		}
		if c.userIndex[r] != none {
			parent = c.userIndex[r]
			break
		}
		missing = append(missing, r)
		id = c.s.UserNamespaces[r].Parent
	}
	for i := len(missing) - 1; i >= 0; i-- {
		u := &c.s.UserNamespaces[missing[i]]
		up := c.userns[u.Parent]
		uids, err := relative(u.UIDMap, c.s.UserNamespaces[up].UIDMap, parent == 0)
		if err != nil {
			return none, changed("uid map of the user namespace with inode %d: %v", u.Inode, err)
		}
		gids, err := relative(u.GIDMap, c.s.UserNamespaces[up].GIDMap, parent == 0)
		if err != nil {
			return none, changed("gid map of the user namespace with inode %d: %v", u.Inode, err)
		}
		c.f.UserNamespaces = append(c.f.UserNamespaces, forest.UserNamespace{
			Parent: parent, OwnerUID: u.OwnerUID, OwnerGID: u.OwnerGID,
			UIDMap: uids, GIDMap: gids,
			Setgroups: u.Flags&usernsSetgroupsAllowed != 0, Inode: u.Inode,
		})
		parent = len(c.f.UserNamespaces) - 1
		c.userIndex[missing[i]] = parent
	}
	return parent, nil
}

var errUnmapped = errors.New("a range that the parent's map does not hold")

// relative turns a map to kernel ids into one to the ids of the parent
// namespace, as it was written. map_write (kernel/user_namespace.c) takes a
// range only if one extent of the parent holds all of it, and no map is
// written twice, so there is exactly one such extent.
func relative(m, parent []Extent, initial bool) ([]forest.Extent, error) {
	if len(m) == 0 {
		return nil, nil
	}
	out := make([]forest.Extent, len(m))
	for i, e := range m {
		out[i] = forest.Extent{First: e.First, Parent: e.Lower, Count: e.Count}
		if initial {
			continue
		}
		found := false
		for _, p := range parent {
			if e.Lower >= p.Lower && uint64(e.Lower)+uint64(e.Count) <= uint64(p.Lower)+uint64(p.Count) {
				out[i].Parent = p.First + (e.Lower - p.Lower)
				found = true
				break
			}
		}
		if !found {
			return nil, errUnmapped
		}
	}
	return out, nil
}
