// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"regexp"
	"sort"
	"strings"
	"testing"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore/model"
	"github.com/pidgraft/pidgraft/restore/plan"
	"github.com/pidgraft/pidgraft/restore/plan/view"
)

var (
	proveN    = flag.Int("prove.n", 2000, "random histories for each class of TestProve")
	proveSeed = flag.Uint64("prove.seed", 1, "seed of TestProve")
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
	{"all", model.Config{Kinds: model.All}},
	{"large", model.Config{Kinds: model.Adopting, MinSteps: 100, MaxSteps: 300, MaxTasks: 60}},
	{"large subtree", model.Config{Kinds: model.Adopting, Subtree: true, MinSteps: 100, MaxSteps: 300, MaxTasks: 60}},
}

// TestProve plans the end states of random legal histories and runs the plans
// in the model, which knows nothing of the planner: the forest that comes out
// must be the one that went in, whatever order the actors run in. It counts
// the refusals: each is a hole in the planner, since every state is reachable.
func TestProve(t *testing.T) {
	for i, c := range classes {
		t.Run(c.name, func(t *testing.T) {
			refused := map[refusal]int{}
			n := 0
			for k := range *proveN {
				r := rand.New(rand.NewPCG(*proveSeed+uint64(i)<<32, uint64(k)))
				h, machine := model.GenerateRand(r, c.config)
				f, err := machine.Forest(h.Root, h.Mode)
				if err != nil {
					continue // no forest: the root is gone, or is led from outside
				}
				n++
				if r := prove(t, f, h, r); r != nil {
					refused[refusal{r.Kind, generic(r.Reason)}]++
				}
				if t.Failed() {
					return
				}
			}
			report(t, n, refused)
		})
	}
}

// prove plans f and runs the plan; it returns the first refusal, if any.
func prove(t *testing.T, f *forest.Forest, h *model.History, r *rand.Rand) *plan.Refusal {
	t.Helper()
	p, err := plan.Make(f, plan.Options{OwnPidMax: true, PidMax: 4 << 20})
	if err != nil {
		var rs plan.Refusals
		if !errors.As(err, &rs) {
			t.Fatalf("not a refusal: %v", err)
		}
		return rs[0]
	}
	for _, order := range []model.Scheduler{nil, r.IntN} {
		got, err := model.Execute(p, f, order)
		if err != nil {
			t.Fatalf("the plan fails: %v\n%s", err, explain(f, p, h))
		}
		if d := forest.Diff(f, got, forest.DiffOptions{}); len(d) > 0 {
			t.Fatalf("the plan ends in another forest: %v\n%s", d, explain(f, p, h))
		}
	}
	return nil
}

func explain(f *forest.Forest, p *plan.Plan, h *model.History) string {
	var b strings.Builder
	fmt.Fprintf(&b, "history:\n%s\nforest:\n", h)
	for i := range f.Tasks {
		t := &f.Tasks[i]
		fmt.Fprintf(&b, "%s tgid %s pgid %s sid %s parent %s/%s %s sub=%v sig=%d ns=%d child=%d\n", f.TaskName(i), f.TagName(t.TGID), f.TagName(t.PGID), f.TagName(t.SID),
			f.TagName(t.Parent), f.TagName(t.ParentThread), t.State, t.Subreaper, t.ExitSignal, f.Pid(t.Pid).Namespace, t.ChildNamespace)
	}
	b.WriteString("plan:\n")
	if err := view.Text(&b, p, f); err != nil {
		b.WriteString(err.Error())
	}
	return b.String()
}

var specific = regexp.MustCompile(`(task )?#?[0-9]+(/[0-9]+)*( \([^)]*\))?|inherited|root\b`)

// generic is a reason without what is particular to its forest.
func generic(reason string) string { return specific.ReplaceAllString(reason, "N") }

// refusal is what refusals are counted by.
type refusal struct {
	kind   plan.Kind
	reason string
}

// report logs how many forests were refused, by kind and by reason.
func report(t *testing.T, n int, refused map[refusal]int) {
	var reasons []refusal
	kinds := map[plan.Kind]int{}
	total := 0
	for r, k := range refused {
		reasons = append(reasons, r)
		kinds[r.kind] += k
		total += k
	}
	sort.Slice(reasons, func(i, j int) bool { return refused[reasons[i]] > refused[reasons[j]] })
	var by []string
	for k := plan.Unreachable; k <= plan.SearchLimit; k++ {
		if kinds[k] > 0 {
			by = append(by, fmt.Sprintf("%d %s", kinds[k], k))
		}
	}
	t.Logf("%d forests, %d refused %v", n, total, by)
	for _, r := range reasons {
		t.Logf("%6d %s (%s)", refused[r], r.reason, r.kind)
	}
}
