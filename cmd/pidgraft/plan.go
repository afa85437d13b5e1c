// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore"
	"github.com/pidgraft/pidgraft/restore/plan"
	"github.com/pidgraft/pidgraft/restore/plan/view"
)

type planning struct {
	format  *choice
	explain string
	types   types
}

func planCommand() *cobra.Command {
	p := &planning{format: &choice{"text", []string{"text", "json"}}}
	cmd := &cobra.Command{
		Use:               "plan [flags] IMAGE|pid:N|-",
		ValidArgsFunction: completeSources,
		Short:             "Show how a forest would be rebuilt",
		Long: `Show how restore would rebuild a forest: who forks whom and at which step, why
each helper is there, and every step in one order that is possible, with the
steps that it waits for. Nothing is made. It takes an image, a checkpoint of
CRIU, or with CAP_BPF and CAP_PERFMON a live process.

--explain tells everything about one task: who makes it and how that gives it
its parent and session, what it does, which helpers have to do with it, what
it waits for and what waits for it. TASK is its number in the root namespace,
or all its numbers from there inwards: 14/2. A number that no task carries
any more has a helper that carries it.

The JSON form carries everything; docs/schema/plan.v1.json describes it. What
cannot be rebuilt exactly is refused, with every reason that was found.`,
		Example: `  pidgraft plan web.img
  pidgraft plan --explain 14/2 pid:4711
  pidgraft plan -o json web.img | jq '.actors[] | select(.role == "helper") | .why'`,
		Annotations: overhead("None but for its own time and memory, about 2 µs for a task; of a live process also that of " +
			"pidgraft-dump(1)."),
		Args: wantArgs(1, "an image or pid:N"),
		RunE: func(_ *cobra.Command, args []string) error {
			ctx, stop := interruptible()
			defer stop()
			return p.run(ctx, source(args[0]))
		},
	}
	fs := cmd.Flags()
	fs.VarP(p.format, "output", "o", "`text` or json")
	fs.StringVar(&p.explain, "explain", "", "tell everything about `TASK`")
	p.types.flag(cmd)
	return cmd
}

func (p *planning) run(ctx context.Context, from source) error {
	if p.explain != "" && p.format.value != "text" {
		return usageError{errors.New("--explain is text; the JSON form holds all tasks")}
	}
	types, err := p.types.read()
	if err != nil {
		return err
	}
	f, err := from.read(ctx, nil, types)
	if err != nil {
		return err
	}
	made, err := planFor(f, planOptions())
	if err != nil {
		return err
	}
	switch {
	case p.explain != "":
		tag, err := view.Find(f, p.explain)
		if err != nil {
			return usageError{err}
		}
		return view.Explain(os.Stdout, made, f, tag)
	case p.format.value == "json":
		return view.JSON(os.Stdout, made, f)
	}
	return view.Text(os.Stdout, made, f)
}

// planFor is how f is rebuilt, or a refusal.
func planFor(f *forest.Forest, opts plan.Options) (*plan.Plan, error) {
	if len(f.Inexact) > 0 {
		return nil, refusedError{"the image is marked as one that cannot be restored exactly:", f.Inexact}
	}
	s := beginStep("plan", nil)
	defer s.stop()
	p, err := restore.Plan(f, opts)
	if err != nil {
		return nil, refusedError{"it cannot be restored exactly:", firstReasons(reasonsOf(err))}
	}
	s.end("tasks", len(f.Tasks))
	return p, nil
}
