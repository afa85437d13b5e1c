// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/internal/churn"
	"github.com/pidgraft/pidgraft/loader"
)

const (
	calls      = 1_000_000 // of getppid in a run
	birthSpan  = 500 * time.Millisecond
	birthRate  = 2000
	steadySpan = 5 * time.Second
)

// auditObjects are the sizes of namespaces whose audit's memory is read.
var auditObjects = []int{20_000, 100_000}

// audits measures what an audit costs those who are audited, and what it takes
// itself.
func (b *bench) audits() error {
	program := filepath.Join(filepath.Dir(b.pidgraft), "churn")
	if err := churn.Compile(program, ""); err != nil {
		return err
	}
	if err := b.auditedCalls(); err != nil {
		return err
	}
	if err := b.auditedBirths(program); err != nil {
		return err
	}
	if err := b.auditCPU(program); err != nil {
		return err
	}
	for _, n := range auditObjects {
		if err := b.auditMemory(n); err != nil {
			return err
		}
	}
	return nil
}

// auditOf starts an audit of the namespace of a process, and waits until it has
// taken its first snapshot.
func (b *bench) auditOf(pid int) (*exec.Cmd, error) {
	cmd := exec.Command(b.pidgraft, "audit", "--pid", strconv.Itoa(pid), "--hidden-every", "0")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	in := bufio.NewReaderSize(out, 1<<20)
	for {
		line, err := in.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, errors.Join(fmt.Errorf("pidgraft audit: %w", err), stop(cmd))
		}
		if bytes.Contains(line, []byte(`"type":"snapshot"`)) {
			go func() { _, _ = io.Copy(io.Discard, in) }()
			return cmd, nil
		}
	}
}

func stop(cmd *exec.Cmd) error {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return nil
}

// churned starts a namespace with births at a rate.
func churned(program string, rate int) (*exec.Cmd, error) {
	cmd := exec.Command(program, "births", strconv.Itoa(rate))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	// It ends with its standard input.
	if _, err := cmd.StdinPipe(); err != nil {
		return nil, err
	}
	return cmd, cmd.Start()
}

func (b *bench) auditedCalls() (err error) {
	f, err := flat(1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Kill()) }()
	loop := func() (time.Duration, error) {
		start := time.Now()
		for range calls {
			unix.Getppid()
		}
		return time.Since(start), nil
	}
	return race(fmt.Sprintf("%d calls of getppid", calls),
		&contender{name: "beside pidgraft audit of another namespace", run: func() (time.Duration, error) {
			cmd, err := b.auditOf(f.Root())
			if err != nil {
				return 0, err
			}
			took, err := loop()
			return took, errors.Join(err, stop(cmd))
		}},
		&contender{name: "alone", run: loop},
	)
}

// births counts the numbers that a namespace gives out in a while, and gives the
// time for a thousand.
func births(pid int) (time.Duration, error) {
	l, err := loader.Open(loader.Target{PID: pid, Scope: loader.Container, Unwatched: true})
	if err != nil {
		return 0, err
	}
	defer l.Close()
	cursor := func() (uint32, error) {
		s, err := l.Snapshot(context.Background())
		if err != nil {
			return 0, err
		}
		for _, ns := range s.Namespaces {
			if ns.ID == s.Namespace {
				return ns.Cursor, nil
			}
		}
		return 0, errors.New("the namespace is not described")
	}
	before, err := cursor()
	if err != nil {
		return 0, err
	}
	start := time.Now()
	time.Sleep(birthSpan)
	after, err := cursor()
	if err != nil {
		return 0, err
	}
	took := time.Since(start)
	if after <= before {
		return 0, fmt.Errorf("the cursor went from %d to %d", before, after)
	}
	return took * 1000 / time.Duration(after-before), nil
}

func (b *bench) auditedBirths(program string) (err error) {
	const asManyAsGo = 1_000_000
	w, err := churned(program, asManyAsGo)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop(w)) }()
	return race("1000 births and ends of children that share memory, as many as go",
		&contender{name: "in a namespace that is audited", run: func() (time.Duration, error) {
			cmd, err := b.auditOf(w.Process.Pid)
			if err != nil {
				return 0, err
			}
			took, err := births(w.Process.Pid)
			return took, errors.Join(err, stop(cmd))
		}},
		&contender{name: "alone", run: func() (time.Duration, error) { return births(w.Process.Pid) }},
	)
}

// auditCPU reads what an audit takes of a processor beside births at a rate.
func (b *bench) auditCPU(program string) (err error) {
	w, err := churned(program, birthRate)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop(w)) }()
	cmd, err := b.auditOf(w.Process.Pid)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop(cmd)) }()
	before, err := processorTime(cmd.Process.Pid)
	if err != nil {
		return err
	}
	start := time.Now()
	time.Sleep(steadySpan)
	after, err := processorTime(cmd.Process.Pid)
	if err != nil {
		return err
	}
	each, err := births(w.Process.Pid)
	if err != nil {
		return err
	}
	fmt.Printf("pidgraft audit beside %.0f births a second\n  %6.1f %% of a processor\n\n",
		float64(time.Second)/float64(each)*1000, 100*float64(after-before)/float64(time.Since(start)))
	return nil
}

// processorTime is what a process has used.
func processorTime(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	const user, tick = 14 - 3, 10 * time.Millisecond // fields after the name; USER_HZ is 100
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	sum := time.Duration(0)
	for _, f := range fields[user : user+2] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(n) * tick
	}
	return sum, nil
}

// auditMemory reads what an audit of so many pid objects has in memory, after
// another snapshot, and what it had at most.
func (b *bench) auditMemory(n int) (err error) {
	restore, err := roomFor(n)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, restore()) }()
	f, err := flat(n)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Kill()) }()
	cmd, err := b.auditOf(f.Root())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop(cmd)) }()
	if err := cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		return err
	}
	time.Sleep(steadySpan)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	if err != nil {
		return err
	}
	sizes := make(map[string]float64)
	for line := range strings.Lines(string(status)) {
		if name, rest, ok := strings.Cut(line, ":"); ok && strings.HasPrefix(name, "Vm") {
			kib, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			sizes[name] = kib
		}
	}
	fmt.Printf("pidgraft audit of %d pid objects\n  %6.1f MiB resident, %.1f at most\n\n", n+1, sizes["VmRSS"]/1024, sizes["VmHWM"]/1024)
	return nil
}

// roomFor raises pid_max of this namespace, where it would not do for n numbers
// more, and gives what sets it back.
func roomFor(n int) (restore func() error, err error) {
	const path = "/proc/sys/kernel/pid_max"
	old, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	most, err := strconv.Atoi(strings.TrimSpace(string(old)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if most > 2*n {
		return func() error { return nil }, nil
	}
	if err := os.WriteFile(path, []byte(strconv.Itoa(2*n)), 0); err != nil {
		return nil, err
	}
	return func() error { return os.WriteFile(path, old, 0) }, nil
}
