// SPDX-License-Identifier: Apache-2.0

package alone_test

import (
	"flag"
	"strings"
	"testing"
	"time"

	"github.com/pidgraft/pidgraft/internal/alone"
	"github.com/pidgraft/pidgraft/internal/require"
)

// TestHangShows: a test that hangs inside says where before the one outside
// would be ended for it.
func TestHangShows(t *testing.T) {
	require.Root(t)
	if alone.Inside() {
		alone.Enter(t)
		hang()
	}
	timeout := flag.Lookup("test.timeout").Value
	old := timeout.String()
	// What counts is the time since the start of this program.
	if err := timeout.Set((time.Since(start) + 2*time.Second).String()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := timeout.Set(old); err != nil {
			t.Error(err)
		}
	}()
	log, err := alone.Run("TestHangShows", new(int))
	if err == nil || !strings.Contains(log, "alone_test.hang(") {
		t.Errorf("a test that hangs: %v\n%s", err, log)
	}
}

var start = time.Now()

//go:noinline
func hang() { time.Sleep(time.Hour) }
