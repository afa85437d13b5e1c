// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"os"
	"os/exec"
	"testing"

	"github.com/pidgraft/pidgraft/internal/leak"
	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/internal/testforest"
)

// The test binary is also started for what must happen in another process: see
// helpers.
func TestMain(m *testing.M) {
	if run, ok := helpers[os.Getenv(helperEnv)]; ok {
		os.Exit(run())
	}
	os.Exit(leak.Checked(m, testforest.Close).Run())
}

const helperEnv = "PIDGRAFT_LOADER_TEST_HELPER"

// helpers are what the test binary does instead of testing.
var helpers = map[string]func() int{
	"open":   helpOpen,
	"freeze": helpFreeze,
}

// helper is the test binary as one of helpers.
func helper(name string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), helperEnv+"="+name)
	cmd.Stderr = os.Stderr
	return cmd
}

// privileged is for tests that load BPF programs and make namespaces.
func privileged(t testing.TB) {
	t.Helper()
	require.Root(t)
	require.Feature(t, require.BTF)
}
