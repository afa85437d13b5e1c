// SPDX-License-Identifier: Apache-2.0

package restore

import "sync"

// Stage is what a restore is at.
type Stage string

// The stages, in their order.
const (
	// StageBegin is everything before the first task: the checks of this
	// machine, the memory of the plan, the coordinator.
	StageBegin Stage = "begin"
	// StageMake is until every task that is to stay is in place.
	StageMake Stage = "make tasks"
	// StageEnd is until every task that was to end has.
	StageEnd Stage = "end helpers"
	// StageVerify is Options.Verify.
	StageVerify Stage = "verify"
	// StageCommit is until the forest lives and has been reported.
	StageCommit Stage = "commit"
	// StageLive is after that, for Run is done or waits for the root to end.
	StageLive Stage = "live"
)

// Progress tells how far a Run is. It is for one Run; nothing of it costs the
// tasks anything: what is read are the words that they write anyway.
type Progress struct {
	// Stage, if not nil, is called by Run when a stage begins.
	Stage func(Stage)

	mu  sync.Mutex
	run *run
}

// Standing is how far a Run is.
type Standing struct {
	// Held tasks are in place, of Holds.
	Held, Holds int
	// Waiting says of tasks that are neither in place nor ended what they
	// are at, in the plan's order.
	Waiting []string
}

// Now is how far it is; waiting asks for Standing.Waiting, which takes a look at
// every task. It may be called by any goroutine at any time. Before tasks are
// made and after they are, it is zero.
func (p *Progress) Now(waiting bool) Standing {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run == nil {
		return Standing{}
	}
	s := Standing{Held: int(p.run.mem.held()), Holds: p.run.holds}
	if waiting {
		s.Waiting = p.run.waiting(p.run.mem)
	}
	return s
}

// of is who makes progress from now on; nil: nobody.
func (p *Progress) of(r *run) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.run = r
}

func (p *Progress) stage(s Stage) {
	if p != nil && p.Stage != nil {
		p.Stage(s)
	}
}
