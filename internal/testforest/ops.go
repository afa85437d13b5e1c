// SPDX-License-Identifier: Apache-2.0

package testforest

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Do does one line of a script: ACTOR OPERATION ARGUMENT… with # comments.
// Operations of a task, each the system call of its name:
//
//	fork NAME [FLAG…]    a child; vm (share memory), parent (CLONE_PARENT),
//	                     newpid, newuser, sig=N (exit signal, 0 for none),
//	                     num=N[/N…] (its numbers, outermost first, the last
//	                     in its own namespace)
//	thread NAME [num=…]  a thread of its process
//	sleepers N           N children that share its memory and have no name
//	setsid
//	setpgid WHO GROUP    WHO: self or a task; GROUP: self (0) or a task
//	subreaper 0|1
//	pdeath SIG
//	comm TEXT
//	setuid N, setgid N
//	exit CODE            the process (exit_group)
//	exit-thread CODE     the task (exit)
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
	"setuid":      {1, setID(unix.SYS_SETRESUID)},
	"setgid":      {1, setID(unix.SYS_SETRESGID)},
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
		return 0, fmt.Errorf("%s has no number where %s is", b.name, a.name)
	}
	return int64(b.levels[level]), nil
}

func integer(s string) (int64, error) { return strconv.ParseInt(s, 10, 32) }

// signal takes a number or a name without SIG.
func signal(s string) (int64, error) {
	if n := unix.SignalNum("SIG" + s); n != 0 {
		return int64(n), nil
	}
	return integer(s)
}

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

func exit(nr int64) func(*Forest, *actor, []string) error {
	return func(f *Forest, a *actor, args []string) error {
		code, err := integer(args[0])
		if err != nil {
			return err
		}
		a.slot.post(nr, code)
		for deadline := time.Now().Add(patience); a.phase() < leaves; {
			if time.Now().After(deadline) {
				return fmt.Errorf("task %d does not end", a.tid)
			}
			time.Sleep(20 * time.Microsecond)
		}
		return f.settle()
	}
}

func (f *Forest) fork(a *actor, args []string) error {
	flags, sig := int64(0), int64(unix.SIGCHLD)
	var numbers []int64
	for _, word := range args[1:] {
		var err error
		switch key, value, _ := strings.Cut(word, "="); key {
		case "vm":
			flags |= unix.CLONE_VM
		case "parent":
			flags |= unix.CLONE_PARENT
			sig = 0
		case "newpid":
			flags |= unix.CLONE_NEWPID
		case "newuser":
			flags |= unix.CLONE_NEWUSER
		case "sig":
			sig, err = signal(value)
		case "num":
			numbers, err = parseNumbers(value)
		default:
			err = fmt.Errorf("%q: %w", word, errUsage)
		}
		if err != nil {
			return err
		}
	}
	return f.spawn(a, args[0], flags, sig, numbers)
}

func (f *Forest) thread(a *actor, args []string) error {
	var numbers []int64
	for _, word := range args[1:] {
		value, ok := strings.CutPrefix(word, "num=")
		if !ok {
			return errUsage
		}
		var err error
		if numbers, err = parseNumbers(value); err != nil {
			return err
		}
	}
	const flags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES |
		unix.CLONE_SIGHAND | unix.CLONE_THREAD | unix.CLONE_SYSVSEM
	return f.spawn(a, args[0], flags, 0, numbers)
}

// parseNumbers reads N/N/…, outermost first, into the order of set_tid.
func parseNumbers(s string) ([]int64, error) {
	var numbers []int64
	for part := range strings.SplitSeq(s, "/") {
		n, err := integer(part)
		if err != nil {
			return nil, err
		}
		numbers = append(numbers, n)
	}
	slices.Reverse(numbers)
	return numbers, nil
}

func (f *Forest) spawn(a *actor, name string, flags, sig int64, numbers []int64) error {
	if _, taken := f.actors[name]; taken || name == hostName {
		return fmt.Errorf("the name %q is taken", name)
	}
	if f.used == nrSlots {
		return fmt.Errorf("more than %d tasks", nrSlots)
	}
	a.setNumbers(numbers)
	child := f.addSlot(name)
	if err := a.run(spawnCall, flags, sig, int64(child.number), int64(len(numbers))); err != nil {
		f.used--
		return err
	}
	child.tid, child.tgid = a.tid, a.tgid // until it is enlisted, its maker vouches for it
	return f.enlist(child, flags&unix.CLONE_THREAD != 0)
}

// setNumbers lays out set_tid in the slot's data.
func (a *actor) setNumbers(numbers []int64) {
	for i, n := range numbers {
		for b := range 4 {
			a.slot.data[4*i+b] = byte(n >> (8 * b)) // little-endian pid_t
		}
	}
}

func (f *Forest) sleepers(a *actor, args []string) error {
	n, err := integer(args[0])
	if err != nil {
		return err
	}
	for range n {
		if err := a.run(spawnCall, unix.CLONE_VM, int64(unix.SIGCHLD), sleeper, 0); err != nil {
			return err
		}
	}
	return nil
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
		err = fmt.Errorf("wait4 had nothing to report of %s", name)
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
	return a.run(unix.SYS_UNSHARE, flag)
}

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
	return errors.Join(err, a.run(unix.SYS_CLOSE, fd))
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
	const at = 64 // of the text, after the path
	text := strings.Join(args[2:], " ")
	copy(a.slot.data[:at], b.mapFile(args[1])+"\x00")
	copy(a.slot.data[at:], text)
	base := dataAddr(a.number)
	fd, err := a.call(unix.SYS_OPENAT, unix.AT_FDCWD, base, unix.O_WRONLY)
	if err != nil {
		return err
	}
	err = a.run(unix.SYS_WRITE, fd, base+at, int64(len(text)))
	return errors.Join(err, a.run(unix.SYS_CLOSE, fd))
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
	a.tid = a.tgid // what a.alive is to look at
	const program = 5
	empty := base + 7
	if err := a.run(unix.SYS_EXECVEAT, program, empty, base+at, base+at+16, unix.AT_EMPTY_PATH); err != nil {
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

func (f *Forest) kill(a *actor, name string) error {
	sig, err := signal(name)
	if err != nil {
		return err
	}
	if a.pidfd < 0 {
		return fmt.Errorf("%s is a thread; signal its process", a.name)
	}
	if err := unix.PidfdSendSignal(a.pidfd, unix.Signal(sig), nil, 0); err != nil {
		return err
	}
	return f.settle()
}
