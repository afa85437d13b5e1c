// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sample is one run.
type sample struct {
	wall   time.Duration
	cpu    time.Duration // 0: not known
	memory int64         // the most that was resident, bytes; 0: not known
}

// contender is one of the things that are timed in turn.
type contender struct {
	name string
	role Role
	run  func() (sample, error)
	runs []sample
	err  error
}

func ours(name string, run func() (sample, error)) *contender {
	return &contender{name: name, role: Ours, run: run}
}

func peer(name string, run func() (sample, error)) *contender {
	return &contender{name: name, role: Peer, run: run}
}

func floor(name string, run func() (sample, error)) *contender {
	return &contender{name: name, role: Floor, run: run}
}

// base is ourselves, without what the row is about.
func base(name string, run func() (sample, error)) *contender {
	return &contender{name: name, role: Base, run: run}
}

// patience is how long a run may take; lsns has been seen never to end beside
// namespaces that come and go.
const patience = time.Minute

// race runs contenders in turn, once to warm up. One of the others that fails
// cannot run here; the reason is kept.
func (b *bench) race(row *Row, contenders ...*contender) error {
	for round := range b.rounds + 1 {
		for _, c := range contenders {
			if c.err != nil {
				continue
			}
			s, err := c.run()
			switch {
			case err != nil && (c.role == Ours || c.role == Base):
				return fmt.Errorf("%s: %w", c.name, err)
			case err != nil:
				c.err = err
			case round > 0:
				c.runs = append(c.runs, s)
			}
		}
	}
	for _, c := range contenders {
		e := Entry{Name: c.name, Role: c.role}
		if c.err != nil {
			e.CannotRun = firstLine(c.err)
		} else {
			e.Time = spread(c.runs, func(s sample) float64 { return ms(s.wall) })
			e.CPU = spread(c.runs, func(s sample) float64 { return ms(s.cpu) })
			e.Memory = spread(c.runs, func(s sample) float64 { return float64(s.memory) / (1 << 20) })
		}
		row.Entries = append(row.Entries, e)
	}
	return nil
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	return line
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// spread is the median and the ends of what was measured; nil if it was not.
func spread(runs []sample, of func(sample) float64) *Spread {
	var all []float64
	for _, s := range runs {
		if v := of(s); v > 0 {
			all = append(all, v)
		}
	}
	if len(all) == 0 {
		return nil
	}
	slices.Sort(all)
	median := all[len(all)/2]
	if len(all)%2 == 0 {
		median = (median + all[len(all)/2-1]) / 2
	}
	return &Spread{Median: median, Least: all[0], Most: all[len(all)-1], Runs: len(all)}
}

// command times a command from its start to its end, its output thrown away.
func command(name string, args ...string) (sample, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	start := time.Now()
	err := cmd.Run()
	wall := time.Since(start)
	if err != nil {
		return sample{}, failure(ctx, cmd, err, stderr.String())
	}
	s := sample{wall: wall, cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		s.memory = u.Maxrss << 10
	}
	return s, nil
}

// told runs a command that says itself how many nanoseconds it took.
func told(name string, args ...string) (sample, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return sample{}, failure(ctx, cmd, err, stderr.String())
	}
	ns, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	if err != nil {
		return sample{}, fmt.Errorf("%s: %w", cmd, err)
	}
	return sample{wall: time.Duration(ns), cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}, nil
}

func failure(ctx context.Context, cmd *exec.Cmd, err error, said string) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s did not end within %v", filepath.Base(cmd.Path), patience)
	}
	return fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, strings.TrimSpace(said))
}

// inside times what this process does.
func inside(do func() error) (sample, error) {
	before, err := usage()
	if err != nil {
		return sample{}, err
	}
	start := time.Now()
	err = do()
	wall := time.Since(start)
	after, e := usage()
	return sample{wall: wall, cpu: after - before}, errors.Join(err, e)
}

// usage is the processor's time that this process has used.
func usage() (time.Duration, error) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0, err
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}
