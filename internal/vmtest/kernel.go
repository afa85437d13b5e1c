// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// kernel is one of the matrix: the cloud kernel of Debian suites, of the newest
// if there are several.
type kernel struct {
	name   string // as in KERNEL=
	suites []string
	arch   string // Go's and Debian's name
	append string // to the kernel command line
}

const lockdown = "lsm=lockdown lockdown=confidentiality"

var kernels = []kernel{
	{"5.10", []string{"bullseye"}, "amd64", ""},
	{"6.1", []string{"bookworm"}, "amd64", ""},
	{"6.12", []string{"trixie"}, "amd64", ""},
	{"newest", []string{"trixie-backports", "sid"}, "amd64", ""},
	{"6.12-lockdown", []string{"trixie"}, "amd64", lockdown},
	{"6.12-arm64", []string{"trixie"}, "arm64", ""},
}

// userSuite is where the programs of a guest are from.
const userSuite = "trixie"

// choose gives the kernels of these names, separated by commas; all for "".
func choose(names string) ([]kernel, error) {
	if names == "" {
		return kernels, nil
	}
	var chosen []kernel
	for name := range strings.SplitSeq(names, ",") {
		n := slices.IndexFunc(kernels, func(k kernel) bool { return k.name == name })
		if n < 0 {
			var all []string
			for _, k := range kernels {
				all = append(all, k.name)
			}
			return nil, fmt.Errorf("KERNEL=%s is not in the matrix: %s", name, strings.Join(all, ", "))
		}
		chosen = append(chosen, kernels[n])
	}
	return chosen, nil
}

// image gives the path of the kernel's image in the cache, which it gets by apt
// from where this machine gets its own packages.
func (k kernel) image(ctx context.Context, cache string) (string, error) {
	a, err := newApt(cache, k.arch, k.suites...)
	if err != nil {
		return "", fmt.Errorf("kernel %s: %w", k.name, err)
	}
	image := a.path("vmlinuz")
	if isFresh(image) {
		return image, nil
	}
	if err := a.kernel(ctx, image); err != nil {
		return "", fmt.Errorf("kernel %s of %s: %w", k.name, strings.Join(k.suites, " and "), err)
	}
	return image, nil
}

// fresh is how long something is taken from the cache without asking for newer.
const fresh = 24 * time.Hour

func isFresh(path string) bool {
	info, err := os.Stat(path)
	return err == nil && time.Since(info.ModTime()) < fresh
}

// kernel downloads the package that the metapackage stands for, and puts its
// image at the path.
func (a *apt) kernel(ctx context.Context, image string) error {
	if err := a.update(ctx); err != nil {
		return err
	}
	pkg, err := a.resolve(ctx, "linux-image-cloud-"+a.arch)
	if err != nil {
		return err
	}
	tree, err := os.MkdirTemp(a.dir, "kernel")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tree)
	if _, err := a.command(ctx, tree, "apt-get", "download", pkg); err != nil {
		return err
	}
	if err := unpack(ctx, tree, tree); err != nil {
		return err
	}
	for _, pattern := range []string{"boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz", "lib/modules/*/vmlinuz"} {
		found, err := filepath.Glob(filepath.Join(tree, pattern))
		if err != nil {
			return err
		}
		if len(found) == 1 {
			now := time.Now() // the file has the time of the package
			return errors.Join(os.Chtimes(found[0], now, now), os.Rename(found[0], image))
		}
	}
	return fmt.Errorf("%s has no vmlinuz", pkg)
}

// resolve follows the dependencies from the metapackage to the package that
// has the image: linux-image-RELEASE, and from 7.x on linux-binary-RELEASE, on
// which that depends.
func (a *apt) resolve(ctx context.Context, metapackage string) (string, error) {
	pkg := metapackage
	for _, pattern := range []string{`\blinux-image-[0-9][^ ,]*`, `\blinux-binary-[0-9][^ ,]*`} {
		out, err := a.command(ctx, a.dir, "apt-cache", "--no-all-versions", "show", pkg)
		if err != nil {
			return "", err
		}
		depends := ""
		for lines := bufio.NewScanner(strings.NewReader(out)); lines.Scan(); {
			if value, ok := strings.CutPrefix(lines.Text(), "Depends:"); ok {
				depends = value
			}
		}
		next := regexp.MustCompile(pattern).FindString(depends)
		switch {
		case next != "":
			pkg = next
		case pkg == metapackage:
			return "", fmt.Errorf("%s depends on no linux-image-RELEASE, but on %q", pkg, depends)
		}
	}
	return pkg, nil
}
