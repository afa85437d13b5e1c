// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"errors"
	"strings"
	"testing"

	"github.com/pidgraft/pidgraft/forest"
)

// Lists that do not add up were changed while they were read.
func TestTornLists(t *testing.T) {
	type tasks struct{ a, b, th, t2 *Task }
	for _, tt := range []struct {
		name string
		edit func(c *container, k tasks)
		text string
	}{
		{"two first children", func(c *container, k tasks) { k.b.PrevSibling = 0 }, "1 of the 2 children of task 1 (init)"},
		{"before each other", func(c *container, k tasks) { k.a.PrevSibling = k.b.ID }, "0 of the 2 children"},
		{"after one that is gone", func(c *container, k tasks) { k.b.PrevSibling = 12345 }, "1 of the 2 children"},
		{"after somebody else's child", func(c *container, k tasks) { k.b.PrevSibling = c.root.ID }, "1 of the 2 children"},
		{"its own parent", func(c *container, k tasks) { k.a.RealParent = k.a.ID; k.b.PrevSibling = 0 }, "5 (a) was seen, but in no list"},
		{"a child of nobody seen", func(c *container, k tasks) { k.b.RealParent = 99 }, "the parent of task 7 (b) was not seen"},
		{"in a circle of parents", func(c *container, k tasks) {
			k.a.RealParent, k.b.RealParent, k.b.PrevSibling = k.b.ID, k.a.ID, 0
			k.a.ParentTGID, k.b.ParentTGID = k.b.Pid, k.a.Pid
		}, "in no list of children or threads"},
		{"a thread before the leader", func(c *container, k tasks) { k.a.PrevThread = k.t2.ID }, "is not the first of its process"},
		{"a thread missing", func(c *container, k tasks) { k.a.NrThreads = 4 }, "3 of the 4 threads of task 5 (a)"},
		{"two second threads", func(c *container, k tasks) { k.t2.PrevThread = k.a.ID }, "2 of the 3 threads"},
		{"a thread of a thread", func(c *container, k tasks) { k.t2.GroupLeader = k.th.ID }, "the process of task 9 (t2) was not seen"},
		{"another tgid than the leader's", func(c *container, k tasks) { k.th.TGID = k.b.Pid }, "disagree on the tgid"},
		{"the same number twice", func(c *container, k tasks) { k.th.Pid = k.t2.Pid }, "another task has it too"},
		{"a parent that has exited", func(c *container, k tasks) {
			c.task(k.b, c.ns, "kid", 60, 10)
			c.exit(k.b, 0)
		}, "task 10 (kid) is a child of 7 (b), which has exited"},
		{"a parent of another process", func(c *container, k tasks) { k.b.ParentTGID = k.a.Pid }, "task 7 (b) was given another parent"},
		{"gone, with children", func(c *container, k tasks) {
			c.task(k.b, c.ns, "kid", 60, 10)
			k.b.ExitState = exitDead
		}, "task 7 (b) is gone and has children"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newContainer()
			c.setsid(c.root)
			k := tasks{a: c.task(c.root, c.ns, "a", 30, 5)}
			k.b = c.task(c.root, c.ns, "b", 31, 7)
			k.th = c.thread(k.a, c.ns, "th", 32, 8)
			k.t2 = c.thread(k.a, c.ns, "t2", 33, 9)
			for _, x := range []*Task{k.a, k.th, k.t2} {
				x.NrThreads = 3
			}
			collect(t, c.snapshot(c.root), forest.Container) // sound so far
			tt.edit(c, k)
			_, err := Collect(c.snapshot(c.root), forest.Container, Options{})
			if !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("error: %v", err)
			}
		})
	}
}

// One that is reaped but still linked leads on to the next and is not there.
func TestReapedChildIsSkipped(t *testing.T) {
	c := newContainer()
	c.setsid(c.root)
	c.task(c.root, c.ns, "a", 30, 5)
	gone := c.task(c.root, c.ns, "gone", 31, 6)
	c.task(c.root, c.ns, "b", 32, 7)
	gone.ExitState = exitDead
	s := c.snapshot(c.root)
	s.Walked = false // its number is still taken
	wantLines(t, collect(t, s, forest.Container),
		"1 (init) #1 #1 #1 #1 outside outside",
		"5 (a) #2 #2 #1 #1 #1 #1",
		"7 (b) #3 #3 #1 #1 #1 #1")
}
