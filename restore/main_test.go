// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/internal/leak"
	"github.com/pidgraft/pidgraft/internal/testforest"
)

// roleVariable makes a run of the test binary a restorer to be killed.
const roleVariable = "PIDGRAFT_TEST_ROLE"

// pidfileVariable is where it is to write its pidfile.
const pidfileVariable = "PIDGRAFT_TEST_PIDFILE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(playRole(role))
	}
	// It also makes this a subreaper: whatever a restore loses becomes a child
	// of this process.
	os.Exit(leak.Checked(m, testforest.Close).Run())
}

// nothingLeft checks that this process, a subreaper, has no live child.
func nothingLeft(t testing.TB) {
	t.Helper()
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG|unix.WALL, nil)
		switch {
		case err == unix.EINTR, pid > 0:
		case err == unix.ECHILD:
			return
		case pid == 0:
			t.Errorf("still there: %s", strings.Join(children(), ", "))
			return
		default:
			t.Fatalf("wait4: %v", err)
		}
	}
}

func children() []string {
	var list []string
	threads, _ := os.ReadDir("/proc/self/task")
	for _, thread := range threads {
		text, _ := os.ReadFile("/proc/self/task/" + thread.Name() + "/children")
		for _, pid := range strings.Fields(string(text)) {
			comm, _ := os.ReadFile("/proc/" + pid + "/comm")
			list = append(list, pid+" "+strings.TrimSpace(string(comm)))
		}
	}
	return list
}
