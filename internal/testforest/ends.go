// SPDX-License-Identifier: Apache-2.0

package testforest

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// signal takes a number or a name without SIG.
func signal(s string) (int64, error) {
	if n := unix.SignalNum("SIG" + s); n != 0 {
		return int64(n), nil
	}
	return integer(s)
}

func exit(nr int64) func(*Forest, *actor, []string) error {
	return func(f *Forest, a *actor, args []string) error {
		code, err := integer(args[0])
		if err != nil {
			return err
		}
		a.slot.post(nr, code)
		return f.end(a)
	}
}

// end waits until the task is on its way out, and all others are at rest.
func (f *Forest) end(a *actor) error {
	for w := newWaiting(); a.phase() < leaves; {
		if !w.pause() {
			return fmt.Errorf("task %d does not end", a.tid)
		}
	}
	return f.settle()
}

func (f *Forest) fault(a *actor, args []string) error {
	sig, err := signal(args[0])
	if err != nil {
		return err
	}
	if sig == int64(unix.SIGSYS) {
		return f.seccomp(a)
	}
	a.slot.post(faultCall, sig)
	return f.end(a)
}

// seccompProgram is struct sock_fprog with the one instruction that it points
// to.
type seccompProgram struct {
	Len    uint16
	_      [6]byte
	Filter int64

	Code   uint16
	Jt, Jf uint8
	K      uint32
}

const killProcess = 0x80000000 // SECCOMP_RET_KILL_PROCESS

// seccomp forbids a task every system call, and so its next one is its last.
func (f *Forest) seccomp(a *actor) error {
	if err := a.run(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1); err != nil {
		return err
	}
	program := (*seccompProgram)(unsafe.Pointer(&a.slot.data))
	*program = seccompProgram{
		Len: 1, Filter: dataAddr(a.number) + int64(unsafe.Offsetof(program.Code)),
		Code: unix.BPF_RET | unix.BPF_K, K: killProcess,
	}
	const setModeFilter = 1
	a.slot.post(unix.SYS_SECCOMP, setModeFilter, 0, dataAddr(a.number))
	return f.end(a)
}

func (f *Forest) reboot(a *actor, args []string) error {
	command, ok := map[string]int64{
		"hup": unix.LINUX_REBOOT_CMD_RESTART, "int": unix.LINUX_REBOOT_CMD_HALT,
	}[args[0]]
	switch {
	case !ok:
		return errUsage
	case len(a.levels) < 2:
		return fmt.Errorf("%s is in the namespace of the test: it would reboot the machine", a.name)
	}
	a.slot.post(unix.SYS_REBOOT, unix.LINUX_REBOOT_MAGIC1, unix.LINUX_REBOOT_MAGIC2, command)
	return f.mayEnd(a)
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

// killBy has a task send a signal to a process that it sees, perhaps its own.
func (f *Forest) killBy(a *actor, args []string) error {
	b, err := f.actor(args[0])
	if err != nil {
		return err
	}
	n, err := a.sees(b)
	if err != nil {
		return err
	}
	sig, err := signal(args[1])
	if err != nil {
		return err
	}
	a.slot.post(unix.SYS_KILL, n, sig)
	return f.mayEnd(a)
}

// mayEnd is the result of a call that was posted, unless the task ends or stops
// of it.
func (f *Forest) mayEnd(a *actor) error {
	_, err := a.slot.wait(func() bool { return a.phase() < stops })
	if err != nil && a.phase() >= stops {
		err = nil
	}
	return errors.Join(err, f.settle())
}

// sigaction is the kernel's struct sigaction.
type sigaction struct{ Handler, Flags, Restorer, Mask uint64 }

const saNoCldWait = 2

func (f *Forest) ignore(a *actor, args []string) error {
	sig, err := signal(args[0])
	if err != nil {
		return err
	}
	action, ok := map[string]sigaction{"dfl": {}, "ign": {Handler: 1}, "nocldwait": {Flags: saNoCldWait}}[args[1]]
	if !ok {
		return errUsage
	}
	*(*sigaction)(unsafe.Pointer(&a.slot.data)) = action
	return a.run(unix.SYS_RT_SIGACTION, sig, dataAddr(a.number), 0, 8)
}
