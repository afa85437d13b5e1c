// SPDX-License-Identifier: Apache-2.0

// Command bench measures the two promises that pidgraft makes about speed,
// each against what it is promised against, in the same run:
//
//   - dumping a machine with 20,000 tasks, against ps -eLo pid,tgid,pgid,sid, and
//     beside it what no dump by the kernel's task iterator can go below: that
//     iterator with a program that does nothing, once over all tasks;
//   - restoring 10,000 flat tasks, against a bare loop of clone3 with CLONE_VM
//     and set_tid (restore/testdata/floor.c).
//
// And what an audit costs: an ordinary system call and a birth, audited and not,
// its processor time beside 2,000 births a second, its memory at 20,000 and
// 100,000 pid objects. Arguments (dump, restore, audit) choose some of it.
//
// Runs alternate, and whole processes are timed, their start included, but for
// the bare loop, which says itself how long it took. It is run from the top of
// the source tree and prints ratios of medians first. It judges nothing.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/internal/testforest"
)

const (
	dumpTasks    = 20_000
	restoreTasks = 10_000
	rounds       = 9
)

func main() {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "bench: run as root: it loads BPF programs and makes pid namespaces")
		os.Exit(3)
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	dir, err := os.MkdirTemp("", "pidgraft-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// A restored forest becomes a child of this process, which ends it.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return err
	}
	b := &bench{
		pidgraft: filepath.Join(dir, "pidgraft"),
		floor:    filepath.Join(dir, "floor"),
		image:    filepath.Join(dir, "flat.img"),
	}
	build := exec.Command("go", "build", "-o", b.pidgraft, "./cmd/pidgraft")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as make build does
	for _, build := range []*exec.Cmd{
		build,
		exec.Command("gcc", "-O2", "-Wall", "-o", b.floor, "restore/testdata/floor.c"),
	} {
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", build, err, out)
		}
	}
	for _, part := range []struct {
		name string
		run  func() error
	}{{"dump", b.dumps}, {"restore", b.restores}, {"audit", b.audits}} {
		if len(os.Args) > 1 && !slices.Contains(os.Args[1:], part.name) {
			continue
		}
		if err := part.run(); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

type bench struct {
	pidgraft, floor string
	image           string
}

// contender is one of the things that are timed in turn.
type contender struct {
	name string
	run  func() (time.Duration, error)
	took []time.Duration
}

func (c *contender) median() time.Duration {
	sorted := slices.Sorted(slices.Values(c.took))
	return sorted[len(sorted)/2]
}

// race runs contenders in turn, once to warm up, and prints how each compares
// with the last.
func race(title string, contenders ...*contender) error {
	for round := range rounds + 1 {
		for _, c := range contenders {
			took, err := c.run()
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			if round > 0 {
				c.took = append(c.took, took)
			}
		}
	}
	fmt.Printf("%s (median of %d, runs in turn)\n", title, rounds)
	base := contenders[len(contenders)-1].median()
	for _, c := range contenders {
		fmt.Printf("  %6.3f x  %9.1f ms  (%.1f to %.1f)  %s\n", float64(c.median())/float64(base),
			ms(c.median()), ms(slices.Min(c.took)), ms(slices.Max(c.took)), c.name)
	}
	fmt.Println()
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// flat starts an init with n children that sleep.
func flat(n int) (*testforest.Forest, error) {
	f, err := testforest.New()
	if err != nil {
		return nil, err
	}
	err = f.Run(fmt.Sprintf("outside fork init newpid\ninit sleepers %d", n))
	if err != nil {
		return nil, errors.Join(err, f.Kill())
	}
	return f, nil
}

func (b *bench) dumps() (err error) {
	f, err := flat(dumpTasks)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Kill()) }()
	root := strconv.Itoa(f.Root())
	return race(fmt.Sprintf("dump of %d tasks", dumpTasks+1),
		&contender{name: "pidgraft dump", run: func() (time.Duration, error) {
			return timed(exec.Command(b.pidgraft, "dump", "-f", "-o", b.image, root))
		}},
		&contender{name: "bpf_iter over all tasks, its program empty and loaded before", run: iterate},
		&contender{name: "ps -eLo pid,tgid,pgid,sid", run: func() (time.Duration, error) {
			return timed(exec.Command("ps", "-eLo", "pid,tgid,pgid,sid"))
		}},
	)
}

func (b *bench) restores() error {
	f, err := flat(restoreTasks)
	if err != nil {
		return err
	}
	_, err = timed(exec.Command(b.pidgraft, "dump", "-f", "-o", b.image, strconv.Itoa(f.Root())))
	if err = errors.Join(err, f.Kill()); err != nil {
		return err
	}
	n := strconv.Itoa(restoreTasks)
	return race("restore of "+n+" flat tasks",
		&contender{name: "pidgraft restore -d, verified by a dump", run: func() (time.Duration, error) {
			return b.restore("--verify=true")
		}},
		&contender{name: "pidgraft restore -d --verify=false", run: func() (time.Duration, error) {
			return b.restore("--verify=false")
		}},
		&contender{name: "a bare loop of clone3", run: func() (time.Duration, error) {
			out, err := exec.Command(b.floor, n).Output()
			if err != nil {
				return 0, err
			}
			ns, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
			return time.Duration(ns), err
		}},
	)
}

// restore times a restore, and ends what it restored.
func (b *bench) restore(flag string) (time.Duration, error) {
	pidfile := b.image + ".pid"
	took, err := timed(exec.Command(b.pidgraft, "restore", "-d", flag, "--pidfile", pidfile, b.image))
	if err != nil {
		return 0, err
	}
	text, err := os.ReadFile(pidfile)
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, err
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		return 0, err
	}
	_, err = unix.Wait4(pid, nil, 0, nil)
	return took, err
}

// timed runs a command to its end, its output thrown away.
func timed(cmd *exec.Cmd) (time.Duration, error) {
	var stderr strings.Builder
	cmd.Stderr = &stderr
	start := time.Now()
	err := cmd.Run()
	if err != nil {
		return 0, fmt.Errorf("%s: %w: %s", cmd, err, stderr.String())
	}
	return time.Since(start), nil
}
