// SPDX-License-Identifier: Apache-2.0

package main

import (
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

// apt is a private state directory of apt for suites and an architecture, as on
// a machine that has nothing installed: the machine's own sees nothing of it.
type apt struct {
	dir  string
	arch string
}

func newApt(cache, arch string, suites ...string) (*apt, error) {
	a := &apt{filepath.Join(cache, strings.Join(suites, "+")+"-"+arch), arch}
	for _, d := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(a.path(d), 0o755); err != nil {
			return nil, err
		}
	}
	var sources []string
	for _, suite := range suites {
		own, err := sourcesOf(suite)
		if err != nil {
			return nil, err
		}
		sources = append(sources, own...)
	}
	// No suite before another: the newest package is taken.
	const preferences = "Package: *\nPin: release *\nPin-Priority: 500\n"
	return a, errors.Join(
		os.WriteFile(a.path("status"), nil, 0o644),
		os.WriteFile(a.path("suite.sources"), []byte(strings.Join(sources, "\n")), 0o644),
		os.WriteFile(a.path("preferences"), []byte(preferences), 0o644),
	)
}

func (a *apt) path(name string) string { return filepath.Join(a.dir, name) }

// sourcesOf is the machine's own apt sources of its Debian release, with the
// release replaced: its mirror and keyring serve the others, too. Unstable and
// the backports have no suite for security.
func sourcesOf(suite string) ([]string, error) {
	release, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return nil, err
	}
	m := regexp.MustCompile(`(?m)^VERSION_CODENAME=(\w+)$`).FindSubmatch(release)
	if m == nil {
		return nil, errors.New("/etc/os-release names no VERSION_CODENAME: kernels come by way of Debian's apt sources")
	}
	own := regexp.MustCompile(`\b` + string(m[1]) + `(-security)?( |$)`)
	files, err := filepath.Glob("/etc/apt/sources.list.d/*.sources")
	if err != nil {
		return nil, err
	}
	stable := suite != "sid" && !strings.Contains(suite, "-")
	var found []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for _, stanza := range strings.Split(string(text), "\n\n") {
			uris, signed := stanzaField(stanza, "URIs"), stanzaField(stanza, "Signed-By")
			suites := own.FindStringSubmatch(stanzaField(stanza, "Suites"))
			if suites == nil || uris == "" || signed == "" || !stable && suites[1] != "" {
				continue
			}
			found = append(found, fmt.Sprintf("Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n",
				uris, suite+suites[1], signed))
		}
	}
	if found == nil {
		return nil, fmt.Errorf("no /etc/apt/sources.list.d/*.sources has a stanza of %s with URIs and Signed-By to take the mirror and keyring from", m[1])
	}
	return found, nil
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

// update fetches the lists of packages, unless that was done a short time ago.
func (a *apt) update(ctx context.Context) error {
	stamp := a.path("updated")
	if info, err := os.Stat(stamp); err == nil && time.Since(info.ModTime()) < time.Hour {
		return nil
	}
	if _, err := a.command(ctx, a.dir, "apt-get", "update"); err != nil {
		return err
	}
	return os.WriteFile(stamp, nil, 0o644)
}

func (a *apt) command(ctx context.Context, dir, program string, args ...string) (string, error) {
	options := []string{
		"-q",
		"-o", "APT::Architecture=" + a.arch,
		"-o", "APT::Architectures=" + a.arch,
		"-o", "Dir::State=" + a.dir,
		"-o", "Dir::State::lists=" + a.path("lists"),
		"-o", "Dir::State::status=" + a.path("status"),
		"-o", "Dir::Cache=" + a.path("cache"),
		"-o", "Dir::Etc::sourcelist=" + a.path("suite.sources"),
		"-o", "Dir::Etc::sourceparts=/dev/null",
		"-o", "Dir::Etc::preferences=" + a.path("preferences"),
		"-o", "Dir::Etc::preferencesparts=/dev/null",
		"-o", "Acquire::Languages=none",
		"-o", "Acquire::Retries=3",
		"-o", "APT::Update::Error-Mode=any",
		"-o", "APT::Sandbox::User=root", // the cache may be root's alone
	}
	cmd := exec.CommandContext(ctx, program, append(options, args...)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", program, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// unpack unpacks all packages in a directory into a tree.
func unpack(ctx context.Context, dir, tree string) error {
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil {
		return err
	}
	if len(debs) == 0 {
		return fmt.Errorf("apt-get left no packages in %s", dir)
	}
	for _, deb := range debs {
		if out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", deb, tree).CombinedOutput(); err != nil {
			return fmt.Errorf("dpkg-deb -x %s: %w\n%s", deb, err, out)
		}
	}
	return nil
}
