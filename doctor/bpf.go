// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"

	"github.com/pidgraft/pidgraft/internal/privilege"
	"github.com/pidgraft/pidgraft/loader"
)

// bpfProbes are about what a dump and the auditor load.
var bpfProbes = []probe{
	{
		name: "btf", title: "types of the kernel (BTF)",
		kconfig: []string{"CONFIG_DEBUG_INFO_BTF"}, since: "5.4", try: tryBTF,
	}, {
		name: "kernel-btf", title: "the kernel's own BTF, by which programs attach",
		kconfig: []string{"CONFIG_DEBUG_INFO_BTF"}, try: tryKernelBTF,
	}, {
		name: "bpf", title: "the bpf system call: make a map",
		bpf: true, kconfig: []string{"CONFIG_BPF_SYSCALL"}, try: tryMap(ebpf.Array),
	}, {
		name: "ring-buffer", title: "BPF ring buffer",
		bpf: true, needs: []string{"bpf"}, since: "5.8", try: tryMap(ebpf.RingBuf),
	}, {
		name: "program-run", title: "run a BPF program on demand",
		bpf: true, needs: []string{"bpf"}, since: "5.10", try: tryRun,
	}, {
		name: "probe-read", title: "BPF reads kernel memory",
		bpf: true, lockdown: true, needs: []string{"bpf"}, since: "5.5", try: tryProbeRead,
	}, {
		name: "raw-tracepoint", title: "BPF on raw tracepoints",
		bpf: true, needs: []string{"bpf"}, kconfig: []string{"CONFIG_BPF_EVENTS"}, try: tryRawTracepoint,
	}, {
		name: "iter-task", title: "BPF iterator over tasks",
		bpf: true, needs: []string{"kernel-btf", "bpf"}, since: "5.8", try: tryIterator("task"),
	}, {
		name: "iter-task-file", title: "BPF iterator over open files",
		bpf: true, needs: []string{"kernel-btf", "bpf"}, since: "5.8", try: tryIterator("task_file"),
	}, {
		name: "typed-tracepoint", title: "BPF on typed tracepoints (tp_btf)",
		bpf: true, needs: []string{"kernel-btf", "bpf"}, since: "5.5", try: tryTracing(ebpf.AttachTraceRawTp, "sched_process_exit"),
	}, {
		name: "fentry", title: "BPF on kernel functions (fentry, trampolines)",
		bpf: true, needs: []string{"kernel-btf", "bpf"}, since: "5.5",
		kconfig: []string{"CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS"}, try: tryTracing(ebpf.AttachTraceFEntry, "free_pid"),
	}, {
		name: "bpf-lsm", title: "BPF as a security module",
		bpf: true, needs: []string{"kernel-btf", "bpf"}, since: "5.7", kconfig: []string{"CONFIG_BPF_LSM"}, try: tryLSM,
	}, {
		name: "programs-container", title: "the programs that look at a container",
		bpf: true, needs: []string{"btf", "ring-buffer", "program-run", "probe-read", "raw-tracepoint"},
		try: tryPrograms(loader.Container),
	}, {
		name: "programs-subtree", title: "the programs that look at a subtree",
		bpf: true, needs: []string{"programs-container", "iter-task"},
		try: tryPrograms(loader.Subtree),
	}, {
		name: "programs-audit", title: "the programs that tell of events",
		bpf: true, lockdown: true, needs: []string{"programs-subtree"}, try: tryFollow(loader.Tracepoints),
	}, {
		name: "programs-audit-fentry", title: "these, by trampolines",
		bpf: true, lockdown: true, needs: []string{"programs-audit", "fentry"}, try: tryFollow(loader.Fentry),
	},
}

const vmlinux = "/sys/kernel/btf/vmlinux"

func tryBTF(d *Doctor, ctx context.Context) (string, error) {
	if d.opts.Types != nil {
		return "from a file", nil
	}
	return tryKernelBTF(d, ctx)
}

func tryKernelBTF(d *Doctor, _ context.Context) (string, error) {
	info, err := os.Stat(vmlinux)
	switch {
	case err != nil && kconfig()["CONFIG_DEBUG_INFO_BTF"] != "":
		return "", &failure{Setting, "the kernel has it, but " + vmlinux + " is not to be seen",
			"Mount sysfs (mount -t sysfs sysfs /sys), or give it by --btf FILE."}
	case err != nil:
		return "", &failure{Kconfig, "there is no " + vmlinux,
			"Use a kernel built with CONFIG_DEBUG_INFO_BTF; types made for this one (--btf FILE) let containers be dumped."}
	}
	if _, err := d.types.Kernel(); err != nil {
		return "", &failure{Refused, vmlinux + " cannot be read: " + short(err), "Give the kernel's BTF by --btf FILE."}
	}
	return fmt.Sprintf("%s, %d KiB", vmlinux, info.Size()>>10), nil
}

func tryMap(kind ebpf.MapType) func(*Doctor, context.Context) (string, error) {
	return func(*Doctor, context.Context) (string, error) {
		spec := &ebpf.MapSpec{Type: kind, KeySize: 4, ValueSize: 4, MaxEntries: 1}
		if kind == ebpf.RingBuf {
			spec.KeySize, spec.ValueSize, spec.MaxEntries = 0, 0, uint32(os.Getpagesize())
		}
		m, err := ebpf.NewMap(spec)
		if err != nil {
			return "", err
		}
		return "", m.Close()
	}
}

// nothing is a program that does nothing.
var nothing = asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}

func rawTracepoint(code asm.Instructions) *ebpf.ProgramSpec {
	return &ebpf.ProgramSpec{Type: ebpf.RawTracepoint, License: "GPL", Instructions: code}
}

// load loads a program. The types that it may need are read once for all.
func (d *Doctor) load(spec *ebpf.ProgramSpec) (*ebpf.Program, error) {
	const name = "probe"
	coll, err := ebpf.NewCollectionWithOptions(&ebpf.CollectionSpec{Programs: map[string]*ebpf.ProgramSpec{name: spec}},
		ebpf.CollectionOptions{Cache: d.types})
	if err != nil {
		return nil, err
	}
	defer coll.Close()
	return coll.DetachProgram(name), nil
}

func tryRun(d *Doctor, _ context.Context) (string, error) {
	p, err := d.load(rawTracepoint(nothing))
	if err != nil {
		return "", err
	}
	defer p.Close()
	_, err = p.Run(&ebpf.RunOptions{})
	return "", err
}

// tryProbeRead reads from address 0, which gives zeros. Confidentiality forbids
// the helper; the loader then reads by bpf_rdonly_cast.
func tryProbeRead(d *Doctor, _ context.Context) (string, error) {
	p, err := d.load(rawTracepoint(append(asm.Instructions{
		asm.Mov.Reg(asm.R1, asm.R10),
		asm.Add.Imm(asm.R1, -8),
		asm.Mov.Imm(asm.R2, 8),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnProbeReadKernel.Call(),
	}, nothing...)))
	if err != nil && privilege.Lockdown() == "confidentiality" && hasCast() {
		return "by casts, as the kernel is locked down", nil
	}
	if err != nil {
		return "", err
	}
	return "", p.Close()
}

func hasCast() bool {
	types, err := btf.LoadKernelSpec()
	if err != nil {
		return false
	}
	var cast *btf.Func
	return types.TypeByName("bpf_rdonly_cast", &cast) == nil
}

func tryRawTracepoint(d *Doctor, _ context.Context) (string, error) {
	p, err := d.load(rawTracepoint(nothing))
	if err != nil {
		return "", err
	}
	defer p.Close()
	l, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: "sched_process_exit", Program: p})
	if err != nil {
		return "", err
	}
	return "", l.Close()
}

func tracing(kind ebpf.AttachType, to string) *ebpf.ProgramSpec {
	return &ebpf.ProgramSpec{Type: ebpf.Tracing, AttachType: kind, AttachTo: to, License: "GPL", Instructions: nothing}
}

func tryIterator(over string) func(*Doctor, context.Context) (string, error) {
	return func(d *Doctor, _ context.Context) (string, error) {
		p, err := d.load(tracing(ebpf.AttachTraceIter, over))
		if err != nil {
			return "", err
		}
		defer p.Close()
		l, err := link.AttachIter(link.IterOptions{Program: p})
		if err != nil {
			return "", err
		}
		defer l.Close()
		f, err := l.Open()
		if err != nil {
			return "", err
		}
		return "", f.Close()
	}
}

func tryTracing(kind ebpf.AttachType, to string) func(*Doctor, context.Context) (string, error) {
	return func(d *Doctor, _ context.Context) (string, error) {
		p, err := d.load(tracing(kind, to))
		if err != nil {
			return "", err
		}
		defer p.Close()
		l, err := link.AttachTracing(link.TracingOptions{Program: p})
		if err != nil {
			return "", err
		}
		return "", l.Close()
	}
}

// tryLSM loads without attaching: what is attached there stands in the way of
// everybody's system calls.
func tryLSM(d *Doctor, _ context.Context) (string, error) {
	p, err := d.load(&ebpf.ProgramSpec{Type: ebpf.LSM, AttachType: ebpf.AttachLSMMac, AttachTo: "task_alloc",
		License: "GPL", Instructions: nothing})
	if err != nil {
		return "", err
	}
	defer p.Close()
	switch lsms := theKernel().LSMs; {
	case len(lsms) == 0:
		return "loads; whether it is active cannot be seen", nil
	case !slices.Contains(lsms, "bpf"):
		return "", &failure{Setting, "built in, but not active", "Boot with bpf in lsm=."}
	}
	return "active", nil
}

func tryPrograms(scope loader.Scope) func(*Doctor, context.Context) (string, error) {
	return func(d *Doctor, _ context.Context) (string, error) {
		walk, err := d.trial.Look(scope)
		if err == nil && walk != nil {
			return "but cannot account for every number: " + short(walk), nil
		}
		return "", err
	}
}

// tryFollow: the auditor's programs are others than those that dump, and read
// memory in their own ways.
func tryFollow(source loader.Source) func(*Doctor, context.Context) (string, error) {
	return func(d *Doctor, _ context.Context) (string, error) {
		return "", d.trial.Follow(source)
	}
}
