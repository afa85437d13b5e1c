// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/forest/view"
	"github.com/pidgraft/pidgraft/loader"
)

func diffCommand() *cobra.Command {
	format := &choice{"text", []string{"text", "html"}}
	var types types
	cmd := &cobra.Command{
		Use:               "diff [flags] A B",
		ValidArgsFunction: completeSources,
		Short:             "Say in words how two process forests differ",
		Long: `Say in words what is not the same in forest B as it was in A, a line each;
nothing if they are the same. Each is an image or a checkpoint of CRIU, - for
one on standard input, or pid:N for a live process, which is then taken in the
way the other was, with CAP_BPF and CAP_PERFMON.

The same means what it means to a restore: every number at every level,
processes, threads, groups, sessions, parents and their order, zombies and
their statuses, ghosts, namespaces. Start times, inodes, and the uid and gid
of tasks that live are not compared.`,
		Example: `  pidgraft diff before.img after.img
  pidgraft diff web.img pid:4711 && echo identical
  pidgraft diff -o html before.img after.img >changes.html`,
		Annotations: overhead("Of an image none but for its own time and memory; of a live process that of pidgraft-dump(1) without " +
			"the planning."),
		Args: func(_ *cobra.Command, args []string) error {
			if err := wantArgs(2, "two images or pid:N")(nil, args); err != nil {
				return err
			}
			if args[0] == "-" && args[1] == "-" {
				return errors.New("only one of the two can be standard input")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			ctx, stop := interruptible()
			defer stop()
			t, err := types.read()
			if err != nil {
				return err
			}
			a, b, err := readBoth(ctx, source(args[0]), source(args[1]), t)
			if err != nil {
				return err
			}
			return printDiff(a, b, args, format.value)
		},
	}
	cmd.Flags().VarP(format, "output", "o", "`text` or html")
	types.flag(cmd)
	return cmd
}

// readBoth reads an image before a live target, which is taken like it.
func readBoth(ctx context.Context, x, y source, types *loader.Types) (a, b *forest.Forest, err error) {
	if x.isLive() && !y.isLive() {
		if b, err = y.read(ctx, nil, types); err == nil {
			a, err = x.read(ctx, b, types)
		}
		return a, b, err
	}
	if a, err = x.read(ctx, nil, types); err == nil {
		b, err = y.read(ctx, a, types)
	}
	return a, b, err
}

// printDiff says how b differs from a; names are what the two are called.
func printDiff(a, b *forest.Forest, names []string, format string) error {
	ds := forest.Diff(a, b, forest.DiffOptions{})
	w := bufio.NewWriter(os.Stdout)
	if format == "html" {
		if err := view.HTMLDiff(w, a, b, ds, names[0], names[1]); err != nil {
			return err
		}
	} else {
		for _, d := range ds {
			fmt.Fprintln(w, d)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(ds) > 0 {
		return silent(exitDifference)
	}
	return nil
}
