// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"testing"

	"github.com/pidgraft/pidgraft/restore/plan"
)

func TestFlat(t *testing.T) {
	eachMemory(t, func(t *testing.T, opts Options) {
		s := newScript(t)
		s.clone("init", "a", 0, 77)
		s.clone("init", "b", 0, 5)
		s.clone("b", "c", 0, 301)
		s.hold("init", "a", "b", "c")
		s.expect(opts, `
			1 init S parent - pgid 0 sid 0
			301 c S parent 5 pgid 0 sid 0
			5 b S parent 1 pgid 0 sid 0
			77 a S parent 1 pgid 0 sid 0
		`)
	})
}

func TestThreadsSessionsGroups(t *testing.T) {
	eachMemory(t, func(t *testing.T, opts Options) {
		s := newScript(t)
		s.do("init", plan.Op{Code: plan.Setsid})
		s.clone("init", "a", 0, 10)
		s.clone("init", "late", 0, 50)
		setsid := s.do("a", plan.Op{Code: plan.Setsid})
		s.clone("a", "t1", plan.Thread, 11)
		s.clone("a", "b", 0, 20)
		s.clone("t1", "c", 0, 30)
		founded := s.do("b", plan.Op{Code: plan.Setpgid})
		s.do("c", plan.Op{Code: plan.Setpgid, Number: 20}, founded)
		s.do("late", plan.Op{Code: plan.Setsid}, setsid)
		s.hold("init", "a", "t1", "b", "c", "late")
		s.expect(opts, `
			1 init S parent - pgid 1 sid 1
			10 a S parent 1 pgid 10 sid 10
			11 t1 S parent 1 pgid 10 sid 10 thread of 10
			20 b S parent 10 pgid 20 sid 10
			30 c S parent 10 pgid 20 sid 10
			50 late S parent 1 pgid 50 sid 50
		`)
	})
}
