// SPDX-License-Identifier: Apache-2.0

package model

import (
	"os"
	"testing"

	"github.com/pidgraft/pidgraft/internal/leak"
	"github.com/pidgraft/pidgraft/internal/testforest"
)

func TestMain(m *testing.M) { os.Exit(leak.Checked(m, testforest.Close).Run()) }
