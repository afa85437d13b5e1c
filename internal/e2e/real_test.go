// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pidgraft/pidgraft/internal/container"
	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/internal/witness"
)

// TestContainer takes a runc container with a busy shell, and sandboxes within,
// from life to image and back.
func TestContainer(t *testing.T) {
	require.Root(t)
	for _, program := range []string{"runc", "bwrap", "busybox", "bash"} {
		requireProgram(t, program)
	}
	c, err := container.Start()
	if err != nil {
		t.Fatal(err)
	}
	alive := true
	t.Cleanup(func() {
		if alive {
			c.Kill()
		}
	})
	before := testimony(t, c.PID)
	expectBusy(t, before)
	image := filepath.Join(t.TempDir(), "container.img")
	must(t, "dump", "-o", image, strconv.Itoa(c.PID))
	expectSame(t, "the dump changed its target", before, testimony(t, c.PID))
	frozen := image + ".frozen"
	must(t, "dump", "--freeze", "-o", frozen, strconv.Itoa(c.PID))
	expectSame(t, "the freezing dump changed its target", before, testimony(t, c.PID))
	must(t, "diff", image, frozen)
	alive = false
	if err := c.Kill(); err != nil {
		t.Fatal(err)
	}
	after := testimony(t, restored(t, image))
	expectSame(t, "what was restored is not the same", before, after, unkept...)
}

// expectBusy holds against the container what it is there to show.
func expectBusy(t *testing.T, f *witness.Forest) {
	t.Helper()
	var deepest, zombies int
	users := map[string]bool{}
	for k, task := range f.Tasks {
		deepest = max(deepest, strings.Count(string(k), "/"))
		users[task[witness.Users]] = true
		if task[witness.State] == "zombie" {
			zombies++
		}
	}
	if deepest != 2 || zombies < 2 || len(users) != 4 || len(f.Ghosts()) < 2 {
		t.Errorf("the container has %d levels below it, %d zombies, %d user namespaces and ghosts %q",
			deepest, zombies, len(users), f.Ghosts())
	}
}

// TestInheritedSession takes inits that never called setsid: their session and
// group are led from outside.
func TestInheritedSession(t *testing.T) {
	require.Root(t)
	const jobs = "sleep 1000 & setsid sleep 1000 & sleep 1000 & wait"
	for _, c := range []struct {
		name string
		args []string
		init string // name of its init, a child of the command
	}{
		{"unshare", []string{"unshare", "-pf", "--mount-proc", "--kill-child", "sh", "-c", jobs}, "sh"},
		{"bwrap", []string{"bwrap", "--unshare-pid", "--die-with-parent", "--dev-bind", "/", "/",
			"sh", "-c", jobs}, "bwrap"},
		{"bwrap-user", []string{"bwrap", "--unshare-user", "--unshare-pid", "--die-with-parent", "--dev-bind", "/", "/",
			"sh", "-c", jobs}, "bwrap"},
	} {
		t.Run(c.name, func(t *testing.T) {
			requireProgram(t, c.args[0])
			cmd := exec.Command(c.args[0], c.args[1:]...)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			end := func() {
				cmd.Process.Kill()
				cmd.Wait()
			}
			init := child(t, cmd.Process.Pid, c.init)
			t.Cleanup(func() {
				end()
				reap(t, init) // it became a child of this process
			})
			before := settled(t, init, 3)
			if g := before.Tasks["1"][witness.Session]; g != "0" {
				t.Fatalf("the init's session is %s", g)
			}
			image := filepath.Join(t.TempDir(), "x.img")
			must(t, "dump", "-o", image, strconv.Itoa(init))
			end()
			after := testimony(t, restored(t, image))
			expectSame(t, "what was restored is not the same", before, after, unkept...)
		})
	}
}

// child waits until a process has a child of that name.
func child(t *testing.T, pid int, name string) int {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		found, err := children(pid)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range found {
			if comm(n) == name {
				return n
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d has no child %s", pid, name)
		}
	}
}

// settled waits until a forest has n sleeps.
func settled(t *testing.T, root, n int) *witness.Forest {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		f := testimony(t, root)
		sleeps := 0
		for _, task := range f.Tasks {
			if task[witness.Comm] == "sleep" {
				sleeps++
			}
		}
		if sleeps == n {
			return f
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d sleeps run", sleeps, n)
		}
	}
}
