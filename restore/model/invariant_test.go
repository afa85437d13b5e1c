// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"slices"
)

// check holds the machine against the invariants of pid objects
// (audit.md, point 6), counting every use afresh.
func (k *Kernel) check() error {
	type uses struct {
		groups, sessions, stopped int
		session                   *pid
	}
	used := map[*pid]*uses{}
	of := func(o *pid) *uses {
		if used[o] == nil {
			used[o] = &uses{}
		}
		return used[o]
	}
	subreapers := map[*pidNS]int{}
	for _, t := range k.tasks[1:] {
		if t.state == released {
			continue
		}
		if err := k.checkTask(t); err != nil {
			return fmt.Errorf("task %d (%s): %w", t.id, t.pid, err)
		}
		of(t.pid)
		p := t.proc
		if p.leader != t {
			continue
		}
		of(p.session).sessions++
		g := of(p.pgrp)
		g.groups++
		if p.stopped {
			g.stopped++
		}
		if g.session == nil {
			g.session = p.session
		}
		if g.session != p.session {
			return fmt.Errorf("group %s has members in two sessions", p.pgrp)
		}
		if p.subreaper {
			subreapers[t.pid.ns]++
		}
	}
	inNS := map[*pidNS]int{}
	for o, u := range used {
		for ns := o.ns; ns != nil; ns = ns.parent {
			inNS[ns]++
			if ns.numbers[o.numbers[ns.level]] != o {
				return fmt.Errorf("number %d of %s is not its at level %d", o.numbers[ns.level], o, ns.level)
			}
		}
		if o.session != u.sessions || o.stopped != u.stopped {
			return fmt.Errorf("%s: counts %d sessions, %d stopped; there are %d, %d", o, o.session, o.stopped, u.sessions, u.stopped)
		}
		n := 0
		for p := o.group; p != nil; p = p.groupNext {
			n++
		}
		if n != u.groups {
			return fmt.Errorf("group %s lists %d members, there are %d", o, n, u.groups)
		}
	}
	for ns, n := range inNS {
		if len(ns.numbers) != n || ns.allocated != n {
			return fmt.Errorf("namespace %d: %d numbers, %d allocated; %d objects are used", ns.id, len(ns.numbers), ns.allocated, n)
		}
		if ns.subreapers != subreapers[ns] {
			return fmt.Errorf("namespace %d counts %d subreapers, there are %d", ns.id, ns.subreapers, subreapers[ns])
		}
		if ns.childReaper == nil {
			return fmt.Errorf("namespace %d has tasks and no reaper", ns.id)
		}
	}
	return nil
}

func (k *Kernel) checkTask(t *task) error {
	p := t.proc
	threads := []*task{}
	for x := p.first; x != nil; x = x.nextThread {
		threads = append(threads, x)
	}
	alive := 0
	for _, x := range threads {
		if !x.exiting {
			alive++
		}
		if x != p.leader && x.state != live {
			return fmt.Errorf("thread %d is not released", x.id)
		}
	}
	switch {
	case t.pid.task != t || p.leader.pid.process != p:
		return fmt.Errorf("its pid object belongs to another")
	case !slices.Contains(threads, t) || len(threads) != p.threads || alive != p.alive:
		return fmt.Errorf("%d threads, %d alive; counted %d, %d", len(threads), alive, p.threads, p.alive)
	case p.sessionLeader != (p.session == p.leader.pid):
		return fmt.Errorf("it leads a session that it is not in, or the reverse")
	case !p.session.ns.encloses(t.pid.ns):
		return fmt.Errorf("its session lives elsewhere (rule 8)")
	case t.exiting != (t.childNS == nil):
		return fmt.Errorf("exiting with a namespace for children, or the reverse")
	case t.exiting && t.firstChild != nil && !t.zapping:
		return fmt.Errorf("it has ended and has children")
	case t.state == zombie && t.zapping:
		return fmt.Errorf("a zombie that waits for its namespace")
	case t.exiting && t.state == live && !t.zapping:
		return fmt.Errorf("it is still exiting")
	}
	if p.parent == nil {
		return nil
	}
	listed := 0
	for c := p.parent.firstChild; c != nil; c = c.nextSibling {
		if c == p {
			listed++
		}
	}
	switch {
	case listed != 1:
		return fmt.Errorf("listed %d times among its siblings", listed)
	case p.parent.exiting && !p.parent.zapping:
		return fmt.Errorf("its parent has ended")
	case !p.parent.pid.ns.encloses(t.pid.ns):
		return fmt.Errorf("its parent lives elsewhere (rule 8)")
	}
	return nil
}
