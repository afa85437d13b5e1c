// SPDX-License-Identifier: Apache-2.0

package alone_test

import (
	"flag"
	"fmt"
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

// TestShort: what runs inside is as short as what runs outside.
func TestShort(t *testing.T) {
	require.Root(t)
	if alone.Inside() {
		alone.Enter(t)
		alone.Report(t, testing.Short())
		return
	}
	short := flag.Lookup("test.short").Value
	old := short.String()
	defer func() {
		if err := short.Set(old); err != nil {
			t.Error(err)
		}
	}()
	for _, want := range []bool{true, false} {
		if err := short.Set(fmt.Sprint(want)); err != nil {
			t.Fatal(err)
		}
		var got bool
		if log, err := alone.Run("TestShort", &got); err != nil || got != want {
			t.Errorf("-short is %v inside, want %v (%v)\n%s", got, want, err, log)
		}
	}
}

var start = time.Now()

//go:noinline
func hang() { time.Sleep(time.Hour) }
