// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/pidgraft/pidgraft/doctor"
	"github.com/pidgraft/pidgraft/loader"
	"github.com/pidgraft/pidgraft/restore"
)

func doctorCommand() *cobra.Command {
	format := &choice{"table", []string{"table", "json"}}
	var types types
	cmd := &cobra.Command{
		Use:   "doctor [flags]",
		Short: "Say what this machine can do, and why not the rest",
		Long: `Try, in the smallest way and leaving nothing behind, what dump, restore and
audit take: load a BPF program, give a task a number of choice, freeze an
empty cgroup. What cannot be done has its reason - a capability, a user
namespace, kernel lockdown, how the kernel was built, its age, a container's
system call filter - and what to do about it.

It needs no privilege, but says what this very process can do: run it as
what is to dump and restore. Exit code 3 says that one of the two cannot run.

The JSON form is described by docs/schema/doctor.v1.json.`,
		Example: `  pidgraft doctor
  pidgraft doctor -o json | jq '.checks[] | select(.state != "yes")'
  setpriv --reuid 1000 --clear-groups --inh-caps +bpf,+perfmon \
    --ambient-caps +bpf,+perfmon pidgraft doctor`,
		Annotations: overhead("It loads and frees a few small BPF programs, makes and ends two processes and an empty cgroup. It " +
			"takes some milliseconds and leaves nothing."),
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			ctx, stop := interruptible()
			defer stop()
			t, err := types.read()
			if err != nil {
				return err
			}
			r, err := doctor.New(doctor.Options{Types: t}).Examine(ctx)
			if err != nil {
				return err
			}
			if format.value == "json" {
				err = r.JSON(os.Stdout)
			} else {
				err = r.Text(os.Stdout)
			}
			if err == nil && slices.ContainsFunc(doctor.MainJobs, func(name string) bool { return !r.Job(name).Can }) {
				err = silent(exitCannotRun)
			}
			return err
		},
	}
	cmd.Flags().VarP(format, "output", "o", "`table` or json")
	types.flag(cmd)
	return cmd
}

// missing is what the doctor finds after a command failed, in a sentence: "" if
// the error says all itself, or nothing is missing.
func missing(cmd *cobra.Command, err error) string {
	var jobs []string
	switch {
	case errors.As(err, new(*restore.CannotRunError)):
	case errors.As(err, new(*restore.OpError)):
		jobs = []string{"restore"}
	case isAny(err, loader.ErrNotPermitted, loader.ErrNoBTF, loader.ErrUnsupported, loader.ErrNotVisible):
		jobs = []string{"dump", "dump-subtree"}
	}
	file, _ := cmd.Flags().GetString(btfFlag)
	t, err := (&types{file}).read()
	if err != nil {
		return ""
	}
	d := doctor.New(doctor.Options{Types: t})
	for _, job := range jobs {
		if what := d.Explain(context.Background(), job); what != "" {
			return what
		}
	}
	return ""
}
