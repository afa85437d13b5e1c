// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/internal/privilege"
	"github.com/pidgraft/pidgraft/restore"
)

// taskProbes are about what a restore does.
var taskProbes = []probe{
	{
		name: "proc", title: "a /proc of this pid namespace", try: tryProc,
	}, {
		name: "clone3", title: "the clone3 system call", since: "5.3", try: tryClone3,
	}, {
		name: "pidfd", title: "pidfds: open, signal, enter a namespace by one",
		capabilities: []privilege.Capability{unix.CAP_SYS_ADMIN}, since: "5.8", try: tryPidfd,
	}, {
		name: "set-tid", title: "choose numbers in a new pid namespace (set_tid)",
		capabilities: []privilege.Capability{unix.CAP_SYS_ADMIN}, needs: []string{"clone3"}, since: "5.5",
		kconfig: []string{"CONFIG_PID_NS"}, try: trySetTidNew,
	}, {
		name: "set-tid-here", title: "choose numbers in this pid namespace (set_tid)",
		capabilities: []privilege.Capability{unix.CAP_CHECKPOINT_RESTORE}, numbers: true, needs: []string{"clone3"}, since: "5.5",
		try: trySetTidHere,
	}, {
		name: "id-cursor", title: "set where the next number comes from (ns_last_pid)",
		kconfig: []string{"CONFIG_CHECKPOINT_RESTORE"}, try: tryCursor,
	}, {
		name: "user-namespaces", title: "pid namespaces in nested user namespaces",
		needs: []string{"clone3"}, kconfig: []string{"CONFIG_USER_NS"}, try: tryUserNamespace,
	}, {
		name: "pid-max", title: "a pid_max per pid namespace", needs: []string{"btf"}, since: "6.14", try: tryPidMax,
	}, {
		name: "rebuild", title: "the smallest forest, made and undone",
		needs: []string{"proc", "pidfd", "set-tid", "id-cursor"}, try: tryRebuild,
	},
}

func tryProc(*Doctor, context.Context) (string, error) {
	self, err := os.Readlink("/proc/self")
	if err != nil || self != strconv.Itoa(os.Getpid()) {
		return "", &failure{Setting, "/proc is not that of this pid namespace", "Mount it: mount -t proc proc /proc."}
	}
	return "", nil
}

// cloneArgs is struct clone_args, linux/sched.h, of 5.5.
type cloneArgs struct {
	flags, pidfd, childTid, parentTid, exitSignal, stack, stackSize, tls uint64
	setTid, setTidSize                                                   uint64
}

// tryClone3 asks for more numbers than there are levels of namespaces: EINVAL
// if the call knows set_tid, and nothing is made.
func tryClone3(*Doctor, context.Context) (string, error) {
	args := &cloneArgs{setTidSize: 1 << 16}
	args.setTid = uint64(uintptr(unsafe.Pointer(args)))
	_, _, errno := unix.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(args)), unsafe.Sizeof(*args), 0)
	switch {
	case errno == unix.EINVAL:
		return "", nil
	case privilege.Filtered() && (errno == unix.EPERM || errno == unix.ENOSYS):
		f := filtered(errno)
		return "", &f
	}
	return "", errno
}

// born makes a task that ends at once, with a number of choice if there is one,
// and collects it.
func born(flags uint64, number int32) error {
	runtime.LockOSThread() // signals are blocked for one thread
	defer runtime.UnlockOSThread()
	var all, old unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old); err != nil {
		return err
	}
	numbers := &[1]int32{number}
	args := &cloneArgs{flags: flags, exitSignal: uint64(unix.SIGCHLD)}
	if number != 0 {
		args.setTid, args.setTidSize = uint64(uintptr(unsafe.Pointer(numbers))), 1
	}
	pid, errno := cloneAndExit(args)
	runtime.KeepAlive(numbers)
	err := unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
	if errno != 0 {
		return errno
	}
	for {
		if _, err := unix.Wait4(int(pid), nil, unix.WALL, nil); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	return err
}

// cloneAndExit is a fork whose child does nothing but end: of Go nothing may run
// in it, as only this thread is there.
//
//go:norace
//go:nosplit
func cloneAndExit(args *cloneArgs) (uintptr, syscall.Errno) {
	pid, _, errno := unix.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(args)), unsafe.Sizeof(*args), 0)
	if errno == 0 && pid == 0 {
		for {
			unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
	}
	return pid, errno
}

func trySetTidNew(*Doctor, context.Context) (string, error) {
	return "", born(unix.CLONE_NEWPID, 1)
}

// trySetTidHere looks for a free number from the end: the kernel gives numbers
// out from the other one.
func trySetTidHere(*Doctor, context.Context) (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/pid_max")
	if err != nil {
		return "", err
	}
	limit, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return "", fmt.Errorf("pid_max: %w", err)
	}
	for n := limit - 1; n > limit-1000; n-- {
		if err = born(0, int32(n)); !errors.Is(err, unix.EEXIST) {
			break
		}
	}
	return "", err
}

func tryCursor(*Doctor, context.Context) (string, error) {
	_, err := os.ReadFile("/proc/sys/kernel/ns_last_pid")
	return "", err
}

func tryUserNamespace(*Doctor, context.Context) (string, error) {
	err := born(unix.CLONE_NEWUSER|unix.CLONE_NEWPID, 0)
	if errors.Is(err, unix.EPERM) && !privilege.Filtered() {
		return "", &failure{Setting, short(err),
			"Allow them: outside of a chroot, sysctl kernel.unprivileged_userns_clone=1, or kernel.apparmor_restrict_unprivileged_userns=0."}
	}
	return "", err
}

// tryPidfd enters, by a pidfd of this process, the namespace that it is in. What
// that sets is where children of the thread are born: where they are anyway.
func tryPidfd(*Doctor, context.Context) (string, error) {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return "", fmt.Errorf("pidfd_open: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, 0, nil, 0); err != nil {
		return "", fmt.Errorf("pidfd_send_signal: %w", err)
	}
	if err := unix.Setns(fd, unix.CLONE_NEWPID); err != nil {
		return "", fmt.Errorf("setns by a pidfd: %w", err)
	}
	return "", nil
}

func tryPidMax(d *Doctor, _ context.Context) (string, error) {
	each, err := restore.PidMaxEach(d.opts.Types.Spec())
	if err == nil && !each {
		err = unix.ENOSYS
	}
	return "", err
}
