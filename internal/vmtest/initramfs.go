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
	"slices"
	"strings"

	"github.com/pidgraft/pidgraft/internal/churn"
	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/internal/testforest"
	"github.com/pidgraft/pidgraft/internal/vmtest/guest"
)

// Where a guest has things.
const (
	sourceDir  = "/src" // test data, and working directories as in the tree
	testDir    = "/test"
	puppetPath = "/lib/puppet"
	churnPath  = "/lib/churn"
	selfPath   = "/usr/bin/pidgraft"
	auditPath  = "/usr/bin/pidgraft-audit"
)

// privileged is imported by tests that need something of the machine: these
// run in guests.
const privileged = "github.com/pidgraft/pidgraft/internal/require"

// compilers make the programs of tests in C, by architecture. $CC is that of the host alone.
var compilers = map[string]string{"amd64": "x86_64-linux-gnu-gcc", "arm64": "aarch64-linux-gnu-gcc"}

// initramfs is what goes into the guests of an architecture, all of it static
// but for programs.
type initramfs struct {
	root string // of the module
	work string // for what is built
	arch string
	tree string // of Debian's packages
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
	if err := addPrograms(a, i.tree); err != nil {
		return "", err
	}
	a.copy("/init", i.built("init"))
	a.copy(selfPath, i.built("pidgraft"))
	a.copy(auditPath, i.built("pidgraft-audit"))
	a.copy(puppetPath, i.built("puppet"))
	a.copy(churnPath, i.built("churn"))
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
	if err := i.addTestdata(a); err != nil {
		return "", err
	}
	return name, errors.Join(a.close(), file.Close())
}

func (i *initramfs) built(name string) string { return filepath.Join(i.work, name) }

func (i *initramfs) compile(ctx context.Context, packages []string) error {
	if err := testforest.CompilePuppet(i.built("puppet"), compilers[i.arch]); err != nil {
		return err
	}
	if err := churn.Compile(i.built("churn"), compilers[i.arch]); err != nil {
		return err
	}
	for name, pkg := range map[string][]string{
		"init":           {"./internal/vmtest/init"},
		"pidgraft":       {"-tags=lean", "./cmd/pidgraft"}, // as they are installed
		"pidgraft-audit": {"./cmd/pidgraft"},
	} {
		if _, err := i.goTool(ctx, append([]string{"build", "-ldflags=-s -w", "-o", i.built(name)}, pkg...)...); err != nil {
			return err
		}
	}
	const format = `{{range .TestImports}}{{.}} {{end}}{{range .XTestImports}}{{.}} {{end}}{{.Dir}}`
	out, err := i.goTool(ctx, append([]string{"list", "-f", format}, packages...)...)
	if err != nil {
		return err
	}
	for line := range strings.Lines(out) {
		words := strings.Fields(line)
		imports, dir := words[:len(words)-1], words[len(words)-1]
		if !slices.Contains(imports, privileged) {
			continue
		}
		rel, err := filepath.Rel(i.root, dir)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		binary := strings.ReplaceAll(rel, "/", "-") + ".test"
		if _, err := i.goTool(ctx, "test", "-c", "-ldflags=-s -w", "-o", i.built(binary), "./"+rel); err != nil {
			return err
		}
		i.plan.Tests = append(i.plan.Tests, guest.Test{
			Package: "./" + rel, Dir: path.Join(sourceDir, rel), Binary: path.Join(testDir, binary),
		})
	}
	if i.plan.Tests == nil {
		return fmt.Errorf("none of the packages has tests that import %s: %q", privileged, packages)
	}
	i.plan.Env = []string{
		"PATH=/bin", "HOME=/root", "TMPDIR=/tmp", "USER=root", "TERM=dumb", "CI=true",
		testforest.PuppetEnv + "=" + puppetPath,
		churn.Env + "=" + churnPath,
		require.Guest + "=1",
		"PIDGRAFT=" + selfPath,
	}
	return nil
}

func (i *initramfs) goTool(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = i.root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+i.arch)
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

// addTestdata adds every testdata directory, the schemas and the BPF objects:
// tests look at those of other packages, too.
func (i *initramfs) addTestdata(a *archive) error {
	return filepath.WalkDir(i.root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(i.root, file)
		if err != nil {
			return err
		}
		to := path.Join(sourceDir, filepath.ToSlash(rel))
		switch name := d.Name(); {
		case d.IsDir() && name == ".git": // in a work tree it is a file
			return fs.SkipDir
		case d.IsDir() && (name == "testdata" || name == "schema"):
			a.tree(to, file)
			return fs.SkipDir
		case filepath.Ext(name) == ".o":
			a.copy(to, file)
		}
		return nil
	})
}
