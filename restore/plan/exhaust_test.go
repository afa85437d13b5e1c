// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"flag"
	"testing"

	"github.com/pidgraft/pidgraft/restore/model"
)

var exhaustMore = flag.Int("exhaust.more", 0, "calls by which TestExhaust goes further")

// TestExhaust plans every state that some legal history of a few calls leads
// to, since small cases hide the odd ones. The histories are of a container with
// at most so many processes and threads; states that differ in numbers only are
// one.
func TestExhaust(t *testing.T) {
	for _, c := range []struct {
		name   string
		config model.Config
	}{
		{"basic", model.Config{Kinds: model.Basic, MaxSteps: 4, MaxTasks: 4}},
		{"adopting", model.Config{Kinds: model.Adopting, MaxSteps: 4, MaxTasks: 4}},
		{"entering", model.Config{Kinds: model.Entering &^ model.Of(model.ForkNamed), MaxSteps: 3, MaxTasks: 4}},
		{"all", model.Config{Kinds: model.All &^ model.Of(model.ForkNamed, model.WriteCursor, model.WriteMax), MaxSteps: 3, MaxTasks: 4}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.config.MaxSteps += *exhaustMore
			y := newTally()
			model.Exhaust(c.config, func(h *model.History, k *model.Kernel) bool {
				f, err := k.Forest(h.Root, h.Mode)
				if err != nil {
					t.Errorf("%v\n%s", err, h)
					return false
				}
				refused, err := prove(f, h, nil)
				if err != nil {
					t.Error(err)
					return false
				}
				y.count(f, h, refused)
				return true
			})
			t.Logf("histories of up to %d calls: %s\n%s", c.config.MaxSteps, y.summary(), y.details())
		})
	}
}
