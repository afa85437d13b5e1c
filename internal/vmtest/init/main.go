// SPDX-License-Identifier: Apache-2.0

// Command init is the first process of a test guest: it mounts what the tests
// need, runs the test binaries of its plan one after the other, and turns the
// machine off.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/internal/vmtest/guest"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "init: not process 1: this is for the guests of make vmtest")
		os.Exit(2)
	}
	if err := run(); err != nil {
		// No Exit line: the host must not take this for an end.
		fmt.Println("\ninit:", err)
	}
	unix.Sync()
	fmt.Println(unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF))
}

func run() error {
	if err := leaveRootfs(); err != nil {
		return err
	}
	if err := mountAll(); err != nil {
		return err
	}
	if err := loopback(); err != nil {
		return err
	}
	if out, err := exec.Command("/bin/busybox", "--install", "-s", "/bin").CombinedOutput(); err != nil {
		return fmt.Errorf("busybox --install: %w\n%s", err, out)
	}
	// As systemd has it; the kernel's own, with so few processors, is 32768.
	if err := os.WriteFile("/proc/sys/kernel/pid_max", []byte("4194304"), 0); err != nil {
		return err
	}
	// All that runs has it of this one: a timer may be late by 1 ms. Go's runtime
	// sleeps for 20 µs again and again, which here takes longer than that to do.
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(time.Millisecond.Nanoseconds()), 0, 0, 0); err != nil {
		return fmt.Errorf("set the timer slack: %w", err)
	}
	// Kernel messages would cut lines of the tests in two: emergencies only.
	if err := os.WriteFile("/proc/sys/kernel/printk", []byte("1"), 0); err != nil {
		return err
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return fmt.Errorf("uname: %w", err)
	}
	fmt.Printf("\n%s %s\n", guest.Started, unix.ByteSliceToString(name.Release[:]))

	text, err := os.ReadFile(guest.PlanPath)
	if err != nil {
		return err
	}
	var plan guest.Plan
	if err := json.Unmarshal(text, &plan); err != nil {
		return fmt.Errorf("parse %s: %w", guest.PlanPath, err)
	}
	failed := 0
	for _, test := range plan.Tests {
		fmt.Printf("\n%s %s\n", guest.Begin, test.Package)
		start := time.Now()
		status, err := runTest(&plan, test)
		if err != nil {
			fmt.Println("init:", err)
			status = -1
		}
		if status != 0 {
			failed++
		}
		fmt.Printf("\n%s %s %d %.0f\n", guest.Done, test.Package, status, time.Since(start).Seconds())
	}
	fmt.Printf("\n%s %d\n", guest.Exit, failed)
	return nil
}

// runTest gives the exit status of a test binary, 128 and the signal if one
// ended it. Meanwhile it reaps whatever became a child of process 1.
func runTest(plan *guest.Plan, test guest.Test) (int, error) {
	args := []string{test.Binary, "-test.v", "-test.timeout=" + plan.Timeout.String()}
	if plan.Short {
		args = append(args, "-test.short")
	}
	if plan.Run != "" {
		args = append(args, "-test.run="+plan.Run)
	}
	process, err := os.StartProcess(test.Binary, args, &os.ProcAttr{
		Dir:   test.Dir,
		Env:   plan.Env,
		Files: []*os.File{os.Stdin, os.Stdout, os.Stdout},
	})
	if err != nil {
		return 0, err
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WALL, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, fmt.Errorf("wait for %s: %w", test.Package, err)
		case pid == process.Pid && status.Signaled():
			return 128 + int(status.Signal()), nil
		case pid == process.Pid:
			return status.ExitStatus(), nil
		}
	}
}

// leaveRootfs makes the root a mount that has a parent, which the initramfs has
// not: without that pivot_root(2), which container runtimes call, is EINVAL.
func leaveRootfs() error {
	const root = "/newroot"
	if err := unix.Mount("/", root, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind / to %s: %w", root, err)
	}
	if err := unix.Chdir(root); err != nil {
		return fmt.Errorf("chdir to %s: %w", root, err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move %s to /: %w", root, err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("chroot to %s: %w", root, err)
	}
	return unix.Chdir("/")
}

// loopback is all the network there is.
func loopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("bring up lo: %w", err)
	}
	return nil
}

func mountAll() error {
	for _, m := range []struct{ kind, at string }{
		{"devtmpfs", "/dev"},
		{"devpts", "/dev/pts"},
		{"tmpfs", "/dev/shm"},
		{"proc", "/proc"},
		{"sysfs", "/sys"},
		{"securityfs", "/sys/kernel/security"},
		{"tracefs", "/sys/kernel/tracing"},
		{"bpf", "/sys/fs/bpf"},
		{"cgroup2", "/sys/fs/cgroup"},
		{"tmpfs", "/tmp"},
		{"tmpfs", "/run"},
	} {
		// sysfs has the directories that belong to it, and takes no others.
		if err := os.MkdirAll(m.at, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s at %s: %w", m.kind, m.at, err)
		}
	}
	return os.Chmod("/tmp", 0o1777)
}
