// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/pidgraft/pidgraft/collector"
	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/forest/view"
	"github.com/pidgraft/pidgraft/loader"
)

// choice is a flag with few values.
type choice struct {
	value string
	of    []string
}

func (c *choice) String() string { return c.value }
func (c *choice) Type() string   { return "string" }
func (c *choice) Set(s string) error {
	for _, v := range c.of {
		if s == v {
			c.value = v
			return nil
		}
	}
	return fmt.Errorf("one of %q is wanted", c.of)
}

func showCommand() *cobra.Command {
	format := &choice{"tree", []string{"tree", "table", "json", "dot", "svg", "html"}}
	var types types
	cmd := &cobra.Command{
		Use:               "show [flags] IMAGE|pid:N|-",
		ValidArgsFunction: completeSources,
		Short:             "Show a process forest",
		Long: `Show the forest in an image, on standard input (-), or below a live process
(pid:N; all of its pid namespace if N is the init of one), or of a container
(@3f2a9c, by its id or the beginning of it). N is as in pidgraft dump: a number
here, or 7@3f2a9c. Where an image is wanted, a checkpoint of CRIU will do, too: a
directory of its images, or an archive that the kubelet, CRI-O or Podman made
(see pidgraft convert).

In the tree each task has its chain of numbers, outermost namespace first:
20/1 is number 20 in the root namespace and 1 in the one below. {9} is a
thread; (5) a number that no task carries any more, listed at the end. The
columns are session and group, by their numbers in the root namespace.

A live process takes CAP_BPF and CAP_PERFMON, whoever it belongs to.

The JSON form carries everything; docs/schema/forest.v1.json describes it.
html is one page with nothing from elsewhere: namespaces as boxes in boxes,
sessions and groups by colour, to be searched and collapsed. svg is the same
as a drawing, dot a graph for Graphviz.
Colour is for terminals only, and not with NO_COLOR set.`,
		Example: `  pidgraft show web.img
  pidgraft show -o table pid:4711
  pidgraft show @3f2a9c                 # a container by its id
  pidgraft show -o html web.img >web.html
  pidgraft show -o dot web.img | dot -Tpdf >web.pdf
  pidgraft show -o json web.img | jq '.tasks[] | select(.state == "zombie") | .nspid'`,
		Annotations: overhead("Of an image none but for its own time and memory; of a live process that of pidgraft-dump(1) without " +
			"the planning."),
		Args: wantArgs(1, "an image or pid:N"),
		RunE: func(_ *cobra.Command, args []string) error {
			ctx, stop := interruptible()
			defer stop()
			t, err := types.read()
			if err != nil {
				return err
			}
			f, err := showable(ctx, source(args[0]), t)
			if err != nil {
				return err
			}
			return show(f, format.value)
		},
	}
	cmd.Flags().VarP(format, "output", "o", "`tree`, table, json, dot, svg or html")
	types.flag(cmd)
	return cmd
}

// showable reads a forest to be shown. A container that cannot be dumped
// because something of it is led from outside can be shown as a subtree.
func showable(ctx context.Context, s source, types *loader.Types) (*forest.Forest, error) {
	f, err := s.read(ctx, nil, types)
	var outside *collector.OutsideError
	if !errors.As(err, &outside) {
		return f, err
	}
	pid, _ := s.pid()
	f, again := look{pid: pid, scope: loader.Subtree, retries: retries, types: types}.take(ctx)
	if again != nil {
		return nil, err
	}
	slog.Info(fmt.Sprintf("as a subtree, since %v", err))
	return f, nil
}

func show(f *forest.Forest, format string) error {
	o := view.Options{Color: wantsColor()}
	switch format {
	case "json":
		return view.JSON(os.Stdout, f)
	case "table":
		return view.Table(os.Stdout, f, o)
	case "dot":
		return view.DOT(os.Stdout, f)
	case "svg":
		return view.SVG(os.Stdout, f)
	case "html":
		return view.HTML(os.Stdout, f)
	}
	return view.Tree(os.Stdout, f, o)
}

// wantsColor: on a terminal that can, and if nobody said no (no-color.org).
func wantsColor() bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(os.Stdout)
}

// wantArgs wants n operands.
func wantArgs(n int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != n {
			return fmt.Errorf("wanted: %s; there are %d arguments", what, len(args))
		}
		return nil
	}
}
