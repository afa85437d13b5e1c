// SPDX-License-Identifier: Apache-2.0

package reenact

import (
	"flag"
	"os"
	"testing"

	"github.com/pidgraft/pidgraft/internal/leak"
	"github.com/pidgraft/pidgraft/internal/testforest"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *kernelWorker >= 0 {
		os.Exit(m.Run()) // what it leaves, its namespace takes along
	}
	os.Exit(leak.Checked(m, testforest.Close).Run())
}
