// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"time"

	"github.com/pidgraft/pidgraft/audit"
	"github.com/pidgraft/pidgraft/audit/container"
	"github.com/pidgraft/pidgraft/audit/record"
	events "github.com/pidgraft/pidgraft/audit/source"
	"github.com/pidgraft/pidgraft/audit/state"
)

// naming names the containers in records. It reads beside the rest, but for the
// first time: then nothing waits yet, and all that is there gets its names.
type naming struct {
	names     *container.Names
	views     *events.Proc
	questions chan []container.Question
	answers   chan []answer
	asking    bool
	lookedAt  time.Time
}

type answer struct {
	container.Question
	cgroups string
}

// beginNaming reads through views for one whose pid namespace is at a level
// below the initial one. With the context it ends.
func beginNaming(ctx context.Context, views *events.Proc, level int) *naming {
	n := &naming{
		names: container.NewNames(level), views: views,
		questions: make(chan []container.Question, 1), answers: make(chan []answer, 1),
	}
	go func() {
		for {
			select {
			case due := <-n.questions:
				n.answers <- n.read(due)
			case <-ctx.Done():
				return
			}
		}
	}()
	return n
}

// read asks. Of one who has ended meanwhile nothing is heard.
func (n *naming) read(due []container.Question) []answer {
	answers := make([]answer, 0, len(due))
	for _, q := range due {
		if cgroups, err := n.views.Cgroup(q.Number); err == nil {
			answers = append(answers, answer{q, cgroups})
		}
	}
	return answers
}

func (n *naming) take(s *state.State, answers []answer) {
	for _, a := range answers {
		n.names.Take(s, a.Question, a.cgroups)
	}
}

// name completes a record.
func (n *naming) name(a *audit.Auditor, r *record.Record) {
	if r.Snapshot != nil && r.Snapshot.Cause == "start" {
		n.take(a.State(), n.read(n.names.Due(a.State(), r.Monotonic)))
	}
	r.Name(n.names.Of)
}

// turn takes what has been read, and asks for what else is to be. It is called
// now and then, and looks once a second.
func (n *naming) turn(a *audit.Auditor, now uint64) {
	if a.State() == nil {
		return
	}
	select {
	case answers := <-n.answers:
		n.take(a.State(), answers)
		n.asking = false
	default:
	}
	if n.asking || time.Since(n.lookedAt) < time.Second {
		return
	}
	n.lookedAt = time.Now()
	if due := n.names.Due(a.State(), now); len(due) > 0 {
		n.asking = true
		n.questions <- due
	}
}
