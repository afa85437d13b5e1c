// SPDX-License-Identifier: Apache-2.0

package collector

import "github.com/pidgraft/pidgraft/forest"

// addReferences adds those that the forest has to do with. They come and go
// without a trace, so that one refers to what is not there is no contradiction.
func (c *collector) addReferences() error {
	var refs []forest.Reference
	for i := range c.s.References {
		r := &c.s.References[i]
		ref := forest.Reference{Kind: r.Kind, Object: forest.Outside, FD: forest.NoFD, Terminal: r.Terminal}
		if p, ok := c.pids[r.Object]; ok {
			ref.Object = c.tag[p]
		}
		if t, ok := c.tasks[r.Task]; ok && r.FD >= 0 && !r.Kind.IsTerminal() {
			if holder, ok := c.pids[c.s.Tasks[t].Pid]; ok && c.tag[holder] != 0 && c.carried[holder] {
				ref.Holder, ref.FD = c.tag[holder], r.FD
			}
		}
		if ref.Object != forest.Outside || ref.Holder != forest.Outside {
			refs = append(refs, ref)
		}
	}
	c.f.References = forest.SortReferences(refs)
	return nil
}
