// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pidgraft/pidgraft/audit/record"
	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/internal/testforest"
	"github.com/pidgraft/pidgraft/loader"
)

// The id of a container in tests, and that of another that begins alike.
const (
	containerID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	alikeID     = "01234567ffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
)

func TestChooseContainer(t *testing.T) {
	type process struct {
		cgroups string
		inode   uint64
		depth   int
	}
	machine := []process{
		{"0::/init.scope\n", 1, 1},
		{"0::/system.slice/docker-" + containerID + ".scope\n", 10, 2},
		{"0::/system.slice/docker-" + containerID + ".scope/init\n", 11, 3},
		{"0::/docker/" + alikeID + "\n", 20, 2},
		{"0::/lxc.payload.web/init.scope\n", 30, 2},
		{"0::/system.slice/web.service\n", 40, 2},
		{"0::/0123\n", 50, 2},
	}
	for _, test := range []struct {
		id    string
		inode uint64
		says  string // of the error
	}{
		{containerID, 10, ""},
		{"0123456789", 10, ""},
		{"01234567f", 20, ""},
		{"01234567", 0, "more than one"},
		{"0123", 0, containerID + "\n" + alikeID},
		{"lxc.payload.web", 30, ""},
		{"web.service", 40, ""},
		{"web.serv", 0, "no process is in a container"},
		{"docker", 20, ""}, // a cgroup is called so
		{"ffff", 0, "no process is in a container"},
	} {
		found := candidates{}
		for _, p := range machine {
			if name, how := match(p.cgroups, test.id); how > 0 {
				found.add(name, how, p.inode, p.depth)
			}
		}
		inode, err := found.choose(test.id)
		if inode != test.inode || (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %d, %v; want %d, %q", test.id, inode, err, test.inode, test.says)
		}
		if err != nil && !errors.Is(err, loader.ErrNoProcess) && exitCode(err) != exitUsage {
			t.Errorf("%s: exit code %d", test.id, exitCode(err))
		}
	}
}

// inContainer puts a process with its children into a cgroup that is named as a
// container's.
func inContainer(t *testing.T, pid int, path string) {
	t.Helper()
	own, _, err := ownCgroup(strconv.Itoa(pid))
	if err != nil {
		t.Fatal(err)
	}
	move := func(from, to string) {
		t.Helper()
		procs, err := os.ReadFile(from + "/cgroup.procs")
		if err != nil {
			t.Fatal(err)
		}
		for _, pid := range strings.Fields(string(procs)) {
			if err := os.WriteFile(to+"/cgroup.procs", []byte(pid), 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	dir := filepath.Join(own, path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		move(dir, filepath.Dir(own)) // of all that are there by now
		for d := dir; d != filepath.Dir(own); d = filepath.Dir(d) {
			if err := os.Remove(d); err != nil {
				t.Error(err)
			}
		}
	})
	move(own, dir)
}

// Records say which container a task is in, as its cgroup is called, and that is
// how the container can be named.
func TestAuditContainer(t *testing.T) {
	require.Root(t)
	require.Feature(t, require.BTF)
	f := testforest.Start(t, "outside fork init newpid\ninit fork a")
	const pod = "3d1f8c9a-5b7e-4f60-8a21-c0ffee123456"
	inContainer(t, f.Root(), filepath.Join("kubepods", "pod"+pod, containerID))
	a := startAudit(t, "--container", containerID[:12], "--hidden-every", "0")
	s := a.until("what there is", func(r record.Record) bool { return r.Snapshot != nil }).Snapshot
	want := record.Place{Container: containerID, Pod: pod}
	if b := s.Namespaces[0]; b.Place != want {
		t.Errorf("the namespace is in %+v", b.Place)
	}
	for arg, want := range map[string]string{
		"@" + containerID[:6]:     "@" + containerID + "\tinit",
		"2@" + containerID[:6]:    "2@" + containerID + "\tinit",
		"@" + containerID + "0":   "",
		fmt.Sprint(f.Root()):      fmt.Sprint(f.Root()) + "\tinit",
		"pid:@" + containerID[:1]: "pid:@" + containerID + "\tinit",
	} {
		complete := completeNumbers
		if strings.HasPrefix(arg, "pid:") {
			complete = completeSources
		}
		if is, _ := complete(nil, nil, arg); len(is) == 0 != (want == "") || want != "" && !slices.Contains(is, want) {
			t.Errorf("%s is completed to %q, want %q", arg, is, want)
		}
	}
	if pid, err := source("@" + containerID[:12]).pid(); err != nil || pid != f.Root() {
		t.Errorf("@CONTAINER is process %d, %v; want %d", pid, err, f.Root())
	}
	do(t, f, "a fork b\noutside setns init pid\noutside fork entrant")
	if e := a.until("that b was born", happened("birth", 3)).Event; e.Task.Place != want || e.Creator.Place != want {
		t.Errorf("b is in %+v, who made it in %+v", e.Task.Place, e.Creator.Place)
	}
	in := a.until("that somebody entered", found("entry", "raised")).Finding
	if in.Place != want || in.Task.Place != want || in.Creator.Place == want {
		t.Errorf("into %+v by %+v", in.Place, in.Creator.Place)
	}
	a.signal(os.Interrupt)
	if code := a.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
