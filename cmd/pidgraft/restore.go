// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore"
)

type restoring struct {
	detach  bool
	pidfile string
	exec    string
	stdio   bool
	verify  bool
	memory  *choice
	types   types
	pidns   *choice
	pids    *choice
	format  *choice

	numbers []renumbered // with --pids=any
}

func restoreCommand() *cobra.Command {
	r := &restoring{
		memory: &choice{"shared", []string{"shared", "own"}},
		pidns:  &choice{"new", []string{"new", "current"}},
		pids:   &choice{"exact", []string{"exact", "any"}},
		format: &choice{"text", []string{"text", "json"}},
	}
	cmd := &cobra.Command{
		Use:   "restore [flags] IMAGE|-",
		Short: "Rebuild a process forest from an image",
		Long: `Rebuild the forest of an image in a new pid namespace: the same tasks with the
same numbers at every level, the same groups, sessions, parents, zombies and
ghosts. All of it is there, compared with the image by a fresh dump, or
nothing is.

The tasks do not run what ran in the original: they hold. --exec runs a
command by /bin/sh in every process once all are in place, as the process's
own user, with its identity in PIDGRAFT_PID, _TGID, _PGID, _SID, _PPID,
_NUMBERS, _COMM and _TASK. With -d it has /dev/null as standard input, output
and error, unless --keep-stdio is given.

--pidns=current puts the image of a subtree back into the pid namespace that
this command is in, beside what else is there: every number that the forest
needs must be free, and those that are not are listed with who has them. It
takes a writable cgroup v2 with cgroup.kill, below which the forest grows up,
so that it can be undone as a whole. The image of a container cannot: its
init is number 1 of a namespace, which only a new one can have.

--pids=any keeps the shape and gives every number but 1 anew, the lowest that
are free, in the order of the old ones; the table of old and new numbers is
printed when the forest lives. --output json prints it for programs
(docs/schema/restore.v1.json).

Without -d it stays as the parent of the forest, passes signals on to its
root, and ends as the root does. With -d it prints the root's number and
leaves.

It takes CAP_SYS_ADMIN and CAP_SETGID; who is not root, CAP_SETUID, and
without -d CAP_KILL, too; for some images more, which it says before it
begins (docs/capabilities.md).`,
		Example: `  pidgraft restore -d --pidfile web.pid web.img
  pidgraft dump 4711 | pidgraft restore -
  pidgraft restore --exec 'echo "I was $PIDGRAFT_COMM"' web.img
  pidgraft restore -d --pidns=current job.img
  pidgraft restore -d --pidns=current --pids=any -o json job.img`,
		Annotations: overhead("Some 10 to 20 µs for each task that shares memory with others, which all do that need no memory of " +
			"their own, and then the two passes and the comparison of a dump. Restored tasks that hold sleep in " +
			"the kernel and take no time."),
		Args: wantArgs(1, "an image"),
		RunE: func(_ *cobra.Command, args []string) error { return r.run(source(args[0])) },
	}
	fs := cmd.Flags()
	fs.BoolVarP(&r.detach, "detach", "d", false, "leave when the forest is there, and print its root's number")
	fs.StringVar(&r.pidfile, "pidfile", "", "write the root's number to `FILE`")
	fs.StringVar(&r.exec, "exec", "", "run `CMD` in every process")
	fs.BoolVar(&r.stdio, "keep-stdio", false, "with -d, let CMD have this command's standard input, output and error")
	fs.BoolVar(&r.verify, "verify", true, "compare the forest with the image before letting it live")
	fs.Var(r.pidns, "pidns", "`new`: in a new pid namespace; current: in this one")
	fs.Var(r.pids, "pids", "`exact`: the numbers of the image; any: new ones")
	fs.VarP(r.format, "output", "o", "report in `text` or json")
	fs.Var(r.memory, "memory", "let processes share memory until they run a program (`shared`), or each have its own (own)")
	r.types.flag(cmd)
	return cmd
}

func (r *restoring) run(from source) error {
	if from.isLive() {
		return usageError{fmt.Errorf("%s is alive; restore wants an image: pidgraft dump %s | pidgraft restore -",
			from, strings.TrimPrefix(string(from), pidPrefix))}
	}
	f, err := from.readImage()
	if err != nil {
		return err
	}
	f, opts, err := r.place(f)
	if err != nil {
		return err
	}
	types, err := r.types.read()
	if err != nil {
		return err
	}
	var v *verification
	if r.verify {
		v = prepareVerification(f, types)
		defer v.close()
	}
	p, err := planFor(f, opts)
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM,
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGALRM, syscall.SIGCONT, syscall.SIGWINCH)
	o := r.options(f, from, v, signals)
	o.Types = types.Spec()
	g := &stages{}
	g.Stage = g.next
	defer func() { g.step.stop() }()
	o.Progress = &g.Progress
	result, err := restore.Run(context.Background(), f, p, o)
	if err != nil {
		return err
	}
	if r.detach {
		return nil
	}
	return ended(result.Status)
}

func (r *restoring) options(f *forest.Forest, from source, v *verification, signals <-chan os.Signal) restore.Options {
	o := restore.Options{
		Detach: r.detach, Exec: r.exec, KeepStdio: r.stdio,
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Success: r.report, Pidfile: r.pidfile, Signals: signals, ReportMax: r.reportMax(),
	}
	if r.memory.value == "own" {
		o.Memory = restore.OwnMemory
	}
	if from == "-" {
		o.Stdin = nil // it was the image
	}
	if v != nil {
		o.Verify = v.run
	}
	return o
}

// ended is the end of a foreground restore, told as a shell tells it.
func ended(s syscall.WaitStatus) error {
	switch {
	case s.Signaled():
		return silent(128 + int(s.Signal()))
	case s.ExitStatus() != 0:
		return silent(s.ExitStatus())
	}
	return nil
}
