// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pidgraft/pidgraft/audit/listing"
	"github.com/pidgraft/pidgraft/audit/record"
	"github.com/pidgraft/pidgraft/doctor"
	"github.com/pidgraft/pidgraft/forest/view"
	planview "github.com/pidgraft/pidgraft/restore/plan/view"
)

// schemas are the forms of JSON that this version writes.
var schemas = []string{
	view.Schema, planview.Schema, restoreSchema, listing.Schema, listing.MapSchema, record.Schema, doctor.Schema, logSchema,
}

func versionCommand() *cobra.Command {
	features := true
	cmd := &cobra.Command{
		Use:   "version [flags]",
		Short: "Print the version, the kernel, the forms of JSON and what can be done",
		Long: `Print the version of pidgraft, the kernel that it runs on, and the schemas of its
JSON output (docs/schema), and what can be done here, as pidgraft doctor finds
out and explains.`,
		Example: `  pidgraft version
  pidgraft version --features=false | head -n 1`,
		Annotations: overhead("That of pidgraft-doctor(1); with --features=false none."),
		Args:        cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			w := cmd.OutOrStdout()
			fmt.Fprintf(w, "pidgraft %s (%s, %s/%s)\non %s\nschemas: %s\n",
				version(), runtime.Version(), runtime.GOOS, runtime.GOARCH, machine(), strings.Join(schemas, ", "))
			if !features {
				return nil
			}
			ctx, stop := interruptible()
			defer stop()
			report, err := doctor.New(doctor.Options{}).Examine(ctx)
			if err != nil {
				return err
			}
			for _, job := range report.Jobs {
				can := "yes"
				if !job.Can {
					can = "no: " + strings.Join(job.Missing, ", ")
				}
				fmt.Fprintf(w, "%s: %s\n", job.Name, can)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&features, "features", true, "try what this machine can do")
	return cmd
}

// release is the version of a package, which its build sets.
var release string

// version is that of the release, or of the module as the build recorded it.
func version() string {
	if release != "" {
		return "v" + release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

// machine is the kernel that runs.
func machine() string {
	p := producer()
	return "Linux " + p.Release + " (" + p.Machine + ")"
}
