// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore/model"
	"github.com/pidgraft/pidgraft/restore/plan"
)

// tally is what came of many forests.
type tally struct {
	forests int
	none    int // histories that end in no forest
	plain   int // of the forests
	tasks   int
	refused map[refusal]int
	example map[refusal]*model.History // the shortest that ends in one
	states  map[string]int             // forests by kind of state
	wrong   map[string]wrong           // by what is wrong
}

// wrong are plans that do not lead where they should, in the same way.
type wrong struct {
	times int
	first error
}

// refusal is what refusals are counted by.
type refusal struct {
	kind   plan.Kind
	reason string
}

func newTally() *tally {
	return &tally{refused: map[refusal]int{}, example: map[refusal]*model.History{}, states: map[string]int{}, wrong: map[string]wrong{}}
}

func (y *tally) count(f *forest.Forest, h *model.History, refused *plan.Refusal) {
	y.forests++
	y.tasks += len(f.Tasks)
	if plan.Plain(f) {
		y.plain++
	}
	if refused != nil {
		r := refusal{refused.Kind, generic(refused.Reason)}
		y.refused[r]++
		y.keep(r, h)
	}
	for _, kind := range stateKinds(f) {
		y.states[kind]++
	}
}

// keep keeps the history of a refusal if it is the shortest so far.
func (y *tally) keep(r refusal, h *model.History) {
	if old := y.example[r]; old == nil || len(h.Steps) < len(old.Steps) {
		y.example[r] = h
	}
}

func (y *tally) fail(err error, times int) {
	what := wrongKind(errors.Unwrap(err))
	w := y.wrong[what]
	if w.first == nil {
		w.first = err
	}
	w.times += times
	y.wrong[what] = w
}

// wrongKind is what wrong plans are counted by.
func wrongKind(err error) string {
	what, _, _ := strings.Cut(err.Error(), "\n")
	return generic(what)
}

func (y *tally) add(x *tally) {
	y.forests += x.forests
	y.none += x.none
	y.plain += x.plain
	y.tasks += x.tasks
	for _, w := range x.wrong {
		y.fail(w.first, w.times)
	}
	for r, n := range x.refused {
		y.refused[r] += n
		y.keep(r, x.example[r])
	}
	for k, n := range x.states {
		y.states[k] += n
	}
}

var specific = regexp.MustCompile(`(task )?#?[0-9]+(/[0-9]+)*( \([^)]*\))?|inherited|root\b`)

// generic is a reason without what is particular to its forest.
func generic(reason string) string {
	reason, _, _ = strings.Cut(reason, "; of ") // as many ways as were tried
	return specific.ReplaceAllString(reason, "N")
}

// summary is one line: how many forests, and how many refused by kind.
func (y *tally) summary() string {
	kinds := map[plan.Kind]int{}
	total, wrong := 0, 0
	for _, w := range y.wrong {
		wrong += w.times
	}
	for r, n := range y.refused {
		kinds[r.kind] += n
		total += n
	}
	s := fmt.Sprintf("%d forests (%d histories end in none), %d plain, %d tasks; %d wrong plans, %d refused",
		y.forests, y.none, y.plain, y.tasks, wrong, total)
	for k := plan.Unreachable; k <= plan.SearchLimit; k++ {
		if kinds[k] > 0 {
			s += fmt.Sprintf(", %d %s", kinds[k], k)
		}
	}
	return s
}

// details are refusals by reason, and forests by kind of state.
func (y *tally) details() string {
	var b strings.Builder
	b.WriteString("refused:\n")
	reasons := slices.SortedFunc(maps.Keys(y.refused), func(p, q refusal) int {
		if d := y.refused[q] - y.refused[p]; d != 0 {
			return d
		}
		return strings.Compare(p.reason, q.reason)
	})
	for _, r := range reasons {
		fmt.Fprintf(&b, "%9d %s (%s)\n", y.refused[r], r.reason, r.kind)
		if *proveExamples {
			b.WriteString(example(r, y.example[r]))
		}
	}
	b.WriteString("forests with\n")
	for _, kind := range allStateKinds() {
		fmt.Fprintf(&b, "%9d %s\n", y.states[kind], kind)
	}
	return b.String()
}

// example is a refused history made as short as it can be.
func example(r refusal, h *model.History) string {
	h = shrink(h, func(_ *model.History, f *forest.Forest) bool {
		got := planned(f)
		return got != nil && refusal{got.Kind, generic(got.Reason)} == r
	})
	k, err := h.Replay()
	if err != nil {
		return err.Error()
	}
	f, err := k.Forest(h.Root, h.Mode)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s%s%v\n", h, tasks(f), planned(f))
}

// missing are the kinds of states that no forest had.
func (y *tally) missing() []string {
	return slices.DeleteFunc(allStateKinds(), func(kind string) bool { return y.states[kind] > 0 })
}
