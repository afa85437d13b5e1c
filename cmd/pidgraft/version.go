// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/pidgraft/pidgraft/doctor"
	"github.com/pidgraft/pidgraft/forest/view"
	planview "github.com/pidgraft/pidgraft/restore/plan/view"
)

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:         "version",
		Short:       "Print the version",
		Annotations: overhead("None."),
		Args:        cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "pidgraft %s (%s, %s/%s)\nJSON schema %s\nJSON schema %s\nJSON schema %s\n"+
				"on %s; pidgraft doctor says what it can do there\n",
				version(), runtime.Version(), runtime.GOOS, runtime.GOARCH, view.Schema, planview.Schema, doctor.Schema, machine())
			return err
		},
	}
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
