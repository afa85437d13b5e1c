// SPDX-License-Identifier: Apache-2.0

package source_test

import (
	"context"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/audit/follow"
	"github.com/pidgraft/pidgraft/internal/churn"
	"github.com/pidgraft/pidgraft/internal/testforest"
	"github.com/pidgraft/pidgraft/loader"
)

// BenchmarkSyscall is what an ordinary system call costs, alone and beside an
// auditor of another namespace: all calls of the machine take the slow path then.
func BenchmarkSyscall(b *testing.B) {
	call := func(b *testing.B) {
		for b.Loop() {
			unix.Getppid()
		}
	}
	b.Run("alone", call)
	f := testforest.Start(b, "outside fork init newpid")
	start(b, f.Root(), loader.StreamOptions{}, follow.Options{})
	b.Run("audited", call)
}

// BenchmarkBirths is how long a birth and an end take, of children that share
// memory and exit at once, alone and followed; and what following takes of this
// process.
func BenchmarkBirths(b *testing.B) {
	w := churn.Births(b, 1_000_000) // as fast as it can
	l, err := loader.Open(loader.Target{PID: w.PID(), Scope: loader.Container, Unwatched: true})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	cursor := func() uint32 {
		s, err := l.Snapshot(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		for _, ns := range s.Namespaces {
			if ns.ID == s.Namespace {
				return ns.Cursor
			}
		}
		b.Fatal("no namespace")
		return 0
	}
	const span = 2 * time.Second
	measure := func(b *testing.B, spend func(time.Duration)) {
		for b.Loop() {
			before, cpu, begun := cursor(), cpuTime(), time.Now()
			spend(span)
			born := cursor() - before // the namespace is young: it does not wrap
			b.ReportMetric(float64(time.Since(begun).Nanoseconds())/float64(born), "ns/birth")
			b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/float64(born), "own-ns/birth")
		}
	}
	b.Run("alone", func(b *testing.B) { measure(b, time.Sleep) })
	f := start(b, w.PID(), loader.StreamOptions{}, follow.Options{Heal: true})
	b.Run("followed", func(b *testing.B) { measure(b, f.run) })
	b.Logf("%d events, %d lost", f.events, f.lost())
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
