// SPDX-License-Identifier: Apache-2.0

package alone_test

import (
	"os"
	"testing"

	"github.com/pidgraft/pidgraft/internal/alone"
	"github.com/pidgraft/pidgraft/internal/leak"
)

func TestMain(m *testing.M) {
	if alone.Inside() {
		os.Exit(m.Run()) // what it leaves, its namespace takes along
	}
	os.Exit(leak.Checked(m).Run())
}
