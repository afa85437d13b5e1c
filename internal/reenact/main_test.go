// SPDX-License-Identifier: Apache-2.0

package reenact

import (
	"os"
	"testing"

	"github.com/pidgraft/pidgraft/internal/alone"
	"github.com/pidgraft/pidgraft/internal/leak"
	"github.com/pidgraft/pidgraft/internal/testforest"
)

func TestMain(m *testing.M) {
	if alone.Inside() {
		os.Exit(m.Run()) // what it leaves, its namespace takes along
	}
	os.Exit(leak.Checked(m, testforest.Close).Run())
}
