// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf/btf"

	"github.com/pidgraft/pidgraft/internal/privilege"
	"github.com/pidgraft/pidgraft/loader"
)

// Options say how to look.
type Options struct {
	// Types, if not nil, are used instead of /sys/kernel/btf/vmlinux.
	Types *loader.Types
}

// Doctor makes attempts and remembers what came of them. It is not for
// concurrent use.
type Doctor struct {
	opts  Options
	types *btf.Cache
	trial *loader.Trial
	done  map[string]Check
}

// New is a Doctor that has not tried anything.
func New(opts Options) *Doctor {
	types := btf.NewCache()
	return &Doctor{opts: opts, types: types, trial: loader.NewTrial(opts.Types, types), done: map[string]Check{}}
}

// probe is one attempt, with what is known of the reasons that its failure can
// have.
type probe struct {
	name, title string
	needs       []string // without any of these it is not tried
	// capabilities it takes; bpf: those of BPF; numbers: CAP_SYS_ADMIN does
	// as well.
	capabilities []privilege.Capability
	bpf, numbers bool
	lockdown     bool     // lockdown can forbid it
	kconfig      []string // options of the kernel's configuration
	since        string   // Linux that has it
	try          func(*Doctor, context.Context) (detail string, err error)
}

// probes are all there are, in the order in which they are shown.
var probes = slices.Concat(bpfProbes, taskProbes, cgroupProbes)

// job is what checks make possible: all of needs and, if there are any, one of
// either.
type job struct {
	name, title string
	needs       []string
	either      []string
}

var jobs = []job{
	{name: "dump", title: "dump a container", needs: []string{"programs-container"}},
	{name: "dump-subtree", title: "dump a process and its descendants", needs: []string{"programs-subtree"}},
	{name: "freeze", title: "hold a target while it is dumped", needs: []string{"programs-container"},
		either: []string{"cgroup-v2-freeze", "cgroup-v1-freezer"}},
	{name: "restore", title: "restore in a new pid namespace", needs: []string{"rebuild"}},
	{name: "restore-nested-users", title: "restore nested user namespaces", needs: []string{"rebuild", "user-namespaces"}},
	{name: "restore-in-place", title: "restore in this pid namespace", needs: []string{"rebuild", "set-tid-here"}},
	{name: "audit", title: "watch all pid objects", needs: []string{"programs-audit"}},
	{name: "audit-fentry", title: "watch them at no cost to system calls", needs: []string{"programs-audit-fentry"}},
}

// MainJobs are those without which pidgraft is of no use on a machine.
var MainJobs = []string{"dump", "restore"}

// Examine tries everything. Errors: that of ctx; what was tried could not be undone.
func (d *Doctor) Examine(ctx context.Context) (_ *Report, err error) {
	defer func() { err = errors.Join(err, d.trial.Close()) }()
	r := &Report{Schema: Schema, Kernel: theKernel(), Process: theProcess()}
	for i := range probes {
		r.Checks = append(r.Checks, d.check(ctx, probes[i].name))
	}
	for _, j := range jobs {
		missing := d.standsAgainst(ctx, &j)
		r.Jobs = append(r.Jobs, Job{Name: j.name, Title: j.title, Can: len(missing) == 0, Missing: missing})
	}
	return r, ctx.Err()
}

// Explain is a sentence about what a job lacks here, and what to do about it;
// "" if nothing is missing.
func (d *Doctor) Explain(ctx context.Context, name string) string {
	i := slices.IndexFunc(jobs, func(j job) bool { return j.name == name })
	if i < 0 {
		return ""
	}
	missing := d.standsAgainst(ctx, &jobs[i])
	// What could not be undone ends with the process; here it is no answer.
	_ = d.trial.Close()
	if len(missing) == 0 {
		return ""
	}
	c := d.check(ctx, missing[0])
	return fmt.Sprintf("Missing here: %s (%s: %s). %s", c.Title, c.Reason, c.Detail, c.Remedy)
}

// standsAgainst are the failed checks because of which a job cannot be done: the
// causes, not what was not tried because of them.
func (d *Doctor) standsAgainst(ctx context.Context, j *job) []string {
	missing := []string{}
	for _, name := range j.needs {
		missing = d.causes(ctx, name, missing)
	}
	some := func(name string) bool { return d.check(ctx, name).State == Yes }
	if len(j.either) > 0 && !slices.ContainsFunc(j.either, some) {
		for _, name := range j.either {
			missing = d.causes(ctx, name, missing)
		}
	}
	return missing
}

func (d *Doctor) causes(ctx context.Context, name string, missing []string) []string {
	switch c := d.check(ctx, name); c.State {
	case Untried:
		for _, n := range byName(name).needs {
			missing = d.causes(ctx, n, missing)
		}
	case No:
		if !slices.Contains(missing, name) {
			missing = append(missing, name)
		}
	}
	return missing
}

// check makes an attempt, or remembers it.
func (d *Doctor) check(ctx context.Context, name string) Check {
	if c, ok := d.done[name]; ok {
		return c
	}
	p := byName(name)
	c := Check{Name: p.name, Title: p.title, State: Yes}
	for _, n := range p.needs {
		if d.check(ctx, n).State != Yes {
			c.State, c.Reason, c.Detail = Untried, Dependency, "needs: "+byName(n).title
			break
		}
	}
	if c.State == Yes {
		detail, err := p.try(d, ctx)
		if c.Detail = detail; err != nil {
			f := p.why(err)
			c.State, c.Reason, c.Detail, c.Remedy = No, f.reason, f.detail, f.remedy
		}
	}
	if ctx.Err() == nil {
		d.done[name] = c
	}
	return c
}

func byName(name string) *probe {
	for i := range probes {
		if probes[i].name == name {
			return &probes[i]
		}
	}
	panic("doctor: no probe " + name)
}
