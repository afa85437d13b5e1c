// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/internal/testforest"
)

// nobody is the user of these tests; he has no account.
const nobody = 12345

// unprivileged is a place where a user without privileges can run pidgraft.
type unprivileged struct {
	t   *testing.T
	dir string
}

func newUnprivileged(t *testing.T) *unprivileged {
	t.Helper()
	// t.TempDir is below a directory that is only root's.
	dir, err := os.MkdirTemp("", "pidgraft-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	u := &unprivileged{t, dir}
	u.copy(underTest(), "pidgraft")
	if installed != "" {
		u.copy(filepath.Join(filepath.Dir(installed), auditName), auditName)
	}
	return u
}

// copy makes a program one that everybody can run.
func (u *unprivileged) copy(from, name string) {
	u.t.Helper()
	in, err := os.Open(from)
	if err != nil {
		u.t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(u.path(name), os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		u.t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		u.t.Fatal(err)
	}
}

func (u *unprivileged) path(name string) string { return filepath.Join(u.dir, name) }

// image is that of a forest, for everybody to read.
func (u *unprivileged) image(f *testforest.Forest, name string) string {
	u.t.Helper()
	cmd := exec.Command(u.path("pidgraft"), "dump", "-o", u.path(name), strconv.Itoa(f.Root()))
	if out, err := cmd.CombinedOutput(); err != nil {
		u.t.Fatalf("%v: %s", err, out)
	}
	if err := os.Chmod(u.path(name), 0o644); err != nil {
		u.t.Fatal(err)
	}
	return u.path(name)
}

// run runs pidgraft as a user with these capabilities and no others, also in
// what it runs; it gives the exit code and all that was said.
func (u *unprivileged) run(uid int, capabilities []string, args ...string) (int, string) {
	u.t.Helper()
	set, id := "-all", strconv.Itoa(uid)
	for _, c := range capabilities {
		set += ",+" + strings.ToLower(strings.TrimPrefix(c, "CAP_"))
	}
	cmd := exec.Command("setpriv", append([]string{"--reuid=" + id, "--regid=" + id, "--clear-groups",
		"--inh-caps=" + set, "--ambient-caps=" + set, "--bounding-set=" + set}, u.command(args)...)...)
	cmd.Dir = u.dir
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		u.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), said.String()
}

// command is pidgraft with arguments, and for one that stays with an end.
func (u *unprivileged) command(args []string) []string {
	command := append([]string{u.path("pidgraft")}, args...)
	if args[0] == "audit" {
		command = append([]string{"timeout", "--preserve-status", "--signal=TERM", "3"}, command...)
	}
	return command
}

// Each subcommand runs with exactly the capabilities that docs/capabilities.md
// says, and without any one of them says which it is that is missing (with -short
// not each case without each).
func TestMinimumCapabilities(t *testing.T) {
	require.Root(t)
	// Before 5.11 a user's limit of locked memory is too low for BPF.
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	u := newUnprivileged(t)
	plain := testforest.Start(t, `
		outside fork init newpid
		init fork a
		init fork z
		z exit 3`)
	own := testforest.Start(t, `
		outside fork init newpid
		init setgid 12345
		init setuid 12345
		init fork a`)
	sandbox := testforest.Start(t, `
		outside fork init newpid
		init fork u newuser newpid
		host maps u uid 0 0 65536
		host maps u gid 0 0 65536
		u fork a`)
	foreign := testforest.Start(t, `
		outside fork init newpid
		init fork a
		a setgid 1000
		a setuid 1000
		a fork u newuser newpid
		host maps u uid 0 1000 1
		host setgroups u deny
		host maps u gid 0 1000 1`)
	root := strconv.Itoa(plain.Root())
	held := testforest.Start(t, "outside fork init newpid")
	cgroup, undo, err := ownCgroup(strconv.Itoa(held.Root()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := undo(); err != nil {
			t.Error(err)
		}
	})
	number, err := inodeOf(fmt.Sprintf("/proc/%d/ns/pid", held.Root()))
	if err != nil {
		t.Fatal(err)
	}
	inode := strconv.FormatUint(number, 10)
	image := u.image(plain, "plain.img")
	restore := []string{"restore", "-d", "--pidfile", u.path("pid")}

	look := []string{"CAP_BPF", "CAP_PERFMON"}
	rebuild := []string{"CAP_SYS_ADMIN", "CAP_SETGID", "CAP_SETUID"}
	inPlace := []string{"CAP_SYS_ADMIN", "CAP_SETGID", "CAP_SYS_PTRACE"}
	if !ownCgroupIsRoots(t) {
		inPlace = append(inPlace, "CAP_DAC_OVERRIDE")
	}
	for n, test := range []struct {
		name         string
		uid          int
		capabilities []string
		args         []string
	}{
		{"dump", nobody, look, []string{"dump", "-f", "-o", u.path("x.img"), root}},
		{"dump what is one's own", nobody, look, []string{"dump", "-f", "-o", u.path("x.img"), strconv.Itoa(own.Root())}},
		{"dump a subtree", nobody, look, []string{"dump", "--subtree", "-f", "-o", u.path("x.img"), root}},
		{"dump frozen", nobody, slices.Concat(look, []string{"CAP_DAC_OVERRIDE"}),
			[]string{"dump", "--freeze", "-f", "-o", u.path("x.img"), strconv.Itoa(held.Root())}},
		{"show", nobody, look, []string{"show", "pid:" + root}},
		{"diff", nobody, look, []string{"diff", image, "pid:" + root}},
		{"ps", nobody, look, []string{"ps"}},
		{"map", nobody, look, []string{"map", root}},
		{"plan", nobody, look, []string{"plan", "pid:" + root}},
		{"restore", nobody, rebuild, slices.Concat(restore, []string{image})},
		{"restore, not verified", nobody, rebuild, slices.Concat(restore, []string{"--verify=false", image})},
		{"restore as root", 0, rebuild[:2], slices.Concat(restore, []string{image})},
		{"restore in the foreground", nobody, slices.Concat(rebuild, []string{"CAP_KILL"}),
			[]string{"restore", "--exec", "exit 0", image}},
		{"restore a subtree", nobody, slices.Concat(rebuild, []string{"CAP_SYS_PTRACE"}),
			slices.Concat(restore, []string{u.subtree(plain, "subtree.img")})},
		{"restore a subtree in place", nobody, slices.Concat(rebuild, []string{"CAP_DAC_OVERRIDE", "CAP_SYS_PTRACE"}),
			slices.Concat(restore, []string{"--pidns=current", "--pids=any", u.path("subtree.img")})},
		{"restore a subtree in place as root", 0, inPlace,
			slices.Concat(restore, []string{"--pidns=current", "--pids=any", u.path("subtree.img")})},
		{"restore nested user namespaces", nobody,
			slices.Concat(rebuild, []string{"CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_SETFCAP"}),
			slices.Concat(restore, []string{u.image(sandbox, "sandbox.img")})},
		{"restore user namespaces of a user", nobody,
			slices.Concat(rebuild, []string{"CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_SETPCAP"}),
			slices.Concat(restore, []string{u.image(foreign, "foreign.img")})},
		{"restore user namespaces of a user as root", 0,
			slices.Concat(rebuild, []string{"CAP_SYS_PTRACE", "CAP_SETPCAP"}),
			slices.Concat(restore, []string{u.path("foreign.img")})},
		{"check", nobody, look, []string{"check", "--for", "100ms", "--fail-on", "critical"}},
		{"check another's", nobody, slices.Concat(look, []string{"CAP_SYS_PTRACE"}),
			[]string{"check", "--for", "100ms", "--pid", strconv.Itoa(held.Root())}},
		{"check a namespace", nobody, slices.Concat(look, []string{"CAP_SYS_PTRACE"}),
			[]string{"check", "--for", "100ms", "--ns", inode}},
		{"audit", nobody, look, []string{"audit", "--no-events", "--state", u.path("births")}},
		{"audit that serves", nobody, look, []string{"audit", "--no-events", "--listen", "127.0.0.1:0"}},
		{"audit another's", nobody, slices.Concat(look, []string{"CAP_SYS_PTRACE"}),
			[]string{"audit", "--pid", strconv.Itoa(held.Root())}},
		{"doctor", nobody, rebuild, []string{"doctor"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if slices.Contains(test.args, "--pidns=current") {
				require.Feature(t, require.CgroupKill)
			}
			u := &unprivileged{t, u.dir}
			if test.args[0] == "restore" {
				named := u.named(test.uid, test.args)
				if fdinfoIsOpen(t) && !slices.Equal(named, slices.Sorted(slices.Values(test.capabilities))) {
					t.Errorf("without any it names %s, want %s", named, test.capabilities)
				}
				test.capabilities = named
			}
			if code, said := u.run(test.uid, test.capabilities, test.args...); code != exitDone {
				t.Errorf("with %s: exit code %d: %s", test.capabilities, code, said)
			}
			u.killRestored()
			for i, c := range test.capabilities {
				// With -short every fourth case is without one, another in each.
				if testing.Short() && (n%4 != 0 || i != n/4%len(test.capabilities)) {
					continue
				}
				rest := slices.Delete(slices.Clone(test.capabilities), i, i+1)
				code, said := u.run(test.uid, rest, test.args...)
				u.killRestored()
				if code != exitCannotRun || !strings.Contains(said, c) {
					t.Errorf("without %s: exit code %d: %s", c, code, said)
				}
			}
		})
	}

	t.Run("dump frozen, in an own cgroup", func(t *testing.T) {
		entries, err := filepath.Glob(cgroup + "/*")
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range append(entries, cgroup) {
			if err := os.Chown(path, nobody, nobody); err != nil {
				t.Fatal(err)
			}
		}
		u := &unprivileged{t, u.dir}
		if code, said := u.run(nobody, look, "dump", "--freeze", "-f", "-o", u.path("x.img"), strconv.Itoa(held.Root())); code != exitDone {
			t.Errorf("exit code %d: %s", code, said)
		}
	})
}

// named are the capabilities that a restore without any says are missing.
func (u *unprivileged) named(uid int, args []string) []string {
	u.t.Helper()
	_, said := u.run(uid, nil, args...)
	_, after, _ := strings.Cut(said, "missing: ")
	list, _, _ := strings.Cut(after, " (")
	return slices.Sorted(strings.SplitSeq(list, ", "))
}

// ownCgroupIsRoots: where cgroup v2 is the machine's, and this process in the
// uppermost one, some container engines take root's own permission away.
func ownCgroupIsRoots(t *testing.T) bool {
	t.Helper()
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut("\n"+string(text), "\n0::")
	path, _, _ := strings.Cut(after, "\n")
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err != nil {
			continue
		}
		info, err := os.Stat(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()&0o200 != 0
	}
	t.Fatal("no cgroup v2 is mounted")
	return false
}

// fdinfoIsOpen: since 5.14 what it takes to read it is CAP_SYS_PTRACE.
func fdinfoIsOpen(t *testing.T) bool {
	t.Helper()
	info, err := os.Stat("/proc/self/fdinfo")
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()&0o001 != 0
}

// subtree is the image of a task of a forest and its descendants.
func (u *unprivileged) subtree(f *testforest.Forest, name string) string {
	u.t.Helper()
	cmd := exec.Command(u.path("pidgraft"), "dump", "--subtree", "-o", u.path(name), strconv.Itoa(f.PID("a")))
	if out, err := cmd.CombinedOutput(); err != nil {
		u.t.Fatalf("%v: %s", err, out)
	}
	if err := os.Chmod(u.path(name), 0o644); err != nil {
		u.t.Fatal(err)
	}
	return u.path(name)
}

// killRestored ends what a restore left, if it did.
func (u *unprivileged) killRestored() {
	u.t.Helper()
	text, err := os.ReadFile(u.path("pid"))
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	if err != nil {
		u.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err == nil {
		err = unix.Kill(pid, unix.SIGKILL)
	}
	if err := errors.Join(err, os.Remove(u.path("pid"))); err != nil {
		u.t.Error(err)
	}
}
