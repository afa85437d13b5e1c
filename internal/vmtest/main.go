// SPDX-License-Identifier: Apache-2.0

// Command vmtest runs the tests of packages on other kernels: those of Debian
// releases, in QEMU, one boot for each kernel with all test binaries inside.
// See docs/vmtest.md. It is run from the top of the source tree.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/internal/vmtest/guest"
)

func main() {
	only := flag.String("kernel", "", "the one kernel to boot, of 5.10, 6.1, 6.12 and newest")
	pattern := flag.String("run", "", "the tests to run, as of go test -run")
	noKVM := flag.Bool("tcg", false, "do not use KVM")
	flag.Parse()
	accel := tcg
	if !*noKVM {
		accel = bestAccelerator()
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	if err := vmtest(ctx, *only, *pattern, accel, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "vmtest:", err)
		os.Exit(1)
	}
}

func vmtest(ctx context.Context, only, pattern string, accel accelerator, packages []string) error {
	chosen, err := choose(only)
	if err != nil {
		return err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	cache = filepath.Join(cache, "pidgraft")
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
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	i := &initramfs{root: root, work: work, plan: guest.Plan{Run: pattern, Timeout: packageTimeout}}
	archive, err := i.build(ctx, packages)
	if err != nil {
		return err
	}
	var results []*result
	good := true
	for n, k := range chosen {
		r := run(ctx, k, images[n], archive, &accel)
		results = append(results, r)
		good = good && r.ok()
	}
	if err := writeTable(os.Stdout, i.plan.Tests, results); err != nil {
		return err
	}
	if !good {
		return errors.New("not every package passed on every kernel")
	}
	return nil
}

func choose(only string) ([]kernel, error) {
	if only == "" {
		return kernels, nil
	}
	for _, k := range kernels {
		if k.name == only {
			return []kernel{k}, nil
		}
	}
	return nil, fmt.Errorf("KERNEL=%s is not in the matrix: 5.10, 6.1, 6.12 or newest", only)
}
