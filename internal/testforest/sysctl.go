// SPDX-License-Identifier: Apache-2.0

package testforest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Files of /proc/sys/kernel that are those of the namespace of the task that
// opens or uses them.

// sysctl is the operation that writes one.
func sysctl(name string) func(*Forest, *actor, []string) error {
	return func(_ *Forest, a *actor, args []string) error {
		_, err := a.file("/proc/sys/kernel/"+name, args[0])
		return err
	}
}

// file has a task write text into a file, or read it if text is empty.
func (a *actor) file(path, text string) (string, error) {
	const at = 64 // of the text, after the path
	data := a.slot.data[:]
	clear(data)
	copy(data[:at-1], path)
	copy(data[at:], text)
	flags, nr, size := int64(unix.O_WRONLY), int64(unix.SYS_WRITE), int64(len(text))
	if text == "" {
		flags, nr, size = unix.O_RDONLY, unix.SYS_READ, 32
	}
	base := dataAddr(a.number)
	fd, err := a.call(unix.SYS_OPENAT, unix.AT_FDCWD, base, flags)
	if err != nil {
		return "", err
	}
	n, err := a.call(nr, fd, base+at, size)
	if err := errors.Join(err, a.run(unix.SYS_CLOSE, fd)); err != nil {
		return "", err
	}
	return strings.TrimSpace(string(data[at : at+n])), nil
}

// pidMax writes pid_max, which before about 6.14 is one for the machine.
func (f *Forest) pidMax(a *actor, args []string) error {
	if !OwnPidMax() || len(a.levels) < 2 {
		return ErrMachine
	}
	return sysctl("pid_max")(f, a, args)
}

// OwnPidMax reports whether this kernel has a pid_max for each pid namespace,
// as from 6.14 on.
func OwnPidMax() bool { return Release() >= 614 }

// Release is the kernel's as one number: 510 is 5.10.
func Release() int {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return 0
	}
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor); err != nil {
		return 0
	}
	return major*100 + minor
}

// setIDs sets the ids of one task, group first.
func (f *Forest) setIDs(a *actor, args []string) error {
	if len(args) < 8 { // the others follow the effective ones
		uid, gid := args[1], args[3]
		args = append(slices.Clone(args[:4]), uid, uid, gid, gid)
	}
	var ids [8]int64 // uid, euid, gid, egid, suid, fsuid, sgid, fsgid
	for i := range ids {
		var err error
		if ids[i], err = integer(args[i]); err != nil {
			return err
		}
	}
	for _, call := range []struct {
		nr  int64
		ids []int64
	}{
		{unix.SYS_SETRESGID, []int64{ids[2], ids[3], ids[6]}}, {unix.SYS_SETFSGID, ids[7:]},
		{unix.SYS_SETRESUID, []int64{ids[0], ids[1], ids[4]}}, {unix.SYS_SETFSUID, ids[5:6]},
	} {
		err := a.run(call.nr, call.ids...)
		if err := errors.Join(err, a.setDumpable()); err != nil {
			return err
		}
	}
	return nil
}

// Attributes are what a task says of itself because /proc does not.
type Attributes struct {
	Subreaper       bool
	Pdeath          int32
	LastPid, PidMax string // of its namespace, as the files have them
}

// Attributes asks a task, which must be able to make calls.
func (f *Forest) Attributes(name string) (x Attributes, err error) {
	a, err := f.actor(name)
	if err != nil {
		return x, err
	}
	for option, to := range map[int64]func(int32){
		unix.PR_GET_CHILD_SUBREAPER: func(n int32) { x.Subreaper = n != 0 },
		unix.PR_GET_PDEATHSIG:       func(n int32) { x.Pdeath = n },
	} {
		if err := a.run(unix.SYS_PRCTL, option, dataAddr(a.number)); err != nil {
			return x, err
		}
		to(*(*int32)(unsafe.Pointer(&a.slot.data)))
	}
	if x.LastPid, err = a.file("/proc/sys/kernel/ns_last_pid", ""); err != nil {
		return x, err
	}
	x.PidMax, err = a.file("/proc/sys/kernel/pid_max", "")
	return x, err
}
