// SPDX-License-Identifier: Apache-2.0

package reenact

import (
	"math/rand/v2"

	"pgregory.net/rapid"

	"github.com/pidgraft/pidgraft/internal/testforest"
	"github.com/pidgraft/pidgraft/restore/model"
)

// Draw draws a history of up to about as many steps as slots. It becomes smaller
// slot by slot: what is drawn is a seed, and of each slot whether it is empty, as
// one in eight is.
func Draw(t *rapid.T, slots int, c model.Config) *model.History {
	seed := rapid.Uint64().Draw(t, "seed")
	filled := rapid.SliceOfN(rapid.IntRange(0, 15), slots, slots).Draw(t, "slots (0: empty)")
	pickers := make([]model.Picker, slots)
	for i := range pickers {
		if i == 0 || filled[i] != 0 {
			pickers[i] = rand.New(rand.NewPCG(seed, uint64(i))).IntN
		}
	}
	c.OutsiderReaps = true
	h, _ := model.GenerateSlots(pickers, c)
	return h
}

// Kinds is what real tasks can do without changing the machine.
func Kinds() model.Kinds {
	if !testforest.OwnPidMax() {
		return model.All &^ model.Of(model.WriteMax)
	}
	return model.All
}

// Version is that of this kernel, as far as the model knows.
func Version() model.Version { return min(model.Version(testforest.Release()), model.Latest) }
