// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/internal/vmtest/guest"
)

// guestTimeout is how long a guest may take for everything, on the host's
// clock: what does not end is cut off, and what is only slow is not.
const guestTimeout = 60 * time.Minute

// machine is QEMU's of an architecture.
type machine struct {
	qemu    string
	args    []string
	console string
}

var machines = map[string]machine{
	// Without ERMS the kernel clears and copies pages by words: TCG makes every
	// byte of a rep movsb an instruction of its own. The others are what for TCG
	// only costs: a level of page tables, guards around each access to user
	// memory, registers to save.
	"amd64": {"qemu-system-x86_64", []string{"-machine", "q35", "-cpu",
		"max,erms=off,la57=off,smap=off,smep=off,umip=off,pku=off,xsave=off,avx=off,avx2=off"}, "ttyS0"},
	// Without the first, authenticated pointers are computed with a real cipher.
	"arm64": {"qemu-system-aarch64", []string{"-machine", "virt", "-cpu", "max,pauth-impdef=on"}, "ttyAMA0"},
}

// accelerator is one of QEMU's.
type accelerator struct {
	args []string
	boot time.Duration // how long the way to init may take
}

var (
	kvm = &accelerator{[]string{"-accel", "kvm", "-smp", "2"}, 30 * time.Second}
	// One processor: QEMU 7.2 with several, and a thread for each, now and then
	// lets the guest run into the breakpoint of a text_poke that is over, which
	// is a panic; BPF programs come and go by text_poke. With several and one
	// thread, kernels before 6.5 or so do not come up under icount.
	//
	// icount: the guest's clock counts its instructions, 4 ns for each, and
	// jumps while it sleeps. So what a test waits for at most does not depend
	// on what else the host has to do.
	tcg = &accelerator{[]string{"-accel", "tcg,thread=single", "-icount", "shift=2,sleep=off"}, 10 * time.Minute}
)

// commandLine is the kernel's, but for what a kernel of the matrix is about. What
// it turns off changes nothing that tests look at: Debian's kernels clear all
// memory that they allocate, test their ciphers, and audit. 112 is REP_GOOD:
// without it they clear and copy by loops, not by rep stosq and movsq.
const commandLine = "panic=-1 loglevel=4 mitigations=off nokaslr init_on_alloc=0 randomize_kstack_offset=off " +
	"transparent_hugepage=never audit=0 apparmor=0 cryptomgr.notests no_timer_check clearcpuid=112"

// host is what the guests run on.
type host struct {
	noKVM atomic.Bool // not there, or does not work
	logs  string      // directory for all that the consoles say, "" for none
}

// newHost looks for KVM.
func newHost(useKVM bool, logs string) *host {
	h := &host{logs: logs}
	file, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	h.noKVM.Store(err != nil || !useKVM)
	if err == nil {
		file.Close()
	}
	return h
}

func (h *host) accelerator(arch string) *accelerator {
	if arch != runtime.GOARCH || h.noKVM.Load() {
		return tcg
	}
	return kvm
}

// run boots a kernel once. A boot that dies before init is tried once more, and
// says nothing about the tests; if it was with KVM, which may not work though
// its device opens, TCG is used from then on.
func (h *host) run(ctx context.Context, k kernel, image, initramfs string) *result {
	accel := h.accelerator(k.arch)
	r := h.boot(ctx, k, image, initramfs, accel)
	failedKVM := accel == kvm && (!r.started || errors.Is(r.err, errKVM))
	if ctx.Err() != nil || r.err == nil || r.started && !failedKVM {
		return r
	}
	if failedKVM {
		h.noKVM.Store(true)
	}
	say(k.name, "no boot: %v; once more", r.err)
	return h.boot(ctx, k, image, initramfs, h.accelerator(k.arch))
}

var (
	// errKVM is of a guest that KVM could not run on. QEMU only stops it then.
	errKVM    = errors.New("KVM internal error")
	errNoInit = errors.New("init did not start in time")
	errSlow   = fmt.Errorf("not done after %v", guestTimeout)
)

func (h *host) boot(ctx context.Context, k kernel, image, initramfs string, accel *accelerator) *result {
	r := newResult(k)
	ctx, cancel := context.WithTimeoutCause(ctx, guestTimeout, errSlow)
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	starting := time.AfterFunc(accel.boot, func() { stop(errNoInit) })
	defer starting.Stop()
	m := machines[k.arch]
	args := append([]string{m.qemu, "-m", "2048",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-serial", "stdio", "-kernel", image, "-initrd", initramfs,
		"-append", "console=" + m.console + " " + commandLine + " " + k.append}, m.args...)
	cmd := exec.CommandContext(ctx, "nice", append(append([]string{"-n", "1"}, args...), accel.args...)...)
	// No guest outlives this program, even if that is killed. The signal is sent
	// when the thread ends that started it, and Go ends those that a locked
	// goroutine leaves; here none does.
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	console, err := cmd.StdoutPipe()
	if err != nil {
		r.err = err
		return r
	}
	log, err := h.log(k)
	if err != nil {
		r.err = err
		return r
	}
	defer log.Close()
	cmd.Stderr = &kvmWatch{stop: func() { stop(errKVM) }}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		r.err = fmt.Errorf("start QEMU (make vmtest installs it): %w", err)
		return r
	}
	ended := r.read(console, log, func() { starting.Stop() })
	err = cmd.Wait()
	r.took, r.used = time.Since(start), cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()
	switch {
	case ended:
	case ctx.Err() != nil:
		r.err = fmt.Errorf("no %s line: %w", guest.Exit, context.Cause(ctx))
	default:
		r.err = fmt.Errorf("no %s line; QEMU: %v", guest.Exit, err)
	}
	return r
}

// log is the file for what a console says.
func (h *host) log(k kernel) (*os.File, error) {
	if h.logs == "" {
		return os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	}
	return os.Create(h.logs + "/" + k.name + ".log")
}

// kvmWatch passes on what QEMU says, and stops it when KVM fails.
type kvmWatch struct{ stop func() }

func (w *kvmWatch) Write(p []byte) (int, error) {
	if strings.Contains(string(p), "KVM internal error") {
		w.stop()
	}
	return os.Stderr.Write(p)
}
