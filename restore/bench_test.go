// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"context"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// flat is an init with n children.
func flat(t testing.TB, n int) *script {
	s := newScript(t)
	for i := range n {
		s.clone("init", "t"+strconv.Itoa(i), 0, int32(i+2))
	}
	for i := range n {
		s.hold("t" + strconv.Itoa(i))
	}
	s.hold("init")
	return s
}

// BenchmarkFlat restores 10,000 flat tasks, from the call of Run to the
// committed and reported forest, and in the same run makes as many with a bare
// loop of clone3 (testdata/floor.c). x-floor is the ratio of the best of each.
func BenchmarkFlat(b *testing.B) {
	requireRoot(b)
	const n = 10_000
	floor := filepath.Join(b.TempDir(), "floor")
	if out, err := exec.Command("gcc", "-O2", "-Wall", "-o", floor, "testdata/floor.c").CombinedOutput(); err != nil {
		b.Fatalf("gcc: %v\n%s", err, out)
	}
	s := flat(b, n)
	best, least := time.Hour, time.Hour
	for b.Loop() {
		least = min(least, runFloor(b, floor, n))
		start := time.Now()
		r, err := Run(context.Background(), s.forest, s.finished(), Options{Detach: true})
		best = min(best, time.Since(start))
		if err != nil {
			b.Fatal(err)
		}
		killRoot(b, r.PID)
	}
	b.ReportMetric(float64(best.Microseconds())/n, "us/task")
	b.ReportMetric(float64(least.Microseconds())/n, "floor-us/task")
	b.ReportMetric(float64(best)/float64(least), "x-floor")
}

func runFloor(b *testing.B, program string, n int) time.Duration {
	b.Helper()
	out, err := exec.Command(program, strconv.Itoa(n)).Output()
	if err != nil {
		b.Fatalf("floor: %v", err)
	}
	ns, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return time.Duration(ns)
}

// killRoot ends a detached forest and waits until it is gone.
func killRoot(t testing.TB, pid int) {
	t.Helper()
	fd, err := openPidfd(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer fd.Close()
	if err := unix.PidfdSendSignal(int(fd.Fd()), unix.SIGKILL, nil, 0); err != nil {
		t.Fatal(err)
	}
	// It ends when those that entered from outside are collected, which this
	// subreaper has to do.
	for range 30_000 {
		reapAll()
		if pidfdEnded(int(fd.Fd())) {
			reapAll()
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("root %d does not end", pid)
}
