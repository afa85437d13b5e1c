// SPDX-License-Identifier: Apache-2.0

package testforest

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Do does one line of a script: ACTOR OPERATION ARGUMENT… with # comments.
// Operations of a task, each the system call of its name:
//
//	fork NAME [FLAG…]    a child; vm (share memory), parent (CLONE_PARENT),
//	                     newpid, newuser, sig=N (exit signal, 0 for none),
//	                     num=N[/N…] (its numbers, outermost first, the last
//	                     in its own namespace), fail (late, with EFAULT)
//	thread NAME [num=…]  a thread of its process
//	sleepers N           N children that share its memory and have no name
//	setsid
//	setpgid WHO GROUP    WHO: self or a task; GROUP: self (0) or a task
//	subreaper 0|1
//	pdeath SIG
//	comm TEXT
//	ignore SIG ign|dfl|nocldwait
//	                     what happens on a signal
//	setuid N, setgid N
//	setids UID EUID GID EGID [SUID FSUID SGID FSGID]
//	setresuid UID EUID SUID, setresgid GID EGID SGID
//	setfsuid N, setfsgid N
//	last-pid N           write ns_last_pid of its namespace
//	pid-max N            write pid_max of its namespace (not the machine's)
//	exit CODE            the process (exit_group)
//	exit-thread CODE     the task (exit)
//	kill NAME SIG
//	fault SIG            SEGV, ILL, TRAP or SYS, which an init cannot ignore
//	reboot hup|int       an init: end by reboot(2), which looks like a signal
//	reap NAME            collect a child that ended
//	wait-stop NAME       be told that a child stopped
//	unshare pid|user|mount
//	setns NAME pid|user  join the namespace that NAME is in
//	exec                 run the puppet anew
//	maps NAME uid|gid INSIDE OUTSIDE COUNT
//	                     write the id map of the user namespace of NAME, a
//	                     child of its own
//
// Operations of host:
//
//	kill NAME SIG
//	maps NAME uid|gid INSIDE OUTSIDE COUNT
//	setgroups NAME allow|deny
//	target NAME          NAME is the forest's root
//
// An error of the kernel is in the result as a unix.Errno. After Do every
// task of the forest is at rest.
func (f *Forest) Do(line string) error {
	text, _, _ := strings.Cut(line, "#")
	words := strings.Fields(text)
	if len(words) == 0 {
		return nil
	}
	if len(words) == 1 {
		return fmt.Errorf("testforest: %q: no operation", line)
	}
	var err error
	if words[0] == hostName {
		err = f.doHost(words[1], words[2:])
	} else {
		err = f.doTask(words[0], words[1], words[2:])
	}
	if err != nil {
		return fmt.Errorf("testforest: %q: %w", strings.Join(words, " "), err)
	}
	return nil
}

// What the testforest cannot have a task do, or find done.
var (
	ErrUnseen  = errors.New("it has no number there")
	ErrNothing = errors.New("wait4 had nothing to report")
	ErrMachine = errors.New("it would be the machine's pid_max")
)

var errUsage = errors.New("wrong arguments")

// taskOps are the operations of a task, by name, with their least number of
// arguments.
var taskOps = map[string]struct {
	args int
	do   func(*Forest, *actor, []string) error
}{
	"fork":        {1, (*Forest).fork},
	"thread":      {1, (*Forest).thread},
	"sleepers":    {1, (*Forest).sleepers},
	"setsid":      {0, func(f *Forest, a *actor, _ []string) error { return a.run(unix.SYS_SETSID) }},
	"setpgid":     {2, (*Forest).setpgid},
	"subreaper":   {1, prctl(unix.PR_SET_CHILD_SUBREAPER)},
	"pdeath":      {1, prctl(unix.PR_SET_PDEATHSIG)},
	"comm":        {1, func(_ *Forest, a *actor, args []string) error { return a.setComm(args[0]) }},
	"ignore":      {2, (*Forest).ignore},
	"setids":      {4, (*Forest).setIDs},
	"last-pid":    {1, sysctl("ns_last_pid")},
	"pid-max":     {1, (*Forest).pidMax},
	"kill":        {2, (*Forest).killBy},
	"fault":       {1, (*Forest).fault},
	"reboot":      {1, (*Forest).reboot},
	"setuid":      {1, setID(unix.SYS_SETRESUID)},
	"setgid":      {1, setID(unix.SYS_SETRESGID)},
	"setresuid":   {3, setEach(unix.SYS_SETRESUID, 3)},
	"setresgid":   {3, setEach(unix.SYS_SETRESGID, 3)},
	"setfsuid":    {1, setEach(unix.SYS_SETFSUID, 1)},
	"setfsgid":    {1, setEach(unix.SYS_SETFSGID, 1)},
	"exit":        {1, exit(unix.SYS_EXIT_GROUP)},
	"exit-thread": {1, exit(unix.SYS_EXIT)},
	"reap":        {1, (*Forest).reap},
	"wait-stop":   {1, (*Forest).waitStop},
	"unshare":     {1, (*Forest).unshare},
	"setns":       {2, (*Forest).setns},
	"exec":        {0, (*Forest).exec},
	"maps":        {5, (*Forest).maps},
}

func (f *Forest) doTask(name, op string, args []string) error {
	a, err := f.actor(name)
	if err != nil {
		return err
	}
	o, ok := taskOps[op]
	if !ok {
		return fmt.Errorf("no operation %q", op)
	}
	switch p, err := a.rest(); {
	case err != nil:
		return err
	case p != waits:
		return fmt.Errorf("%s cannot do it: it %v", name, p)
	}
	if len(args) < o.args {
		return errUsage
	}
	return o.do(f, a, args)
}

func (f *Forest) doHost(op string, args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	a, err := f.actor(args[0])
	if err != nil {
		return err
	}
	switch {
	case op == "kill" && len(args) == 2:
		return f.kill(a, args[1])
	case op == "maps" && len(args) == 5 && (args[1] == "uid" || args[1] == "gid"):
		return os.WriteFile(a.mapFile(args[1]), []byte(strings.Join(args[2:], " ")), 0)
	case op == "setgroups" && len(args) == 2:
		return os.WriteFile(fmt.Sprintf("/proc/%d/setgroups", a.tgid), []byte(args[1]), 0)
	case op == "target" && len(args) == 1:
		f.target = a.name
		return nil
	}
	return errUsage
}

func (f *Forest) actor(name string) (*actor, error) {
	a, ok := f.actors[name]
	if !ok {
		return nil, fmt.Errorf("no task is called %q", name)
	}
	return a, nil
}

// run has the task make a system call whose result does not matter.
func (a *actor) run(nr int64, args ...int64) error {
	_, err := a.call(nr, args...)
	return err
}

// sees is the number by which a knows b.
func (a *actor) sees(b *actor) (int64, error) {
	level := len(a.levels) - 1
	if level >= len(b.levels) {
		return 0, fmt.Errorf("%s calls %s: %w", a.name, b.name, ErrUnseen)
	}
	return int64(b.levels[level]), nil
}

func integer(s string) (int64, error) { return strconv.ParseInt(s, 10, 32) }

func prctl(option int64) func(*Forest, *actor, []string) error {
	return func(_ *Forest, a *actor, args []string) error {
		n, err := signal(args[0])
		if err != nil {
			return err
		}
		return a.run(unix.SYS_PRCTL, option, n)
	}
}

func setID(nr int64) func(*Forest, *actor, []string) error {
	return func(_ *Forest, a *actor, args []string) error {
		n, err := integer(args[0])
		if err != nil {
			return err
		}
		return a.run(nr, n, n, n)
	}
}

// setEach sets n ids, each its own. The task stays dumpable, as after setids.
func setEach(nr int64, n int) func(*Forest, *actor, []string) error {
	return func(_ *Forest, a *actor, args []string) error {
		ids := make([]int64, n)
		for i := range ids {
			var err error
			if ids[i], err = integer(args[i]); err != nil {
				return err
			}
		}
		err := a.run(nr, ids...)
		return errors.Join(err, a.setDumpable())
	}
}

func (f *Forest) setpgid(a *actor, args []string) error {
	var pair [2]int64
	for i, word := range args[:2] {
		if word == "self" {
			continue
		}
		b, err := f.actor(word)
		if err != nil {
			return err
		}
		if pair[i], err = a.sees(b); err != nil {
			return err
		}
	}
	return a.run(unix.SYS_SETPGID, pair[0], pair[1])
}

func (f *Forest) reap(a *actor, args []string) error {
	return f.wait(a, args[0], unix.WNOHANG|unix.WALL)
}

func (f *Forest) waitStop(a *actor, args []string) error {
	return f.wait(a, args[0], unix.WNOHANG|unix.WALL|unix.WUNTRACED)
}

func (f *Forest) wait(a *actor, name string, options int64) error {
	b, err := f.actor(name)
	if err != nil {
		return err
	}
	n, err := a.sees(b)
	if err != nil {
		return err
	}
	got, err := a.call(unix.SYS_WAIT4, n, 0, options)
	if err == nil && got != n {
		err = fmt.Errorf("%s: %w", name, ErrNothing)
	}
	return err
}

var nsFlags = map[string]int64{
	"pid":   unix.CLONE_NEWPID,
	"user":  unix.CLONE_NEWUSER,
	"mount": unix.CLONE_NEWNS,
}

func (f *Forest) unshare(a *actor, args []string) error {
	flag, ok := nsFlags[args[0]]
	if !ok {
		return errUsage
	}
	if err := a.run(unix.SYS_UNSHARE, flag); err != nil {
		return err
	}
	return a.setDumpable()
}

// setDumpable undoes what a change of credentials does to a task's memory, so
// that what others may do with the task depends on ids and capabilities alone.
func (a *actor) setDumpable() error { return a.run(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 1) }

func (f *Forest) setns(a *actor, args []string) error {
	b, err := f.actor(args[0])
	if err != nil {
		return err
	}
	flag, ok := nsFlags[args[1]]
	if !ok {
		return errUsage
	}
	n, err := a.sees(b)
	if err != nil {
		return err
	}
	fd, err := a.call(unix.SYS_PIDFD_OPEN, n, 0)
	if err != nil {
		return err
	}
	err = a.run(unix.SYS_SETNS, fd, flag)
	return errors.Join(err, a.run(unix.SYS_CLOSE, fd), a.setDumpable())
}

func (a *actor) mapFile(which string) string {
	return fmt.Sprintf("/proc/%d/%s_map", a.tgid, which)
}

// maps has a task write an id map, as only one of the parent user namespace
// may. It has the test's /proc, where tasks are called as the test calls them.
func (f *Forest) maps(a *actor, args []string) error {
	b, err := f.actor(args[0])
	if err != nil {
		return err
	}
	_, err = a.file(b.mapFile(args[1]), strings.Join(args[2:], " "))
	return err
}

// exec replaces the task's program by a fresh puppet on the same slot. The
// other threads of its process end, and it takes over the leader's number.
func (f *Forest) exec(a *actor, _ []string) error {
	const at = 64 // argv in the data, its strings before it
	base := dataAddr(a.number)
	copy(a.slot.data[:], "puppet\x00\x00"+strconv.Itoa(a.number)+"\x00")
	for i, pointer := range []int64{base, base + 8, 0} {
		for b := range 8 {
			a.slot.data[at+8*i+b] = byte(pointer >> (8 * b))
		}
	}
	const program = 5
	empty := base + 7
	a.slot.post(unix.SYS_EXECVEAT, program, empty, base+at, base+at+16, unix.AT_EMPTY_PATH)
	// On the way from its own number to that of its leader, who may be dead.
	leader := &actor{name: a.name, tid: a.tgid, tgid: a.tgid}
	if _, err := a.slot.wait(func() bool { return a.alive() || leader.alive() }); err != nil {
		return err
	}
	a.tid = a.tgid
	if err := a.setDumpable(); err != nil {
		return err
	}
	if err := a.readLevels(); err != nil {
		return err
	}
	for _, b := range f.order {
		if b == a || b.tgid != a.tgid {
			continue
		}
		if b.pidfd >= 0 {
			a.pidfd, b.pidfd = b.pidfd, -1
		}
		b.tid = 0 // no task has it
	}
	return a.setComm(a.name)
}
