// SPDX-License-Identifier: Apache-2.0

// Command pidgraft dumps every pid object of a process forest and rebuilds the
// forest, number for number.
//
// Contract: thin. What to dump is the loader's and the collector's to find,
// how to rebuild it restore/plan's and restore's; here are flags, files,
// terminals and exit codes.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

func main() {
	deferGC()
	os.Exit(run(os.Args[1:]))
}

// readForAnother is how one of the two programs asks the other to read a
// checkpoint of CRIU: see readElsewhere.
const readForAnother = "--read-checkpoint"

// run carries out one command line and returns the exit code.
func run(args []string) int {
	if code, is := readsForAnother(args); is {
		return code
	}
	root := rootCommand()
	root.SetArgs(args)
	// What fails before a command begins is how it was called.
	begun := false
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		begun = true
		return says.begin(cmd)
	}
	cmd, err := root.ExecuteContextC(context.Background())
	if err != nil && !begun {
		err = usageError{err}
	}
	report(cmd, err)
	return exitCode(err)
}

// report prints what went wrong: one line that says what, one that says what
// to do.
func report(cmd *cobra.Command, err error) {
	if err == nil || isSilent(err) {
		return
	}
	text, hint := strings.TrimSpace(err.Error()), hint(cmd, err)
	if says.format.value == "json" {
		args := []any{"exit", exitCode(err)}
		if hint != "" {
			args = append(args, "hint", hint)
		}
		slog.New(says.handler(cmd)).Error(text, args...)
		return
	}
	fmt.Fprintf(says.foot, "%s: %s\n", cmd.CommandPath(), strings.ReplaceAll(text, "\n", "\n  "))
	if hint != "" {
		fmt.Fprintf(says.foot, "  %s\n", hint)
	}
}

const rootHelp = `Dump every pid object of a process forest - processes, threads, groups,
sessions and the numbers that only those still hold, at every level of nested
pid namespaces - and rebuild the forest, number for number.

What was asked for goes to standard output; warnings, errors and, with
--verbose, the steps go to standard error. If that is a terminal, long work
says there how far it is and what it waits for, in one line that is gone when
it is done.`

const exitCodes = `
Exit codes:
  0  done
  1  a difference was found, or something is wrong (check)
  2  wrong usage, or a target or file that does not fit
  3  cannot run here: a privilege, a feature of the kernel or its BTF is missing
  4  incomplete: the target changed meanwhile, or data was lost
  5  refused: it cannot be represented, or cannot be rebuilt exactly
`

// noSuchCommand refuses what is not the name of a command.
func noSuchCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("unknown command %q", args[0])
	if like := root.SuggestionsFor(args[0]); len(like) > 0 {
		err = fmt.Errorf("%w: did you mean %s?", err, strings.Join(like, " or "))
	}
	return err
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "pidgraft",
		Short: "Dump a process forest and rebuild it, number for number",
		Long:  rootHelp,
		Example: `  pidgraft show pid:4711                # what is there
  pidgraft dump -o web.img 4711         # keep it
  pidgraft restore -d web.img           # have it again
  pidgraft diff web.img pid:4711        # is it the same?`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noSuchCommand,

		SuggestionsMinimumDistance: 2,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SetOut(os.Stderr)
			_ = cmd.Help()
			return silent(exitUsage)
		},
	}
	says.flags(root)
	root.AddCommand(dumpCommand(), restoreCommand(), showCommand(), diffCommand(), planCommand(), convertCommand(), psCommand(), mapCommand(),
		auditCommand(), checkCommand(), doctorCommand(), versionCommand())
	for _, c := range append(root.Commands(), root) {
		c.SetUsageTemplate(strings.TrimRight(c.UsageTemplate(), "\n") + "\n" + exitCodes)
		c.DisableFlagsInUseLine = true
		c.Flags().SortFlags = false
		completeFlags(c)
	}
	return root
}
