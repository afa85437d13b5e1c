// SPDX-License-Identifier: Apache-2.0

package collector

// Contain is what a pass over a container alone would have shown, out of one over it or
// a namespace above it: ns is the container's pid namespace. It shares records
// with s. False if ns is not described, or its init was not seen.
func (s *Snapshot) Contain(ns ID) (*Snapshot, bool) {
	if ns == s.Namespace && s.Root != 0 {
		return s, true
	}
	within := map[ID]bool{ns: true}
	namespaces := make(map[ID]*Namespace, len(s.Namespaces))
	for i := range s.Namespaces {
		namespaces[s.Namespaces[i].ID] = &s.Namespaces[i]
	}
	root := namespaces[ns]
	if root == nil {
		return nil, false
	}
	// Levels fall by one at each step, so it ends.
	inside := func(id ID) bool {
		is, ok := within[id]
		for n := namespaces[id]; !ok && n != nil && n.Level > root.Level; {
			up := namespaces[n.Parent]
			if up == nil || up.Level != n.Level-1 {
				break
			}
			n = up
			is = n.ID == ns
		}
		within[id] = is
		return is
	}
	pids := make(map[ID]*Pid, len(s.Tasks))
	for i := range s.Pids {
		pids[s.Pids[i].ID] = &s.Pids[i]
	}
	c := *s
	c.Root, c.Namespace, c.Tasks, c.IDR = 0, ns, nil, nil
	for i := range s.Tasks {
		t := &s.Tasks[i]
		p := pids[t.Pid]
		if p == nil || !inside(p.Namespace) {
			continue
		}
		if p.Namespace == ns && p.Level < len(p.Numbers) && p.Numbers[p.Level] == 1 {
			c.Root = t.ID
		}
		c.Tasks = append(c.Tasks, *t)
	}
	for _, id := range s.IDR {
		if p := pids[id]; p != nil && inside(p.Namespace) {
			c.IDR = append(c.IDR, id)
		}
	}
	return &c, c.Root != 0
}
