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

// auditRows: what an audit costs those who are audited, and what it takes
// itself.
func (b *bench) auditRows() []row {
	rows := []row{
		{"audit/getppid", fmt.Sprintf("%d calls of getppid beside an audit of another namespace", calls), 0, b.auditedCalls},
		{"audit/births", "1000 births and ends of children that share memory, as many as go, audited", 0, b.auditedBirths},
		{"audit/cpu", fmt.Sprintf("an audit beside %d births a second", birthRate), 0, b.auditCPU},
	}
	for _, n := range auditObjects {
		rows = append(rows, row{fmt.Sprintf("audit/memory/%d", n), fmt.Sprintf("an audit of %d pid objects", n+1), n, func(r *Row) error { return b.auditMemory(r, n) }})
	}
	return rows
}

// churn is the program that makes births.
func (b *bench) churn() (string, error) {
	program := filepath.Join(b.dir, "churn")
	return program, churn.Compile(program, "")
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

func (b *bench) auditedCalls(r *Row) (err error) {
	f, err := flat(1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Kill()) }()
	loop := func() (sample, error) {
		return inside(func() error {
			for range calls {
				unix.Getppid()
			}
			return nil
		})
	}
	err = b.race(r,
		ours("beside pidgraft audit of another namespace", func() (sample, error) {
			cmd, err := b.auditOf(f.Root())
			if err != nil {
				return sample{}, err
			}
			s, err := loop()
			return s, errors.Join(err, stop(cmd))
		}),
		base("alone", loop))
	if err == nil {
		r.value("added to a call", (r.Entries[0].Time.Median-r.Entries[1].Time.Median)*1e6/calls, "ns", 0)
	}
	return err
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

func (b *bench) auditedBirths(r *Row) (err error) {
	const asManyAsGo = 1_000_000
	program, err := b.churn()
	if err != nil {
		return err
	}
	w, err := churned(program, asManyAsGo)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop(w)) }()
	measured := func() (sample, error) {
		took, err := births(w.Process.Pid)
		return sample{wall: took}, err
	}
	err = b.race(r,
		ours("in a namespace that is audited", func() (sample, error) {
			cmd, err := b.auditOf(w.Process.Pid)
			if err != nil {
				return sample{}, err
			}
			s, err := measured()
			return s, errors.Join(err, stop(cmd))
		}),
		base("alone", measured))
	if err == nil {
		r.value("added to a birth and its end", r.Entries[0].Time.Median-r.Entries[1].Time.Median, "µs", 0)
	}
	return err
}

// auditCPU reads what an audit takes of a processor beside births at a rate.
func (b *bench) auditCPU(r *Row) (err error) {
	program, err := b.churn()
	if err != nil {
		return err
	}
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
	span := time.Since(start)
	if err != nil {
		return err
	}
	each, err := births(w.Process.Pid)
	if err != nil {
		return err
	}
	r.value("births", float64(time.Second)/float64(each)*1000, "a second", 0)
	r.value("of a processor", 100*float64(after-before)/float64(span), "%", 0)
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
func (b *bench) auditMemory(r *Row, n int) (err error) {
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
	r.value("resident", sizes["VmRSS"]/1024, "MiB", 0)
	r.value("resident at most", sizes["VmHWM"]/1024, "MiB", 0)
	r.value("resident", sizes["VmRSS"]*1024/float64(n+1), "bytes a pid object", 0)
	return nil
}
