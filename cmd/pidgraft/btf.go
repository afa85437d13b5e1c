// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/spf13/cobra"

	"github.com/pidgraft/pidgraft/loader"
)

const btfFlag = "btf"

// types are those of the kernel, out of the file of --btf.
type types struct{ file string }

func (t *types) flag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&t.file, btfFlag, "", "read the kernel's types from `FILE`, not /sys/kernel/btf/vmlinux")
}

// read reads them, once for all that is to be looked at; nil without --btf.
func (t *types) read() (*loader.Types, error) {
	if t.file == "" {
		return nil, nil
	}
	return loader.ReadTypes(t.file)
}
