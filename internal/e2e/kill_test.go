// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/internal/testforest"
	"github.com/pidgraft/pidgraft/internal/witness"
)

// everything is a forest that a restore cannot make without every kind of
// operation: a moment missing here would be one where a kill is not tried.
const everything = `
	outside fork init newpid
	init setsid
	init thread i2
	init fork a
	a setsid
	a thread a2
	a fork b
	b setpgid self self
	b fork c
	b exit 0
	a reap b
	a fork n newpid
	n fork d
	d setsid
	d fork e
	d exit 0
	n reap d
	n fork nn newpid
	nn fork f
	init fork z
	z exit 7
	init fork k
	host kill k TERM
	init fork u newuser newpid
	host maps u uid 0 0 65536
	host maps u gid 0 0 65536
	u fork g
	init fork gone
	gone setsid
	gone fork h
	gone exit 0
	init reap gone
	init fork p
	p fork q sig=9
	p exec
	q exit 3`

// moments is how many restores or dumps are killed, a tenth with -short.
func moments(n int) int {
	if testing.Short() {
		return n / 10
	}
	return n
}

// TestKillRestorer kills a restore at one moment after another, from its start
// to beyond its end. If it had not reported success by then, nothing of the
// forest may remain; if it had, all of it must be there.
func TestKillRestorer(t *testing.T) {
	killRestores(t, killedRestore)
}

// TestKillParent does the same to one that stays, whose report is the pidfile.
func TestKillParent(t *testing.T) {
	killRestores(t, killedParent)
}

// killRestores has kill begin restores of an image and kill them: what it gives is
// the root's number, if that was reported, or 0.
func killRestores(t *testing.T, kill func(t *testing.T, image string, after time.Duration) int) {
	require.Root(t)
	forest := testforest.Start(t, everything)
	want := testimony(t, forest.Root())
	image := filepath.Join(t.TempDir(), "forest.img")
	must(t, "dump", "-o", image, strconv.Itoa(forest.Root()))

	expectSame(t, "what was restored is not the same", want, testimony(t, restored(t, image)), unkept...)
	span := typical(t, func() { restored(t, image) })
	// Children that are there for other reasons.
	known, err := children(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	succeeded, n, i := 0, moments(200), 0
	// Later and later, and beyond what was measured if that was too short: the
	// first is killed at once, and one has to succeed.
	for ; i < n || succeeded == 0 && i < 4*n; i++ {
		after := (time.Duration(i)*span + rand.N(span)) / time.Duration(n)
		pid := kill(t, image, after)
		if pid == 0 {
			expectNothing(t, after, known)
			continue
		}
		succeeded++
		got := testimony(t, pid)
		dieNow(t, pid)
		if lines := witness.Compare(want, got, unkept...); len(lines) > 0 {
			t.Errorf("killed after %v, success was reported, but: %s", after, strings.Join(lines, "\n"))
		}
	}
	t.Logf("killed %d times within %v: %d had reported success", i, span*time.Duration(i)/time.Duration(n), succeeded)
	if succeeded == 0 || succeeded == i {
		t.Errorf("%d of %d succeeded: the moments do not span the restore", succeeded, i)
	}
}

// killedRestore gives the number that a restore had printed when it was killed,
// or 0.
func killedRestore(t *testing.T, image string, after time.Duration) int {
	t.Helper()
	var out bytes.Buffer
	dir := t.TempDir()
	cmd := exec.Command(pidgraft, "restore", "-d", "--pidfile", filepath.Join(dir, "root.pid"), image)
	cmd.Stdout = &out
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(after)
	cmd.Process.Kill()
	cmd.Wait() // killed, or done before that
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if out.Len() == 0 {
		if len(files) > 0 {
			t.Errorf("killed after %v, the restore left %s", after, files[0].Name())
		}
		return 0
	}
	if text, err := os.ReadFile(filepath.Join(dir, "root.pid")); err != nil || string(text) != out.String() || len(files) > 1 {
		t.Errorf("killed after %v, it had printed %q, and its pidfile is %q (%v), one of %d files", after, out.String(), text, err, len(files))
	}
	return reported(t, after, out.String())
}

// reported is the root's number in what a restore reported before it was killed.
func reported(t *testing.T, after time.Duration, report string) int {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimSuffix(report, "\n"))
	if err != nil {
		t.Fatalf("killed after %v, it had reported %q", after, report)
	}
	return pid
}

// killedParent is like killedRestore, of a restore that would stay as the parent.
func killedParent(t *testing.T, image string, after time.Duration) int {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command(pidgraft, "restore", "--pidfile", filepath.Join(dir, "root.pid"), image)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(after)
	cmd.Process.Kill()
	if err := cmd.Wait(); err == nil || cmd.ProcessState.Exited() {
		t.Errorf("within %v it ended by itself: %v", after, err)
	}
	files, err := os.ReadDir(dir)
	switch {
	case err != nil:
		t.Fatal(err)
	case len(files) == 0:
		return 0
	case len(files) > 1 || files[0].Name() != "root.pid":
		t.Errorf("killed after %v, the restore left %s", after, files[0].Name())
		return 0
	}
	text, err := os.ReadFile(filepath.Join(dir, "root.pid"))
	if err != nil {
		t.Fatal(err)
	}
	return reported(t, after, string(text))
}

// expectNothing waits until no process is left of a restore that was killed:
// they become children of this one.
func expectNothing(t *testing.T, after time.Duration, known []int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		now, err := children(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		left := slices.DeleteFunc(now, func(pid int) bool { return slices.Contains(known, pid) })
		if len(left) == 0 {
			return
		}
		for _, pid := range left {
			unix.Wait4(pid, nil, unix.WNOHANG, nil) // if it ended
		}
		if time.Now().After(deadline) {
			t.Errorf("killed after %v, the restore left process %d (%s)", after, left[0], comm(left[0]))
			for _, pid := range left {
				dieNow(t, pid)
			}
			return
		}
	}
}

// dieNow kills a child of this process and reaps it.
func dieNow(t *testing.T, pid int) {
	t.Helper()
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Errorf("kill %d: %v", pid, err)
	}
	reap(t, pid)
}

// typical is how long something usually takes, and a quarter: one slow run on
// a busy machine is not to put all moments beyond the end.
func typical(t *testing.T, do func()) time.Duration {
	t.Helper()
	var took []time.Duration
	n := 7
	if testing.Short() {
		n = 3
	}
	for range n {
		start := time.Now()
		do()
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	return took[len(took)/2] * 5 / 4
}

// TestKillDump kills a dump at one moment after another: the image is there,
// whole, or not at all. What it was being written to under a temporary name
// may remain, as of any program that is killed.
func TestKillDump(t *testing.T) {
	require.Root(t)
	forest := testforest.Start(t, everything)
	before := testimony(t, forest.Root())
	dir := t.TempDir()
	image := filepath.Join(dir, "forest.img")
	span := typical(t, func() { must(t, "dump", "-f", "-o", image, strconv.Itoa(forest.Root())) })
	whole, n, i := 0, moments(50), 0
	for ; i < n || whole == 0 && i < 4*n; i++ {
		if err := os.RemoveAll(image); err != nil {
			t.Fatal(err)
		}
		after := (time.Duration(i)*span + rand.N(span)) / time.Duration(n)
		cmd := exec.Command(pidgraft, "dump", "-o", image, strconv.Itoa(forest.Root()))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(after)
		cmd.Process.Kill()
		cmd.Wait()
		switch _, err := os.Stat(image); {
		case err == nil:
			whole++
			must(t, "show", image)
		case !errors.Is(err, os.ErrNotExist):
			t.Fatal(err)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("killed %d times within %v: %d had written the image; files at the end: %v",
		i, span*time.Duration(i)/time.Duration(n), whole, files)
	if whole == 0 || whole == i {
		t.Errorf("%d of %d wrote the image: the moments do not span the dump", whole, i)
	}
	expectSame(t, "killed dumps changed their target", before, testimony(t, forest.Root()))
}
