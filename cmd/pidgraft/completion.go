// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pidgraft/pidgraft/audit/listing"
)

// completeFlags lets a shell complete the values of flags that have few. Operands
// are completed as files, which most are.
func completeFlags(c *cobra.Command) {
	values := map[string][]string{"columns": listing.Names(), "sort": listing.Names(), "only": onlyKinds()}
	complete := func(f *pflag.Flag) {
		of := values[f.Name]
		if choice, ok := f.Value.(*choice); ok {
			of = choice.of
		}
		if of == nil {
			return
		}
		// It fails only for a flag that is not there or has it already.
		_ = c.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions(of, cobra.ShellCompDirectiveNoFileComp))
	}
	c.Flags().VisitAll(complete)
	c.PersistentFlags().VisitAll(complete)
}
