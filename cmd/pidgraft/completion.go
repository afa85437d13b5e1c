// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pidgraft/pidgraft/audit/container"
	"github.com/pidgraft/pidgraft/audit/listing"
	"github.com/pidgraft/pidgraft/forest"
)

// completeFlags lets a shell complete the values of flags that have few, and what
// names processes, namespaces and containers. Other operands are completed as
// files, which most are.
func completeFlags(c *cobra.Command) {
	values := map[string][]string{"columns": listing.Names(), "sort": listing.Names(), "only": onlyKinds()}
	live := map[string]func(string) []cobra.Completion{"pid": processes, "ns": namespaces, "container": containers}
	complete := func(f *pflag.Flag) {
		of := values[f.Name]
		if choice, ok := f.Value.(*choice); ok {
			of = choice.of
		}
		// It fails only for a flag that is not there or has it already.
		if of != nil {
			_ = c.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions(of, cobra.ShellCompDirectiveNoFileComp))
		} else if find := live[f.Name]; find != nil {
			_ = c.RegisterFlagCompletionFunc(f.Name, func(_ *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
				return find(begun), cobra.ShellCompDirectiveNoFileComp
			})
		}
	}
	c.Flags().VisitAll(complete)
	c.PersistentFlags().VisitAll(complete)
}

// completeNumbers completes what parsePID takes: a number, or one in a container.
func completeNumbers(_ *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return targets(begun), cobra.ShellCompDirectiveNoFileComp
}

// completeSources completes a source: a file, unless it begins as a live target
// does.
func completeSources(_ *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	switch rest, live := strings.CutPrefix(begun, pidPrefix); {
	case live:
		all := targets(rest)
		for i := range all {
			all[i] = pidPrefix + all[i]
		}
		return all, cobra.ShellCompDirectiveNoFileComp
	case strings.HasPrefix(begun, "@"):
		return targets(begun), cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveDefault
}

func targets(begun string) []cobra.Completion {
	number, where, elsewhere := strings.Cut(begun, "@")
	if !elsewhere {
		return processes(begun)
	}
	all := append(containers(where), namespaces(where)...)
	for i := range all {
		all[i] = number + "@" + all[i]
	}
	return all
}

// processes are those with a number that begins so, with what they are called.
func processes(begun string) []cobra.Completion {
	var all []cobra.Completion
	// What cannot be read is not offered; an error has no place in a completion.
	_ = eachProcess(func(pid int) bool {
		if number := strconv.Itoa(pid); strings.HasPrefix(number, begun) {
			all = append(all, cobra.CompletionWithDesc(number, commOf(pid)))
		}
		return false
	})
	return all
}

// namespaces are the pid namespaces other than this process's own, by their inodes,
// with what their inits are called.
func namespaces(begun string) []cobra.Completion {
	return inits(begun, func(_ int, inode uint64) string { return strconv.FormatUint(inode, 10) })
}

// containers are those that have a pid namespace of their own: by their ids or, of
// runtimes that have names instead, by the cgroup that their init is in.
func containers(begun string) []cobra.Completion {
	own, _ := os.ReadFile("/proc/self/cgroup")
	return inits(begun, func(pid int, _ uint64) string {
		is, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		if err != nil {
			return ""
		}
		if name := container.Parse(string(is)).Container(); name != "" {
			return name
		}
		if path := unified(is); path != unified(own) && path != "/" {
			return filepath.Base(path)
		}
		return ""
	})
}

// unified is the path of the cgroup v2 in the text of /proc/PID/cgroup.
func unified(cgroups []byte) string {
	for line := range strings.Lines(string(cgroups)) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSuffix(path, "\n")
		}
	}
	return "/"
}

// inits are what name gives to the inits of other pid namespaces, each once, the
// outermost first.
func inits(begun string, name func(pid int, inode uint64) string) []cobra.Completion {
	own, err := inodeOf("/proc/self/ns/pid")
	if err != nil {
		return nil
	}
	type init struct {
		name string
		pid  int
		deep int
	}
	var found []init
	_ = eachProcess(func(pid int) bool {
		numbers := nspid(pid)
		if len(numbers) < 2 || numbers[len(numbers)-1] != "1" {
			return false
		}
		if inode, err := inodeOf(fmt.Sprintf("/proc/%d/ns/pid", pid)); err == nil && inode != own {
			if n := name(pid, inode); n != "" && strings.HasPrefix(n, begun) {
				found = append(found, init{n, pid, len(numbers)})
			}
		}
		return false
	})
	slices.SortStableFunc(found, func(a, b init) int { return a.deep - b.deep })
	var all []cobra.Completion
	seen := map[string]bool{}
	for _, f := range found {
		if !seen[f.name] {
			seen[f.name] = true
			all = append(all, cobra.CompletionWithDesc(f.name, commOf(f.pid)))
		}
	}
	return all
}

// commOf is what a process is called, fit to be printed.
func commOf(pid int) string {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "comm"))
	if err != nil {
		return ""
	}
	return forest.Escape(strings.TrimSuffix(string(b), "\n"))
}
