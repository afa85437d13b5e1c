// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/pidgraft/pidgraft/audit/history"
	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/image"
	"github.com/pidgraft/pidgraft/loader"
	"github.com/pidgraft/pidgraft/restore"
	"github.com/pidgraft/pidgraft/restore/plan"
)

type dump struct {
	out                output
	container, subtree bool
	freeze, inexact    bool
	compress           bool
	references         bool
	whyNot             bool
	retries            int
	history            string
	types              types
}

func dumpCommand() *cobra.Command {
	d := &dump{}
	cmd := &cobra.Command{
		Use:               "dump [flags] PID",
		ValidArgsFunction: completeNumbers,
		Short:             "Write an image of a process forest",
		Long: `Write an image of the forest below process PID: every task with its process,
group and session, every number at every level of the pid namespaces in it,
zombies, and the numbers that only a group or a session still holds.

If PID is the init of a pid namespace other than this one, all of that
namespace is dumped (--container); else PID and its descendants (--subtree).
7@NAMESPACE is process 7 of another pid namespace, @NAMESPACE its init;
NAMESPACE is an inode, pid:[N], a path as /proc/1/ns/pid, or the id of a
container or the beginning of it.

The target goes on running and does not notice. The dump looks twice and
counts forks, exits and the like meanwhile; if anything changed it looks
again. --freeze holds a target that never rests, by its cgroup.

It takes CAP_BPF and CAP_PERFMON, whoever the target belongs to, and to
--freeze CAP_DAC_OVERRIDE, unless the cgroup is one's own.

An image that could not be restored exactly is not written, unless --inexact
is given; it says why, and so does the image then. --why-not writes no image:
it lists what stands against one, a reason a line, and ends with 5, or with 0
if nothing does. All that is refused for a task or namespace by itself is in
the list; what only planning runs into, if nothing else was found, up to where
the planner gave up.

Where a process was born is not seen once its parent is gone. An audit that ran
since knows: with --history the image says it too, and a restore goes the same
way where it can. A history of another boot or of other processes is refused,
and one that what is there contradicts is left out, with a warning.`,
		Example: `  pidgraft dump -o web.img 4711
  pidgraft dump -o web.img @3f2a9c         # a container by its id
  pidgraft dump 4711 | ssh elsewhere pidgraft restore -d -
  pidgraft dump --subtree -o build.img $$
  pidgraft dump --why-not 4711`,
		Annotations: overhead("It stops and signals nothing. From when it attaches until it ends, every system call of the machine " +
			"takes some 0.1 µs longer, unless --freeze holds the target. Each of its two passes takes about 0.7 " +
			"µs of a processor for a task, and planning, which finds out whether the forest can be rebuilt, 2 µs " +
			"more, without a system call. 20,000 tasks take 60 MB and about 0.1 s. What a container costs depends " +
			"on its own size, not the host's. --references takes about 0.3 µs for every open file of the machine."),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("one PID is wanted, not %d arguments", len(args))
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			pid, err := parsePID(args[0])
			if err != nil {
				return err
			}
			ctx, stop := interruptible()
			defer stop()
			if d.whyNot {
				return d.listReasons(ctx, pid)
			}
			return d.run(ctx, pid)
		},
	}
	fs := cmd.Flags()
	fs.StringVarP(&d.out.path, "output", "o", "-", "write to `FILE`; - is standard output")
	fs.BoolVarP(&d.out.force, "force", "f", false, "replace FILE if it exists")
	fs.BoolVar(&d.compress, "compress", false, "compress the image with zstd; what reads images takes both")
	fs.BoolVar(&d.container, "container", false, "dump all of the pid namespace that PID is the init of")
	fs.BoolVar(&d.subtree, "subtree", false, "dump PID and its descendants")
	fs.BoolVar(&d.freeze, "freeze", false, "freeze the target's cgroup meanwhile")
	fs.BoolVar(&d.references, "references", false, "also record who else holds the pid objects: terminals, pidfds, owners of files")
	fs.StringVar(&d.history, "history", "", "record where processes were born, by `FILE` of pidgraft audit --state")
	fs.BoolVar(&d.whyNot, "why-not", false, "write nothing, but list all that stands against an exact restore")
	fs.IntVar(&d.retries, "retries", retries, "look again up to `N` times if the target changes")
	fs.BoolVar(&d.inexact, "inexact", false, "write an image that cannot be restored exactly, marked as such")
	d.types.flag(cmd)
	return cmd
}

// interruptible is a context that ends on a signal that asks to stop. A second
// such signal kills.
func interruptible() (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

func (d *dump) run(ctx context.Context, pid int) error {
	scope, err := d.scope()
	if err != nil {
		return err
	}
	if err := d.out.check(); err != nil {
		return err
	}
	types, err := d.types.read()
	if err != nil {
		d.out.abort(err)
		return err
	}
	var told *history.File
	if d.history != "" {
		if told, err = readHistory(d.history); err != nil {
			d.out.abort(err)
			return err
		}
	}
	var beside trials
	defer beside.discard()
	var closing sync.WaitGroup
	defer closing.Wait()
	k := look{
		pid: pid, scope: scope, freeze: d.freeze, retries: d.retries, types: types, references: d.references,
		closing: &closing, room: beginHugeHeap(),
	}
	if told == nil {
		k.prepare = func(f *forest.Forest) { beside.begin(d, f) }
	}
	f, err := k.take(ctx)
	if err == nil && told != nil {
		err = tellHistory(told, d.history, f)
	}
	var made *draft
	if err == nil {
		made, err = d.judge(f, beside.of(d, f))
	}
	if err != nil {
		d.out.abort(err)
		return err
	}
	defer made.discard()
	if ctx.Err() != nil {
		err := fmt.Errorf("interrupted: %w", ctx.Err())
		d.out.abort(err)
		return err
	}
	return made.publish(d.out.force)
}

// scope checks the flags that say how the target is taken.
func (d *dump) scope() (loader.Scope, error) {
	switch {
	case d.retries < 0:
		return 0, usageError{fmt.Errorf("--retries %d: it is a count", d.retries)}
	case d.container && d.subtree:
		return 0, usageError{errors.New("--container and --subtree exclude each other")}
	case d.container:
		return loader.Container, nil
	case d.subtree:
		return loader.Subtree, nil
	}
	return loader.Auto, nil
}

// judge is the image of a forest that was tried. It refuses one that cannot be
// rebuilt exactly, or marks it.
func (d *dump) judge(f *forest.Forest, t *trial) (*draft, error) {
	s := beginStep("plan", nil)
	defer func() { s.stop() }()
	exact, reasons, err := t.result()
	if err != nil {
		return nil, err
	}
	reasons = append(f.Inexact, reasons...)
	s.end("tasks", len(f.Tasks), "reasons", len(reasons))
	if len(reasons) == 0 {
		return exact, nil
	}
	exact.discard()
	if !d.inexact {
		return nil, refusedError{"it could not be restored exactly:", reasons}
	}
	f.Inexact = reasons
	encoded, err := d.encode(f)
	if err != nil {
		return nil, err
	}
	return d.out.draft(encoded)
}

func (d *dump) encode(f *forest.Forest) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(4096 + 64*len(f.Tasks)) // mostly enough: of many tasks, one of depth 0 takes 43
	write := image.Write
	if d.compress {
		write = image.WriteCompressed
	}
	err := write(&b, f)
	return b.Bytes(), err
}

// planReasons are why f cannot be rebuilt, on a machine that has whatever f
// needs; what this one lacks, a restore says before it begins. One that is plain
// need not be planned to know that it can be. f must be valid.
func planReasons(f *forest.Forest) []string {
	if plan.Plain(f) {
		return nil
	}
	_, err := restore.Plan(f, planOptions())
	return reasonsOf(err)
}

// reasonsOf are the reasons in the error of restore.Plan.
func reasonsOf(err error) []string {
	var refusals plan.Refusals
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &refusals):
		return []string{err.Error()}
	}
	reasons := make([]string, len(refusals))
	for i, r := range refusals {
		reasons[i] = r.Error()
	}
	return reasons
}

// firstReasons are as many reasons as an image carries or a refusal prints.
func firstReasons(reasons []string) []string {
	const most = 1000
	if more := len(reasons) - most; more > 0 {
		return append(reasons[:most:most], fmt.Sprintf("and %d more", more))
	}
	return reasons
}

// planOptions are those of the most capable kernel: restore compares a plan
// with the machine it runs on.
func planOptions() plan.Options {
	return plan.Options{PidMax: forest.MaxNumber + 1, OwnPidMax: true}
}
