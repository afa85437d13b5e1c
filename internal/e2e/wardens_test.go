// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/internal/testforest"
)

// TestWardensInPlace restores subtrees in the namespace where they were, that are in
// namespaces whose inits are outside of them: with every number, and inits beside
// the root that nobody in it sees.
func TestWardensInPlace(t *testing.T) {
	require.Root(t)
	require.Feature(t, require.CgroupKill)
	names := []string{"subtree-beside-namespace", "subtree-init-outside-leads-group", "subtree-init-waits-for-outside"}
	tried := 0
	for _, s := range testforest.Samples() {
		if !slices.Contains(names, s.Name) {
			continue
		}
		tried++
		t.Run(s.Name, func(t *testing.T) {
			forest := testforest.Start(t, s.Script)
			image := filepath.Join(t.TempDir(), "forest.img")
			before := testimony(t, forest.Root())
			must(t, "dump", "--subtree", "-o", image, strconv.Itoa(forest.Root()))
			if err := forest.Kill(); err != nil {
				t.Fatal(err)
			}
			for _, flags := range ways(0) {
				mine, err := children(os.Getpid())
				if err != nil {
					t.Fatal(err)
				}
				out := must(t, append(append([]string{"restore", "-d", "--pidns=current"}, flags...), image)...)
				root, err := strconv.Atoi(strings.TrimSpace(out))
				if err != nil {
					t.Fatalf("restore -d printed %q", out)
				}
				if root != forest.Root() {
					t.Errorf("the root is %d now, and was %d", root, forest.Root())
				}
				expectSame(t, "with "+strings.Join(flags, " ")+" it is not the same", before, testimony(t, root), unkept...)
				endAll(t, mine)
			}
		})
	}
	if tried != len(names) {
		t.Errorf("there are %d of the samples %v", tried, names)
	}
}

// endAll kills all children of this process but those that it had before, and
// whom they leave to it, which is adopted here.
func endAll(t testing.TB, before []int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		now, err := children(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		now = slices.DeleteFunc(now, func(pid int) bool { return slices.Contains(before, pid) })
		if len(now) == 0 {
			return
		}
		for _, pid := range now {
			_ = unix.Kill(pid, unix.SIGKILL)
			_, _ = unix.Wait4(pid, nil, unix.WNOHANG|unix.WALL, nil)
		}
		if time.Now().After(deadline) {
			t.Fatalf("left: %v", now)
		}
	}
}
