// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"slices"

	"github.com/pidgraft/pidgraft/forest"
)

// checkIDR holds the two views of a container against each other: the tasks,
// and the namespace's idr. What is in the idr and in no task of the container
// is a ghost that only tasks outside it use, and is added, by number; any
// other difference is a cut that was not consistent.
func (c *collector) checkIDR() error {
	if !c.f.Cut.Walked {
		return nil
	}
	walked := make([]bool, len(c.s.Pids))
	seen := 0
	var ghosts []int32
	for _, id := range c.s.IDR {
		p, err := c.object(id)
		if err != nil {
			return err
		}
		r := c.pids[id]
		if walked[r] {
			continue
		}
		walked[r] = true
		if c.tag[r] != 0 {
			seen++
			continue
		}
		if ok, err := c.visible(p); err != nil {
			return err
		} else if !ok {
			return changed("number %s is in the idr of a namespace that it is not in", chain(p.Numbers))
		}
		if p.HasPID || p.HasTGID || !p.HasPGID && !p.HasSID {
			return changed("number %s is taken, but its task was not seen", chain(p.Numbers[c.rootLevel:]))
		}
		ghosts = append(ghosts, r)
	}
	if seen != len(c.f.Pids) {
		return c.notInIDR(walked)
	}
	slices.SortFunc(ghosts, func(a, b int32) int {
		return int(c.s.Pids[a].Numbers[c.rootLevel]) - int(c.s.Pids[b].Numbers[c.rootLevel])
	})
	for _, r := range ghosts {
		p := &c.s.Pids[r]
		if _, err := c.add(p.ID, p); err != nil {
			return err
		}
	}
	return nil
}

// notInIDR names one object that tasks use and the idr does not hold.
func (c *collector) notInIDR(walked []bool) error {
	first := forest.Tag(0)
	for r, tag := range c.tag {
		if tag != 0 && !walked[r] && (first == 0 || tag < first) {
			first = tag
		}
	}
	return changed("number %s is used by a task, but is not taken any more", chain(c.f.Pid(first).Numbers))
}
