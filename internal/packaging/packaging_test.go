// SPDX-License-Identifier: Apache-2.0

package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pidgraft/pidgraft/internal/leak"
	"github.com/pidgraft/pidgraft/internal/require"
)

const version = "0.0.1-test.1"

// run is what a command prints; it must succeed.
func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

var (
	dir   string
	build sync.Once
)

func TestMain(m *testing.M) {
	os.Exit(leak.Checked(m, func() error {
		if dir == "" {
			return nil
		}
		return os.RemoveAll(dir)
	}).Run())
}

// packages is the directory with all that make packages makes for this machine. It is
// made once.
func packages(t *testing.T) string {
	t.Helper()
	build.Do(func() {
		var err error
		if dir, err = os.MkdirTemp("", "pidgraft-packages"); err != nil {
			t.Fatal(err)
		}
		root, err := filepath.Abs("../..")
		if err != nil {
			t.Fatal(err)
		}
		run(t, root, "scripts/packages", dir, version, runtime.GOARCH)
	})
	return dir
}

// made is the one file in dist with a name that ends so.
func made(t *testing.T, dist, suffix string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dist, "pidgraft_*"+suffix))
	if err != nil || len(found) != 1 {
		t.Fatalf("%q ends in %s (%v)", found, suffix, err)
	}
	return found[0]
}

// TestPackages: the .deb is installed, works, and leaves nothing when it is
// removed; the .rpm and the archive have the same files; the sums are right.
func TestPackages(t *testing.T) {
	require.Feature(t, require.Sources)
	if os.Geteuid() != 0 {
		t.Fatal("run as root: it installs a package")
	}
	if out, err := exec.Command("dpkg-query", "-W", "-f", "${db:Status-Status}", "pidgraft").Output(); err == nil && string(out) == "installed" {
		t.Fatal("pidgraft is installed on this machine, and this test would replace it: dpkg -r pidgraft")
	}
	dist := packages(t)
	file := func(suffix string) string { return made(t, dist, suffix) }
	run(t, dist, "sha256sum", "--check", "--strict", file("_checksums.txt"))

	var want []string
	stage := filepath.Join(dist, "linux_"+runtime.GOARCH)
	if err := filepath.WalkDir(stage, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			want = append(want, strings.TrimPrefix(path, stage))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(want)
	for name, list := range map[string]string{
		"deb":     run(t, dist, "sh", "-c", "dpkg-deb --fsys-tarfile "+file(".deb")+" | tar -t"),
		"rpm":     run(t, dist, "rpm", "-qlp", file(".rpm")),
		"archive": run(t, dist, "tar", "-tf", file(".tar.gz")),
	} {
		var is []string
		for _, f := range strings.Fields(list) {
			f = "/" + strings.TrimLeft(f, "./")
			if info, err := os.Stat(stage + f); err != nil {
				t.Errorf("%s: %v", name, err)
			} else if !info.IsDir() {
				is = append(is, f)
			}
		}
		slices.Sort(is)
		if !slices.Equal(is, want) {
			t.Errorf("%s has %q, installed were %q", name, is, want)
		}
	}

	run(t, dist, "dpkg", "-i", file(".deb"))
	removed := false
	defer func() {
		if !removed {
			_ = exec.Command("dpkg", "-P", "pidgraft").Run()
		}
	}()
	if out := run(t, "/", "/usr/bin/pidgraft", "version"); !strings.HasPrefix(out, "pidgraft v"+version+" ") {
		t.Errorf("version: %s", out)
	}
	run(t, "/", "/usr/bin/pidgraft", "ps", "--only", "zombie")
	if out := run(t, "/", "bash", "-c", ". /usr/share/bash-completion/completions/pidgraft && complete -p pidgraft"); !strings.Contains(out, "__start_pidgraft") {
		t.Errorf("completion: %s", out)
	}
	// groff says what it does not like.
	for _, f := range want {
		if strings.HasPrefix(f, "/usr/share/man/") {
			if out := run(t, "/", "sh", "-c", "zcat "+f+" | groff -man -Tutf8 -ww -z 2>&1"); out != "" {
				t.Errorf("%s: %s", f, out)
			}
		}
	}
	run(t, "/", "systemd-analyze", "verify", "/usr/lib/systemd/system/pidgraft-audit.service")
	run(t, "/", "dpkg", "-P", "pidgraft")
	removed = true
	for _, f := range want {
		if _, err := os.Lstat(f); err == nil {
			t.Errorf("%s is left", f)
		}
	}

	for _, f := range []string{"/usr/lib/systemd/system/pidgraft-audit.service", "/usr/share/doc/pidgraft/pidgraft.cdx.json"} {
		if !slices.Contains(want, f) {
			t.Errorf("%s is not in the packages", f)
		}
	}
}

// What make install puts below a prefix, make uninstall takes away, and the unit
// starts the program that is there.
func TestInstall(t *testing.T) {
	require.Feature(t, require.Sources)
	dest := t.TempDir()
	run(t, "../..", "make", "-s", "install", "DESTDIR="+dest, "PREFIX=/opt/pidgraft")
	unit, err := os.ReadFile(filepath.Join(dest, "opt/pidgraft/lib/systemd/system/pidgraft-audit.service"))
	if err != nil || !strings.Contains(string(unit), "\nExecStart=/opt/pidgraft/bin/pidgraft") {
		t.Errorf("%v: %s", err, unit)
	}
	run(t, "../..", "make", "-s", "uninstall", "DESTDIR="+dest, "PREFIX=/opt/pidgraft")
	if err := filepath.WalkDir(dest, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			t.Errorf("%s is left", path)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

// What is no version is refused before anything is made.
func TestNoVersion(t *testing.T) {
	require.Feature(t, require.Sources)
	dist := filepath.Join(t.TempDir(), "dist")
	for _, v := range []string{"", "one", "1.2"} {
		out, err := exec.Command("../../scripts/packages", dist, v).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "is no version") {
			t.Errorf("%q: %v, %s", v, err, out)
		}
		if _, err := os.Stat(dist); err == nil {
			t.Errorf("%q: the directory was made", v)
		}
	}
}
