// SPDX-License-Identifier: Apache-2.0

package criu

import (
	"os"
	"testing"

	"github.com/pidgraft/pidgraft/internal/leak"
)

func TestMain(m *testing.M) { os.Exit(leak.Checked(m).Run()) }
