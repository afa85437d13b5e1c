// SPDX-License-Identifier: Apache-2.0

// Command vmtest runs the privileged tests of packages on other kernels: those
// of Debian releases, in QEMU, one boot for each kernel with all test binaries
// inside. See docs/vmtest.md. It is run from the top of the source tree.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/internal/vmtest/guest"
)

// packageTimeout is the -test.timeout of a package, by the clock of the guest.
const packageTimeout = 20 * time.Minute

func main() {
	var r run
	flag.StringVar(&r.kernel, "kernel", "", "the kernels to boot, by name, separated by commas; all if there is none")
	flag.StringVar(&r.pattern, "run", "", "the tests to run, as of go test -run")
	flag.BoolVar(&r.long, "long", false, "run the tests without -short")
	flag.IntVar(&r.parallel, "parallel", runtime.NumCPU(), "how many guests to run at a time")
	flag.StringVar(&r.logs, "logs", "", "a directory for all that the consoles say")
	flag.BoolVar(&r.tcg, "tcg", false, "do not use KVM")
	flag.Parse()
	r.patterns = flag.Args()
	ctx, stop := ending(context.Background())
	defer stop()
	if err := r.do(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "vmtest:", err)
		os.Exit(1)
	}
}

// ending gives a context that is over when somebody ends this program, or what
// started it: go run, which make ends and not what it runs, ends without a word
// to that.
func ending(ctx context.Context) (context.Context, func()) {
	ctx, stop := signal.NotifyContext(ctx, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	// The error is that of a wrong signal number.
	_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGTERM), 0, 0, 0)
	return ctx, stop
}

// run is what was asked for.
type run struct {
	kernel, pattern string
	long, tcg       bool
	parallel        int
	logs            string
	patterns        []string // of packages
}

func (r *run) do(ctx context.Context) error {
	chosen, err := choose(r.kernel)
	if err != nil {
		return err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	cache = filepath.Join(cache, "pidgraft", "debian")
	// First all kernels: a matrix that would lack one is none.
	images := make([]string, len(chosen))
	for n, k := range chosen {
		if images[n], err = k.image(ctx, cache); err != nil {
			return err
		}
	}
	work, err := os.MkdirTemp("", "vmtest")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	archives := map[string]string{}
	var tests []guest.Test
	for _, k := range chosen {
		if archives[k.arch] != "" {
			continue
		}
		if archives[k.arch], tests, err = r.archive(ctx, cache, filepath.Join(work, k.arch), k.arch); err != nil {
			return err
		}
	}
	host := newHost(!r.tcg, r.logs)
	results := make([]*result, len(chosen))
	free := make(chan struct{}, max(r.parallel, 1))
	var all sync.WaitGroup
	for n, k := range chosen {
		free <- struct{}{}
		all.Go(func() {
			results[n] = host.run(ctx, k, images[n], archives[k.arch])
			<-free
		})
	}
	all.Wait()
	if err := report(os.Stdout, tests, results); err != nil {
		return err
	}
	for _, result := range results {
		if !result.ok() {
			return errors.New("not every package passed on every kernel, with a reason for each skip")
		}
	}
	return nil
}

// archive makes the initramfs of an architecture, and says what tests are in it.
func (r *run) archive(ctx context.Context, cache, work, arch string) (string, []guest.Test, error) {
	tree, err := userTree(ctx, cache, arch)
	if err != nil {
		return "", nil, err
	}
	root, err := os.Getwd()
	if err != nil {
		return "", nil, err
	}
	if err := os.Mkdir(work, 0o755); err != nil {
		return "", nil, err
	}
	i := &initramfs{root: root, work: work, arch: arch, tree: tree,
		plan: guest.Plan{Run: r.pattern, Short: !r.long, Timeout: packageTimeout}}
	archive, err := i.build(ctx, r.patterns)
	return archive, i.plan.Tests, err
}
