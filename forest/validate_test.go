// SPDX-License-Identifier: Apache-2.0

package forest_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/forest/foresttest"
)

func TestLegalHistoriesAreValid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := foresttest.Random(t)
		if err := forest.Validate(f); err != nil {
			t.Fatal(err)
		}
	})
}
