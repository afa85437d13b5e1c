// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pidgraft/pidgraft/internal/testforest"
)

const frozenForest = `
	outside fork init newpid
	init fork a
	a thread a2
	a sleepers 20
	init fork z
	z exit 3`

// makeCgroup makes a cgroup, to be removed when the test is over: before the
// forest that will be in it is started, so that it is empty by then.
func makeCgroup(t *testing.T, h hierarchy, name string) string {
	t.Helper()
	dir := filepath.Join(h.mount, fmt.Sprintf("pidgraft-test-%d-%s", os.Getpid(), name))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Those that are being killed leave in their own time.
		var err error
		for range 100 {
			if err = os.Remove(dir); err == nil || errors.Is(err, os.ErrNotExist) {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Error(err)
	})
	return dir
}

// join moves processes into a cgroup, with all their threads.
func join(t *testing.T, dir string, pids ...int) {
	t.Helper()
	for _, pid := range pids {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
			t.Fatal(err)
		}
	}
}

// inContainer are the processes of a forest that can be moved: zombies cannot.
func inContainer(t *testing.T, f *testforest.Forest) []int {
	t.Helper()
	tasks, threads := readAllProc(t)
	var pids []int
	for pid := range threads {
		if below(f.Root(), pid, tasks) && tasks[pid].stat[0] != "Z" {
			pids = append(pids, pid)
		}
	}
	return pids
}

// forEachHierarchy runs a test in each that is mounted here; one must be.
func forEachHierarchy(t *testing.T, test func(t *testing.T, h hierarchy)) {
	privileged(t)
	all, err := hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("neither cgroup v2 nor the v1 freezer is mounted: mount -t cgroup2 none /sys/fs/cgroup")
	}
	for _, h := range all {
		t.Run(h.String(), func(t *testing.T) { test(t, h) })
	}
}

// isFrozen reads the control file, not through the code under test.
func isFrozen(t *testing.T, dir string) bool {
	t.Helper()
	for _, file := range []string{"cgroup.events", "freezer.state"} {
		if b, err := os.ReadFile(filepath.Join(dir, file)); err == nil {
			return strings.Contains(string(b), "frozen 1") || string(b) == "FROZEN\n"
		}
	}
	t.Fatalf("%s has neither cgroup.events nor freezer.state", dir)
	return false
}

func eventually(what func() bool) bool {
	for range 200 {
		if what() {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}

func TestFreeze(t *testing.T) {
	forEachHierarchy(t, func(t *testing.T, h hierarchy) {
		dir := makeCgroup(t, h, "freeze")
		f := testforest.Start(t, frozenForest)
		join(t, dir, inContainer(t, f)...)
		l := start(t, Target{PID: f.Root(), Unwatched: true})
		thaw, err := l.Freeze(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if !isFrozen(t, dir) {
			t.Error("it is not frozen")
		}
		if n := len(snapshot(t, l).Tasks); n != 24 {
			t.Errorf("%d tasks, want 24", n)
		}
		for range 2 {
			if err := thaw(); err != nil {
				t.Error(err)
			}
			if !eventually(func() bool { return !isFrozen(t, dir) }) {
				t.Fatal("it is not thawed")
			}
		}
		if err := f.Run("a fork b"); err != nil {
			t.Errorf("after the thaw: %v", err)
		}
	})
}

// A target that spreads over cgroups of its own, as with systemd in it, is
// frozen by the outermost.
func TestFreezeOutermost(t *testing.T) {
	forEachHierarchy(t, func(t *testing.T, h hierarchy) {
		outer := makeCgroup(t, h, "outer")
		inner := makeCgroup(t, h, "outer/inner")
		other := makeCgroup(t, h, "outer/other")
		f := testforest.Start(t, frozenForest)
		join(t, inner, inContainer(t, f)...)
		join(t, other, f.PID("a"))
		l := start(t, Target{PID: f.Root(), Unwatched: true})
		thaw, err := l.Freeze(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		defer thaw()
		for _, dir := range []string{outer, inner, other} {
			if !isFrozen(t, dir) {
				t.Errorf("%s is not frozen", dir)
			}
		}
	})
}

// What is not the target's own is not frozen, not even for a moment; what does
// not hold all of the target is thawed again.
func TestFreezeRefuses(t *testing.T) {
	forEachHierarchy(t, func(t *testing.T, h hierarchy) {
		dir := makeCgroup(t, h, "refuse")
		f := testforest.Start(t, frozenForest)
		l := start(t, Target{PID: f.Root(), Unwatched: true})
		refused := func(what string, where ...string) {
			t.Helper()
			thaw, err := l.Freeze(context.Background())
			if err == nil {
				thaw()
			}
			if !errors.Is(err, ErrNoCgroup) {
				t.Errorf("%s: got %v, want %v", what, err, ErrNoCgroup)
			}
			for _, dir := range where {
				if !eventually(func() bool { return !isFrozen(t, dir) }) {
					t.Errorf("%s: %s is frozen", what, dir)
				}
			}
		}
		refused("in the root")
		join(t, dir, f.Root())
		refused("part of the target", dir)
		join(t, dir, append(inContainer(t, f), f.PID("outside"))...)
		refused("others too", dir)
	})
}

// Who froze it before keeps it frozen.
func TestFreezeFrozen(t *testing.T) {
	forEachHierarchy(t, func(t *testing.T, h hierarchy) {
		dir := makeCgroup(t, h, "frozen")
		f := testforest.Start(t, frozenForest)
		join(t, dir, inContainer(t, f)...)
		control := filepath.Join(dir, h.freezeFile())
		if err := os.WriteFile(control, []byte(h.freezeWord()), 0); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.WriteFile(control, []byte(h.thawWord()), 0); err != nil {
				t.Error(err)
			}
		})
		l := start(t, Target{PID: f.Root(), Unwatched: true})
		thaw, err := l.Freeze(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if err := thaw(); err != nil {
			t.Error(err)
		}
		time.Sleep(20 * time.Millisecond)
		if !isFrozen(t, dir) {
			t.Error("it was thawed")
		}
	})
}

// SIGKILL of the process that froze thaws.
func TestFreezerIsKilled(t *testing.T) {
	forEachHierarchy(t, func(t *testing.T, h hierarchy) {
		dir := makeCgroup(t, h, "killed")
		f := testforest.Start(t, frozenForest)
		join(t, dir, inContainer(t, f)...)
		cmd := helper("freeze", strconv.Itoa(f.Root()))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil || line != "frozen\n" || !isFrozen(t, dir) {
			t.Errorf("the helper says %q, %v", line, err)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
		if !eventually(func() bool { return !isFrozen(t, dir) }) {
			t.Error("it stays frozen")
			os.WriteFile(filepath.Join(dir, h.freezeFile()), []byte(h.thawWord()), 0)
		}
	})
}

// helpFreeze freezes and waits to be killed.
func helpFreeze() int {
	pid, err := strconv.Atoi(os.Args[1])
	if err == nil {
		var l *Loader
		if l, err = Open(Target{PID: pid, Unwatched: true}); err == nil {
			_, err = l.Freeze(context.Background())
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("frozen")
	time.Sleep(time.Minute)
	return 1
}

func TestParseMountinfo(t *testing.T) {
	got, err := parseMountinfo(strings.NewReader(`
25 30 0:23 / /sys rw,nosuid shared:7 - sysfs sysfs rw
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
36 31 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
41 31 0:38 /docker/x\040y /a\134b rw,relatime shared:9 master:2 - cgroup2 cgroup2 rw,nsdelegate
broken line - cgroup2
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []hierarchy{
		{v2: true, root: "/docker/x y", mount: `/a\b`},
		{root: "/", mount: "/sys/fs/cgroup/freezer"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(hierarchy{})); diff != "" {
		t.Error(diff)
	}
}

func TestParseCgroup(t *testing.T) {
	const file = "9:name=systemd:/s\n6:cpu,freezer:/f:g\n0::/u\n"
	if got, ok := parseCgroup(file, true); got != "/u" || !ok {
		t.Errorf("v2: got %q, %t", got, ok)
	}
	if got, ok := parseCgroup(file, false); got != "/f:g" || !ok {
		t.Errorf("v1: got %q, %t", got, ok)
	}
	if got, ok := parseCgroup("9:name=systemd:/s\n", true); ok {
		t.Errorf("none: got %q", got)
	}
}

func TestHierarchyDir(t *testing.T) {
	for _, test := range []struct {
		root, cgroup, want string
		ok                 bool
	}{
		{"/", "/a/b", "/m/a/b", true},
		{"/", "/", "/m", true},
		{"/", "/../x", "", false},
		{"/a", "/a", "/m", true},
		{"/a", "/a/b", "/m/b", true},
		{"/a", "/ab", "", false},
		{"/a", "/", "", false},
	} {
		got, ok := hierarchy{root: test.root, mount: "/m"}.dir(test.cgroup)
		if ok != test.ok || ok && got != test.want {
			t.Errorf("%s in %s: got %q, %t, want %q, %t", test.cgroup, test.root, got, ok, test.want, test.ok)
		}
	}
}
