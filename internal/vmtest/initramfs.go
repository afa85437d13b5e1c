// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/pidgraft/pidgraft/internal/testforest"
	"github.com/pidgraft/pidgraft/internal/vmtest/guest"
)

// programs are copied from the host with their libraries, for the tests that
// take them; the rest is busybox.
var programs = []string{"busybox", "bash", "runc", "bwrap", "unshare", "setpriv", "script"}

// Where a guest has things.
const (
	sourceDir  = "/src" // test data, and working directories as in the tree
	testDir    = "/test"
	puppetPath = "/lib/puppet"
	selfPath   = "/bin/pidgraft"
)

// initramfs is what goes into a guest, all of it static but for programs.
type initramfs struct {
	root string // of the module
	work string // for what is built
	plan guest.Plan
}

// build compiles what the guest runs, and writes the archive, whose path it
// gives.
func (i *initramfs) build(ctx context.Context, packages []string) (string, error) {
	if err := i.compile(ctx, packages); err != nil {
		return "", err
	}
	name := filepath.Join(i.work, "initramfs")
	file, err := os.Create(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	a := newArchive(file)
	for _, dir := range []string{"/newroot", "/dev", "/proc", "/sys", "/tmp", "/run", "/root"} {
		a.dir(dir)
	}
	a.device("/dev/console", 5, 1)
	a.file("/etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\n"))
	a.file("/etc/group", 0o644, []byte("root:x:0:\n"))
	a.copy("/init", i.built("init"))
	a.copy(selfPath, i.built("pidgraft"))
	a.copy(puppetPath, i.built("puppet"))
	for _, t := range i.plan.Tests {
		if err := i.addPackage(a, t.Dir); err != nil {
			return "", err
		}
		a.copy(t.Binary, i.built(path.Base(t.Binary)))
	}
	plan, err := json.Marshal(i.plan)
	if err != nil {
		return "", err
	}
	a.file(guest.PlanPath, 0o644, plan)
	if err := errors.Join(i.addTestdata(a), addPrograms(ctx, a)); err != nil {
		return "", err
	}
	return name, errors.Join(a.close(), file.Close())
}

func (i *initramfs) built(name string) string { return filepath.Join(i.work, name) }

func (i *initramfs) compile(ctx context.Context, packages []string) error {
	if err := testforest.CompilePuppet(i.built("puppet")); err != nil {
		return err
	}
	for name, pkg := range map[string]string{"init": "./internal/vmtest/init", "pidgraft": "./cmd/pidgraft"} {
		if _, err := i.goTool(ctx, "build", "-o", i.built(name), pkg); err != nil {
			return err
		}
	}
	const format = `{{if or .TestGoFiles .XTestGoFiles}}{{.Dir}}{{end}}`
	out, err := i.goTool(ctx, append([]string{"list", "-f", format}, packages...)...)
	if err != nil {
		return err
	}
	for dir := range strings.FieldsSeq(out) {
		rel, err := filepath.Rel(i.root, dir)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		binary := strings.ReplaceAll(rel, "/", "-") + ".test"
		if _, err := i.goTool(ctx, "test", "-c", "-o", i.built(binary), "./"+rel); err != nil {
			return err
		}
		i.plan.Tests = append(i.plan.Tests, guest.Test{
			Package: "./" + rel, Dir: path.Join(sourceDir, rel), Binary: path.Join(testDir, binary),
		})
	}
	if i.plan.Tests == nil {
		return fmt.Errorf("none of the packages has tests: %q", packages)
	}
	i.plan.Env = []string{
		"PATH=/bin", "HOME=/root", "TMPDIR=/tmp", "USER=root", "TERM=dumb", "CI=true",
		testforest.PuppetEnv + "=" + puppetPath,
		"PIDGRAFT=" + selfPath,
	}
	return nil
}

func (i *initramfs) goTool(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = i.root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out), nil
}

// addPackage adds a test's working directory, with what tests may look at: what
// in it is no Go source.
func (i *initramfs) addPackage(a *archive, dir string) error {
	a.dir(dir)
	host := filepath.Join(i.root, strings.TrimPrefix(dir, sourceDir))
	entries, err := os.ReadDir(host)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type().IsRegular() && filepath.Ext(e.Name()) != ".go" {
			a.copy(path.Join(dir, e.Name()), filepath.Join(host, e.Name()))
		}
	}
	return nil
}

// addTestdata adds every testdata directory: tests look at those of other
// packages, too.
func (i *initramfs) addTestdata(a *archive) error {
	return filepath.WalkDir(i.root, func(file string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if name := d.Name(); name == ".git" {
			return fs.SkipDir
		} else if name != "testdata" {
			return nil
		}
		rel, err := filepath.Rel(i.root, file)
		if err != nil {
			return err
		}
		a.tree(path.Join(sourceDir, filepath.ToSlash(rel)), file)
		return fs.SkipDir
	})
}

// library finds the files in what ldd prints.
var library = regexp.MustCompile(`(?m)^\s+(?:\S+ => )?(/\S+) \(0x`)

func addPrograms(ctx context.Context, a *archive) error {
	for _, name := range programs {
		file, err := exec.LookPath(name)
		if err != nil {
			return fmt.Errorf("%s is not installed (make test-deps): %w", name, err)
		}
		a.copy("/bin/"+name, file)
		// Of a static program it says that it is not dynamic, and fails.
		out, _ := exec.CommandContext(ctx, "ldd", file).Output()
		for _, m := range library.FindAllStringSubmatch(string(out), -1) {
			a.copy(m[1], m[1])
		}
	}
	out, err := exec.CommandContext(ctx, "busybox", "--list").Output()
	if err != nil {
		return fmt.Errorf("busybox --list: %w", err)
	}
	for applet := range strings.FieldsSeq(string(out)) {
		a.link("/bin/"+applet, "busybox")
	}
	return nil
}

// packageTimeout is the -test.timeout of each package. TCG is slow.
const packageTimeout = 8 * time.Minute
