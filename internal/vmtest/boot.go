// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/pidgraft/pidgraft/internal/vmtest/guest"
)

// guestTimeout is how long a guest may take for everything.
const guestTimeout = 20 * time.Minute

// result is what a guest said.
type result struct {
	kernel  kernel
	release string // of the kernel that ran
	status  map[string]int
	skips   []string
	started bool  // the init ran
	err     error // no end
}

func (r *result) ok() bool {
	for _, status := range r.status {
		if status != 0 {
			return false
		}
	}
	return r.err == nil
}

// accelerator is one of QEMU's.
type accelerator struct {
	qemu string
	boot time.Duration // how long the way to init may take
}

var (
	kvm = accelerator{"kvm", 30 * time.Second}
	// One thread: QEMU 7.2 with a thread for each processor now and then lets
	// the guest run into the breakpoint of a text_poke that is over, which is
	// a panic. BPF programs come and go by text_poke.
	tcg = accelerator{"tcg,thread=single", 2 * time.Minute}
)

// bestAccelerator is KVM where its device opens, TCG otherwise.
func bestAccelerator() accelerator {
	file, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return tcg
	}
	file.Close()
	return kvm
}

// run boots a kernel once. A boot that dies before init is tried once more, and
// says nothing about the tests; if it was with KVM, which may not work though
// its device opens, TCG is used from then on.
func run(ctx context.Context, k kernel, image, initramfs string, accel *accelerator) *result {
	r := boot(ctx, k, image, initramfs, *accel)
	failedKVM := *accel == kvm && (!r.started || errors.Is(r.err, errKVM))
	if ctx.Err() != nil || r.err == nil || r.started && !failedKVM {
		return r
	}
	if failedKVM {
		*accel = tcg
	}
	fmt.Printf("%s: no boot: %v; once more, with %s\n", k.name, r.err, accel.qemu)
	return boot(ctx, k, image, initramfs, *accel)
}

var (
	// errKVM is of a guest that KVM could not run on. QEMU only stops it then.
	errKVM    = errors.New("KVM internal error")
	errNoInit = errors.New("init did not start in time")
)

func boot(ctx context.Context, k kernel, image, initramfs string, accel accelerator) *result {
	r := &result{kernel: k, status: map[string]int{}}
	ctx, cancelTimeout := context.WithTimeout(ctx, guestTimeout)
	defer cancelTimeout()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	starting := time.AfterFunc(accel.boot, func() { stop(errNoInit) })
	defer starting.Stop()
	cmd := exec.CommandContext(ctx, "nice", "qemu-system-x86_64",
		"-machine", "q35", "-accel", accel.qemu, "-cpu", "max", "-smp", "2", "-m", "2048",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-serial", "stdio", "-kernel", image, "-initrd", initramfs,
		"-append", "console=ttyS0 panic=-1 loglevel=4 mitigations=off")
	console, err := cmd.StdoutPipe()
	if err != nil {
		r.err = err
		return r
	}
	stderr := &kvmWatch{stop: func() { stop(errKVM) }}
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		r.err = fmt.Errorf("start QEMU (make vmtest installs it): %w", err)
		return r
	}
	ended := r.read(console, func() { starting.Stop() })
	err = cmd.Wait()
	switch {
	case ended:
	case ctx.Err() != nil:
		r.err = fmt.Errorf("no %s line: %w", guest.Exit, context.Cause(ctx))
	default:
		r.err = fmt.Errorf("no %s line; QEMU: %v", guest.Exit, err)
	}
	return r
}

// kvmWatch passes on what QEMU says, and stops it when KVM fails.
type kvmWatch struct{ stop func() }

func (w *kvmWatch) Write(p []byte) (int, error) {
	if strings.Contains(string(p), "KVM internal error") {
		w.stop()
	}
	return os.Stderr.Write(p)
}

// read takes the console to its end, and says whether the init came to its own.
// It calls started when the init runs.
func (r *result) read(console io.Reader, started func()) (ended bool) {
	lines := bufio.NewScanner(console)
	lines.Buffer(nil, 1<<24)
	pkg := ""
	for lines.Scan() {
		line := strings.Trim(lines.Text(), "\r")
		word, rest, _ := strings.Cut(line, " ")
		switch word {
		case guest.Started:
			started()
			r.started, r.release = true, rest
			fmt.Printf("%s: Linux %s\n", r.kernel.name, rest)
		case guest.Begin:
			pkg = rest
		case guest.Done:
			name, status, _ := strings.Cut(rest, " ")
			n, err := strconv.Atoi(status)
			if err != nil {
				n = -1
			}
			r.status[name] = n
			fmt.Printf("%s: %s: exit status %d\n", r.kernel.name, name, n)
		case guest.Exit:
			ended = true
		default:
			r.test(pkg, line)
		}
	}
	return ended
}

// test passes on a line of a test, or of the kernel.
func (r *result) test(pkg, line string) {
	for _, noise := range []string{"=== RUN", "=== PAUSE", "=== CONT", "=== NAME"} {
		if strings.HasPrefix(line, noise) {
			return
		}
	}
	if name, ok := strings.CutPrefix(strings.TrimSpace(line), "--- SKIP: "); ok {
		name, _, _ = strings.Cut(name, " ")
		r.skips = append(r.skips, pkg+" "+name)
	}
	if line != "" {
		fmt.Printf("%s: %s\n", r.kernel.name, line)
	}
}
