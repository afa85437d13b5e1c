// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore/model"
	"github.com/pidgraft/pidgraft/restore/plan"
	"github.com/pidgraft/pidgraft/restore/plan/view"
)

var (
	proveN        = flag.Int("prove.n", 20000, "random histories of TestProve, over all classes")
	proveExamples = flag.Bool("prove.examples", false, "show a small history for each reason of refusal")
	proveSeed     = flag.Uint64("prove.seed", 1, "seed of TestProve")
)

// classes of histories, from those that need little of a planner.
var classes = []struct {
	name   string
	config model.Config
}{
	{"basic", model.Config{Kinds: model.Basic}},
	{"basic subtree", model.Config{Kinds: model.Basic, Subtree: true}},
	{"adopting", model.Config{Kinds: model.Adopting}},
	{"adopting subtree", model.Config{Kinds: model.Adopting, Subtree: true}},
	{"entering", model.Config{Kinds: model.Entering}},
	{"owning", model.Config{Kinds: model.Owning}},
	{"stopping", model.Config{Kinds: model.Stopping}},
	{"grouping", model.Config{Kinds: model.Of(model.Fork, model.ForkThread, model.ForkPID, model.ExitAll, model.Reap,
		model.NewSession, model.JoinGroup, model.MoveChild)}},
	{"all", model.Config{Kinds: model.All}},
	{"all subtree", model.Config{Kinds: model.All, Subtree: true}},
	{"large", model.Config{Kinds: model.Adopting, MinSteps: 100, MaxSteps: 300, MaxTasks: 60}},
	{"large subtree", model.Config{Kinds: model.Adopting, Subtree: true, MinSteps: 100, MaxSteps: 300, MaxTasks: 60}},
	{"large all", model.Config{Kinds: model.All, MinSteps: 100, MaxSteps: 300, MaxTasks: 40}},
}

// TestProve plans the end states of random legal histories and runs the plans
// in the model, which knows nothing of the planner: the forest that comes out
// must be the one that went in, whatever order the actors run in. It counts
// the refusals, each a hole in the planner, since every state is reachable; and
// what kinds of states there were, so that none is left out unseen.
func TestProve(t *testing.T) {
	each := max(1, *proveN/len(classes))
	total := newTally()
	for i, c := range classes {
		t.Run(c.name, func(t *testing.T) {
			got := inParallel(each, func(k int, y *tally) error {
				return proveRandom(i, k, y)
			})
			t.Log(got.summary())
			total.add(got)
			for _, w := range got.wrong {
				t.Errorf("%d plans are wrong like this: %v", w.times, w.first)
			}
		})
	}
	t.Logf("seed %d: %s\n%s", *proveSeed, total.summary(), total.details())
	if total.forests > 10000 {
		for _, kind := range total.missing() {
			t.Errorf("no forest had %s", kind)
		}
	}
}

// proveRandom plans the end of history k of a class.
func proveRandom(class, k int, y *tally) error {
	r := rand.New(rand.NewPCG(*proveSeed+uint64(class)<<32, uint64(k)))
	h, machine := model.GenerateRand(r, classes[class].config)
	f, err := machine.Forest(h.Root, h.Mode)
	if err != nil {
		y.none++ // the root is gone, or something is led from outside
		return nil
	}
	refused, err := prove(f, h, r.IntN)
	if err != nil {
		err = smaller(h, err)
		return fmt.Errorf("-prove.seed %d, %s, history %d: %w", *proveSeed, classes[class].name, k, err)
	}
	y.count(f, h, refused)
	return nil
}

// smaller is err, of a wrong plan for the end of h, or the same of a history
// made as short as it can be.
func smaller(h *model.History, err error) error {
	kind, last := wrongKind(err), err
	shrink(h, func(h *model.History, f *forest.Forest) bool {
		_, err := prove(f, h, rand.New(rand.NewPCG(1, 1)).IntN)
		if err == nil || wrongKind(err) != kind {
			return false
		}
		last = err
		return true
	})
	return last
}

// inParallel does n things on all processors. Their errors are wrong plans.
func inParallel(n int, do func(k int, y *tally) error) *tally {
	total := newTally()
	var next atomic.Int64
	var group sync.WaitGroup
	var lock sync.Mutex
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			y := newTally()
			for k := next.Add(1) - 1; k < int64(n); k = next.Add(1) - 1 {
				if err := do(int(k), y); err != nil {
					y.fail(err, 1)
				}
			}
			lock.Lock()
			defer lock.Unlock()
			total.add(y)
		})
	}
	group.Wait()
	return total
}

// prove plans f and runs the plan, in two orders. It returns the first
// refusal, if any; the error is a wrong plan.
func prove(f *forest.Forest, h *model.History, order model.Scheduler) (*plan.Refusal, error) {
	p, err := plan.Make(f, proveOptions)
	if err != nil {
		var rs plan.Refusals
		if !errors.As(err, &rs) {
			return nil, fmt.Errorf("not a refusal: %w\nhistory:\n%s\nforest:\n%s", err, h, tasks(f))
		}
		if plan.Plain(f) {
			return nil, fmt.Errorf("refused, and said to be plain: %w\nhistory:\n%s\nforest:\n%s", err, h, tasks(f))
		}
		return rs[0], nil
	}
	for _, order := range []model.Scheduler{nil, order} {
		got, err := model.Execute(p, f, order)
		if err != nil {
			return nil, fmt.Errorf("the plan fails: %w\n%s", err, explain(f, p, h))
		}
		if d := forest.Diff(f, got, forest.DiffOptions{}); len(d) > 0 {
			return nil, fmt.Errorf("the plan ends in another forest: %v\n%s", d, explain(f, p, h))
		}
	}
	return nil, nil
}

// planned is the first reason why f is refused, or nil.
func planned(f *forest.Forest) *plan.Refusal {
	var rs plan.Refusals
	if _, err := plan.Make(f, proveOptions); errors.As(err, &rs) {
		return rs[0]
	}
	return nil
}

var proveOptions = plan.Options{OwnPidMax: true, PidMax: 4 << 20}

func explain(f *forest.Forest, p *plan.Plan, h *model.History) string {
	var b strings.Builder
	fmt.Fprintf(&b, "history:\n%s\nforest:\n%splan:\n", h, tasks(f))
	if err := view.Text(&b, p, f); err != nil {
		b.WriteString(err.Error())
	}
	return b.String()
}

// tasks lists the tasks of a forest, one a line.
func tasks(f *forest.Forest) string {
	var b strings.Builder
	for i := range f.Tasks {
		t := &f.Tasks[i]
		fmt.Fprintf(&b, "%s tgid %s pgid %s sid %s parent %s/%s %s sub=%v sig=%d ns=%d child=%d\n", f.TaskName(i), f.TagName(t.TGID), f.TagName(t.PGID), f.TagName(t.SID),
			f.TagName(t.Parent), f.TagName(t.ParentThread), t.State, t.Subreaper, t.ExitSignal, f.Pid(t.Pid).Namespace, t.ChildNamespace)
	}
	return b.String()
}
