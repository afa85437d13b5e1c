// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"

	"github.com/pidgraft/pidgraft/bpf"
)

// Source is how a Stream sees what it tells.
type Source uint8

const (
	// AutoSource is Fentry where that works, else Tracepoints.
	AutoSource Source = iota
	// Tracepoints work everywhere, and have every system call take the slow
	// path.
	Tracepoints
	// Fentry takes trampolines (CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS), which
	// are run where the kernel changes what they show, and costs nobody else.
	Fentry
)

func (s Source) String() string {
	return [...]string{"auto", "raw tracepoints", "fentry"}[s]
}

// tracepoints are the programs of each source by the raw tracepoint that they are
// for, and trampolines by the kernel's function.
var (
	always = map[string]string{
		bpf.AuditProgAuditExec: "sched_process_exec",
		bpf.AuditProgAuditExit: "sched_process_exit",
		bpf.AuditProgAuditFree: "sched_process_free",
	}
	tracepoints = map[string]string{
		bpf.AuditProgAuditBirth:   "task_newtask",
		bpf.AuditProgAuditSyscall: "sys_exit",
	}
	trampolines = map[string]string{
		bpf.AuditProgAuditAttached: "attach_pid",
		bpf.AuditProgAuditChanged:  "change_pid",
	}
	// Named after the system call: the functions differ by architecture.
	callTrampolines = map[string]string{
		bpf.AuditProgAuditEntered:    "setns",
		bpf.AuditProgAuditUnshared:   "unshare",
		bpf.AuditProgAuditControlled: "prctl",
	}
)

// prepare leaves in an object what a source takes, and fits it to the kernel. It
// returns the programs by the tracepoint or function that each is attached to.
func (s Source) prepare(spec *ebpf.CollectionSpec, types *btf.Cache) (map[string]*ebpf.ProgramSpec, error) {
	points := make(map[string]*ebpf.ProgramSpec)
	take := func(names map[string]string) {
		for name, point := range names {
			points[point] = spec.Programs[name]
		}
	}
	take(always)
	switch s {
	case Tracepoints:
		take(tracepoints)
	case Fentry:
		take(trampolines)
		for name, call := range callTrampolines {
			points[callPrefix+call] = spec.Programs[name]
		}
		if err := fit(spec, points, types); err != nil {
			return nil, err
		}
	}
	refresh := spec.Programs[bpf.AuditProgAuditRefresh]
	spec.Programs = map[string]*ebpf.ProgramSpec{bpf.AuditProgAuditRefresh: refresh}
	for point, program := range points {
		spec.Programs[point] = program
	}
	return points, nil
}

// fit holds the trampolines against the functions of the kernel, and adds those of
// 32-bit programs if there are any.
func fit(spec *ebpf.CollectionSpec, points map[string]*ebpf.ProgramSpec, types *btf.Cache) error {
	kernel, err := allTypes(types)
	if err != nil {
		return err
	}
	parameters := func(name string) (int, error) {
		var f *btf.Func
		if err := kernel.TypeByName(name, &f); err != nil {
			return 0, err
		}
		proto, ok := f.Type.(*btf.FuncProto)
		if !ok {
			return 0, fmt.Errorf("%s is no function", name)
		}
		return len(proto.Params), nil
	}
	const before, since = 3, 4 // of change_pid; 6.16 put an array of pids first
	n, err := parameters("change_pid")
	if err == nil && n != before && n != since {
		err = fmt.Errorf("change_pid has %d parameters", n)
	}
	if err != nil {
		return fmt.Errorf("%w: %w (kernel %s)", ErrUnsupported, err, release())
	}
	if err := spec.Variables[bpf.AuditVarChangePidHasPids].Set(n == since); err != nil {
		return err
	}
	for _, call := range callTrampolines {
		if compatPrefix == "" {
			break
		}
		// An event too many does no harm: the first argument of prctl is in
		// another register there.
		if _, err := parameters(compatPrefix + call); err == nil {
			points[compatPrefix+call] = spec.Programs[bpf.AuditProgAuditEntered].Copy()
		}
	}
	for point, program := range points {
		if program.AttachType == ebpf.AttachTraceFExit {
			if _, err := parameters(point); err != nil {
				return fmt.Errorf("%w: %s: %w (kernel %s)", ErrUnsupported, point, err, release())
			}
			program.AttachTo = point
		}
	}
	return nil
}

// attach runs a program whenever a tracepoint or function is reached.
func attach(point string, program *ebpf.Program) (link.Link, error) {
	if program.Type() == ebpf.Tracing {
		hook, err := link.AttachTracing(link.TracingOptions{Program: program})
		if err != nil {
			return nil, explain("follow "+point+" by a trampoline", err)
		}
		return hook, nil
	}
	hook, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: point, Program: program})
	if err != nil {
		return nil, explain("follow "+point, err)
	}
	return hook, nil
}

// Follow begins to collect the events of a container's or of the machine's
// tasks. Whoever wants to know how the tasks are follows first and takes a
// Snapshot of l then.
//
// Errors: those of Open; ErrNotInit if l is a subtree.
func (l *Loader) Follow(opts StreamOptions) (*Stream, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.coll == nil {
		return nil, errClosed
	}
	if l.scope == Subtree {
		return nil, fmt.Errorf("process %d: %w: events are followed for a whole namespace", l.pid, ErrNotInit)
	}
	if opts.Source != AutoSource {
		return l.follow(opts)
	}
	// Whether trampolines work is not to be told from the version or the
	// configuration: policies forbid them.
	opts.Source = Fentry
	s, err := l.follow(opts)
	if err == nil {
		return s, nil
	}
	opts.Source = Tracepoints
	s, other := l.follow(opts)
	if other != nil {
		return nil, other
	}
	s.whyNot = errors.Join(s.whyNot, err)
	return s, nil
}
