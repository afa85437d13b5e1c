// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// kernel is one of the matrix.
type kernel struct {
	name  string // as in KERNEL=
	suite string // of Debian, whose cloud kernel it is
}

var kernels = []kernel{
	{"5.10", "bullseye"},
	{"6.1", "bookworm"},
	{"6.12", "trixie"},
	{"newest", "sid"},
}

// metapackage depends on the kernel of a suite.
const metapackage = "linux-image-cloud-amd64"

// fresh is how long a kernel is taken from the cache without asking for newer.
const fresh = 24 * time.Hour

// image gives the path of the kernel's bzImage in the cache, which it gets by
// apt from where this machine gets its own packages.
func (k kernel) image(ctx context.Context, cache string) (string, error) {
	dir := filepath.Join(cache, "kernels", k.suite)
	image := filepath.Join(dir, "vmlinuz")
	if info, err := os.Stat(image); err == nil && time.Since(info.ModTime()) < fresh {
		return image, nil
	}
	a, err := newApt(dir, k.suite)
	if err != nil {
		return "", fmt.Errorf("kernel %s: %w", k.name, err)
	}
	if err := a.kernel(ctx, image); err != nil {
		return "", fmt.Errorf("kernel %s of %s: %w", k.name, k.suite, err)
	}
	return image, nil
}

// apt is a private state directory of apt for one suite: nothing of it is seen
// by the machine's own.
type apt struct{ dir string }

func newApt(dir, suite string) (*apt, error) {
	for _, d := range []string{"lists/partial", "cache/archives/partial", "deb"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	sources, err := sourcesOf(suite)
	if err != nil {
		return nil, err
	}
	a := &apt{dir}
	if err := os.WriteFile(a.path("status"), nil, 0o644); err != nil {
		return nil, err
	}
	return a, os.WriteFile(a.path("suite.sources"), []byte(sources), 0o644)
}

func (a *apt) path(name string) string { return filepath.Join(a.dir, name) }

// sourcesOf is the machine's own apt sources of its Debian release, with the
// release replaced: its mirror and keyring serve the others, too. Unstable has
// no suite for security.
func sourcesOf(suite string) (string, error) {
	release, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "", err
	}
	m := regexp.MustCompile(`(?m)^VERSION_CODENAME=(\w+)$`).FindSubmatch(release)
	if m == nil {
		return "", errors.New("/etc/os-release names no VERSION_CODENAME: kernels come by way of Debian's apt sources")
	}
	own := regexp.MustCompile(`\b` + string(m[1]) + `(-security)?( |$)`)
	files, err := filepath.Glob("/etc/apt/sources.list.d/*.sources")
	if err != nil {
		return "", err
	}
	var found []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		for _, stanza := range strings.Split(string(text), "\n\n") {
			uris, signed := stanzaField(stanza, "URIs"), stanzaField(stanza, "Signed-By")
			suites := own.FindStringSubmatch(stanzaField(stanza, "Suites"))
			if suites == nil || uris == "" || signed == "" || suite == "sid" && suites[1] != "" {
				continue
			}
			found = append(found, fmt.Sprintf("Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n",
				uris, suite+suites[1], signed))
		}
	}
	if found == nil {
		return "", fmt.Errorf("no /etc/apt/sources.list.d/*.sources has a stanza of %s with URIs and Signed-By to take the mirror and keyring from", m[1])
	}
	return strings.Join(found, "\n"), nil
}

// stanzaField is a field on one line of a stanza, deb822(5).
func stanzaField(stanza, name string) string {
	for line := range strings.Lines(stanza) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func (a *apt) command(ctx context.Context, program string, args ...string) (string, error) {
	options := []string{
		"-q",
		"-o", "Dir::State=" + a.dir,
		"-o", "Dir::State::lists=" + a.path("lists"),
		"-o", "Dir::State::status=" + a.path("status"),
		"-o", "Dir::Cache=" + a.path("cache"),
		"-o", "Dir::Etc::sourcelist=" + a.path("suite.sources"),
		"-o", "Dir::Etc::sourceparts=/dev/null",
		"-o", "Acquire::Languages=none",
		"-o", "Acquire::Retries=3",
		"-o", "APT::Update::Error-Mode=any",
		"-o", "APT::Sandbox::User=root", // the cache may be root's alone
	}
	cmd := exec.CommandContext(ctx, program, append(options, args...)...)
	cmd.Dir = a.path("deb")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", program, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// kernel downloads the package that the metapackage stands for, and puts its
// bzImage at the path.
func (a *apt) kernel(ctx context.Context, image string) error {
	if _, err := a.command(ctx, "apt-get", "update"); err != nil {
		return err
	}
	pkg, err := a.resolve(ctx, metapackage)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(a.path("deb")); err != nil {
		return err
	}
	if err := os.Mkdir(a.path("deb"), 0o755); err != nil {
		return err
	}
	if _, err := a.command(ctx, "apt-get", "download", pkg); err != nil {
		return err
	}
	debs, err := filepath.Glob(a.path("deb/*.deb"))
	if err != nil || len(debs) != 1 {
		return fmt.Errorf("apt-get download %s left %d packages (%v)", pkg, len(debs), err)
	}
	tree := a.path("deb/tree")
	if out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", debs[0], tree).CombinedOutput(); err != nil {
		return fmt.Errorf("dpkg-deb -x %s: %w\n%s", debs[0], err, out)
	}
	for _, pattern := range []string{"boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz", "lib/modules/*/vmlinuz"} {
		found, err := filepath.Glob(filepath.Join(tree, pattern))
		if err != nil {
			return err
		}
		if len(found) == 1 {
			now := time.Now() // the file has the time of the package
			return errors.Join(os.Rename(found[0], image), os.Chtimes(image, now, now), os.RemoveAll(tree), os.Remove(debs[0]))
		}
	}
	return fmt.Errorf("%s has no vmlinuz", pkg)
}

// resolve follows the dependencies from the metapackage to the package that
// has the bzImage: linux-image-RELEASE, and from 7.x on linux-binary-RELEASE,
// on which that depends.
func (a *apt) resolve(ctx context.Context, pkg string) (string, error) {
	for _, pattern := range []string{`\blinux-image-[0-9]\S*`, `\blinux-binary-[0-9]\S*`} {
		out, err := a.command(ctx, "apt-cache", "--no-all-versions", "show", pkg)
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
	return strings.TrimSuffix(pkg, ","), nil
}
