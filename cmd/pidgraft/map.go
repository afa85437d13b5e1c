// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pidgraft/pidgraft/audit/listing"
	"github.com/pidgraft/pidgraft/audit/state"
	"github.com/pidgraft/pidgraft/loader"
)

func mapCommand() *cobra.Command {
	format := &choice{"table", []string{"table", "json"}}
	anywhere := false
	var types types
	cmd := &cobra.Command{
		Use:               "map [flags] PID[@NAMESPACE]...",
		ValidArgsFunction: completeNumbers,
		Short:             "Translate a number of one pid namespace to all levels",
		Long: `Say what number a pid object has in each pid namespace that it is seen in, from
the initial one inwards. PID is its number in this process's namespace, or in
NAMESPACE: the inode of one, pid:[N], a path as /proc/1/ns/pid, or the id of a
container or the beginning of it.

Numbers that no task carries are found, too: those of groups and sessions whose
leader is gone, and of zombies. A thread has a number as a process has.`,
		Example: `  pidgraft map 4711                   # what is it called inside its container?
  pidgraft map 7@3f2a9c               # who is 7 of that container, out here?
  pidgraft map --anywhere 7           # all that are called 7 somewhere
  pidgraft map -o json 1@pid:[4026532301]`,
		Annotations: overhead("That of pidgraft-ps(1)."),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fmt.Errorf("wanted: PID or PID@NAMESPACE, one or more")
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
			own, err := inodeOf("/proc/self/ns/pid")
			if err != nil {
				return err
			}
			numbers := make([]numberIn, len(args))
			for i, arg := range args {
				if anywhere && strings.ContainsRune(arg, '@') {
					return usageError{fmt.Errorf("%q names a namespace, and --anywhere is for a number in whatever one", arg)}
				}
				if numbers[i], err = parseNumberIn(arg, own); err != nil {
					return err
				}
			}
			all, err := lookAtObjects(ctx, t)
			if err != nil {
				return err
			}
			all.warn()
			found, err := all.findAll(numbers, anywhere)
			if err != nil {
				return err
			}
			maps := listing.Maps(found, all.names.Of, uint32(all.own))
			if format.value == "json" {
				return listing.MapsJSON(os.Stdout, maps)
			}
			return listing.MapsTable(os.Stdout, maps)
		},
	}
	cmd.Flags().BoolVar(&anywhere, "anywhere", false, "find the number in whatever namespace")
	cmd.Flags().VarP(format, "output", "o", "`table` or json")
	types.flag(cmd)
	return cmd
}

// findAll are the objects of some numbers; those that have one of them anywhere, if
// that is asked for.
func (o *objects) findAll(numbers []numberIn, anywhere bool) ([]*state.Object, error) {
	var found []*state.Object
	for _, n := range numbers {
		if !anywhere {
			one, err := o.find(n)
			if err != nil {
				return nil, err
			}
			found = append(found, one)
			continue
		}
		before := len(found)
		for ns := range o.Namespaces() {
			if one := o.Number(ns, n.number); one != nil {
				found = append(found, one)
			}
		}
		if len(found) == before {
			return nil, fmt.Errorf("%d: %w: the number is free in every pid namespace that can be seen from here", n.number, loader.ErrNoProcess)
		}
	}
	return found, nil
}
