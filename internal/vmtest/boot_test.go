// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fakeQEMU stands for QEMU: what it does with KVM, and what it does with TCG.
func fakeQEMU(t *testing.T, kvm, tcg string) {
	t.Helper()
	dir := t.TempDir()
	script := "#!/bin/sh\ncase \"$*\" in\n*'-accel kvm'*) " + kvm + " ;;\n*) " + tcg + " ;;\nesac\n"
	if err := os.WriteFile(filepath.Join(dir, machines[runtime.GOARCH].qemu), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

const (
	goodGuest = `printf 'VMTEST-INIT 6.12\r\nVMTEST-RUN ./x\r\n=== RUN   TestX\r\n--- PASS: TestX (0.00s)\r\nPASS\r\nVMTEST-DONE ./x 0 1\r\nVMTEST-EXIT 0\r\n'`
	panics    = `printf 'Kernel panic - not syncing\r\n'`
)

// What dies before the init is done once more, with TCG if it was with KVM; what
// dies after it is a failure. QEMU's status says nothing.
func TestFallback(t *testing.T) {
	for name, c := range map[string]struct {
		kvm, tcg string
		ok       bool
		noKVM    bool
		says     string // of the error
	}{
		"works":               {goodGuest, "exit 1", true, false, ""},
		"internal error":      {`echo 'KVM internal error. Suberror: 3' >&2; exec sleep 60`, goodGuest, true, true, ""},
		"error after init":    {`printf 'VMTEST-INIT 6.12\r\n'; echo 'KVM internal error. Suberror: 1' >&2; exec sleep 60`, goodGuest, true, true, ""},
		"QEMU aborts":         {"kill -ABRT $$", goodGuest, true, true, ""},
		"panics with KVM":     {panics, goodGuest, true, true, ""},
		"panics with both":    {panics, panics, false, true, "no VMTEST-EXIT line"},
		"panics after init":   {`printf 'VMTEST-INIT 6.12\r\nVMTEST-RUN ./x\r\n'; ` + panics, goodGuest, false, false, "no VMTEST-EXIT line"},
		"ends without a test": {`printf 'VMTEST-INIT 6.12\r\nVMTEST-EXIT 0\r\n'`, goodGuest, false, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			fakeQEMU(t, c.kvm, c.tcg)
			h := &host{}
			r := h.run(t.Context(), kernel{name: "fake", arch: runtime.GOARCH}, "image", "initramfs")
			if r.ok() != c.ok || h.noKVM.Load() != c.noKVM {
				t.Errorf("ok %t (%v), without KVM from now on %t", r.ok(), r.err, h.noKVM.Load())
			}
			if c.says != "" && (r.err == nil || !strings.Contains(r.err.Error(), c.says)) {
				t.Errorf("it says %v", r.err)
			}
		})
	}
}

// TestMain is, where the variable is set, what boots a guest: vmtest without
// packages and kernels.
func TestMain(m *testing.M) {
	if os.Getenv("VMTEST_BOOTS") == "" {
		os.Exit(m.Run())
	}
	ctx, stop := ending(context.Background())
	defer stop()
	(&host{}).run(ctx, kernel{name: "fake", arch: runtime.GOARCH}, "image", "initramfs")
}

// However vmtest ends, or what started it, its guest ends, too.
func TestNoGuestIsLeft(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, end := range map[string]func(starter, vmtest int) error{
		"SIGTERM":                 func(_, vmtest int) error { return unix.Kill(vmtest, unix.SIGTERM) },
		"SIGKILL":                 func(_, vmtest int) error { return unix.Kill(vmtest, unix.SIGKILL) },
		"its starter is ended":    func(starter, _ int) error { return unix.Kill(starter, unix.SIGTERM) },
		"the terminal hangs up":   func(_, vmtest int) error { return unix.Kill(vmtest, unix.SIGHUP) },
		"the keyboard interrupts": func(_, vmtest int) error { return unix.Kill(vmtest, unix.SIGINT) },
	} {
		t.Run(name, func(t *testing.T) {
			const boots = `printf 'VMTEST-INIT 6.12\r\n'; echo $$ >"$PIDS/qemu"; exec sleep 60`
			fakeQEMU(t, boots, boots)
			dir := t.TempDir()
			// The shell stays, as go run does.
			starter := exec.Command("sh", "-c", `"$0" & echo $! >"$PIDS/vmtest"; wait`, self)
			starter.Env = append(os.Environ(), "VMTEST_BOOTS=1", "PIDS="+dir)
			if err := starter.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = starter.Wait() }() // by a signal
			vmtest, qemu := readPID(t, dir+"/vmtest"), readPID(t, dir+"/qemu")
			fd, err := unix.PidfdOpen(qemu, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			defer func() { _ = starter.Process.Kill() }() // unless it has ended
			if err := end(starter.Process.Pid, vmtest); err != nil {
				t.Fatal(err)
			}
			ended := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, err := unix.Poll(ended, 20_000)
			for errors.Is(err, unix.EINTR) {
				n, err = unix.Poll(ended, 20_000)
			}
			if err != nil || n == 0 {
				t.Errorf("QEMU goes on (%v)", err)
				if err := unix.Kill(qemu, unix.SIGKILL); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// readPID waits for a number in a file.
func readPID(t *testing.T, path string) int {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		text, err := os.ReadFile(path)
		if err != nil || !strings.HasSuffix(string(text), "\n") {
			continue
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		return pid
	}
	t.Fatalf("no number in %s", path)
	return 0
}
