// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/spf13/cobra"
)

type converting struct {
	from, to *choice
	out      output
	compress bool
	lossy    bool
	types    types
}

func convertCommand() *cobra.Command {
	formats := []string{"criu"}
	c := &converting{from: &choice{of: formats}, to: &choice{of: formats}}
	cmd := &cobra.Command{
		Use:               "convert [flags] --from=criu DIR|ARCHIVE|-  |  --to=criu -o DIR IMAGE|pid:N|-",
		ValidArgsFunction: completeSources,
		Short:             "Make an image of a CRIU checkpoint, or the reverse",
		Long: `Make an image of what CRIU dumped, or images of CRIU of a forest.

--from=criu takes a directory of CRIU's images, or a checkpoint archive as the
kubelet, CRI-O and Podman make it: a tar, plain or compressed by gzip or zstd.
So do show, diff, plan and restore without a conversion.

--to=criu writes a directory, which must be new or empty, with what CRIU's
images say about processes: inventory, pstree, ids, core and userns. crit and
others read it; as there is no memory and no file in it, CRIU restores nothing
of it.

CRIU has words for less than an image holds: one pid namespace, no stop that
was reported, no id cursor, and so on; docs/convert.md lists it. What would be
lost is listed and the conversion refused, unless --lossy is given, which
lists it and goes on. Not counted are start times, inodes and where an image
comes from.`,
		Example: `  pidgraft convert --from=criu -o web.img /var/lib/checkpoints/web
  pidgraft convert --from=criu checkpoint-web.tar | pidgraft show -
  pidgraft convert --to=criu -o web.criu web.img && crit x web.criu ps`,
		Annotations: overhead("None but for its own time and memory: about 0.1 ms for a task to read CRIU's images and 0.4 ms to " +
			"write them, most of it to make the files, two for each task; of a live process also that of pidgraft-dump(1) without the " +
			"planning. Of an archive it reads all, memory included, unless it is a file and not compressed."),
		Args: wantArgs(1, "what to convert"),
		RunE: func(_ *cobra.Command, args []string) error {
			ctx, stop := interruptible()
			defer stop()
			return c.run(ctx, source(args[0]))
		},
	}
	flags := cmd.Flags()
	flags.Var(c.from, "from", "what it is: `criu`")
	flags.Var(c.to, "to", "what it is to be: `criu`")
	flags.StringVarP(&c.out.path, "output", "o", "-", "write to `FILE`, with --to=criu to a directory; - is standard output")
	flags.BoolVarP(&c.out.force, "force", "f", false, "replace FILE if it exists")
	flags.BoolVar(&c.compress, "compress", false, "compress the image with zstd; what reads images takes both")
	flags.BoolVar(&c.lossy, "lossy", false, "convert what can be, and list what is lost")
	c.types.flag(cmd)
	return cmd
}
