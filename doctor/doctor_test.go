// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/internal/leak"
	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/internal/schematest"
	"github.com/pidgraft/pidgraft/loader"
	"github.com/pidgraft/pidgraft/restore"
)

// placeVariable makes a run of the test binary one that examines, from a place
// of another kind, and prints the report.
const placeVariable = "PIDGRAFT_DOCTOR_TEST"

func TestMain(m *testing.M) {
	place := os.Getenv(placeVariable)
	if place == "" {
		os.Exit(leak.Checked(m).Run())
	}
	if place == "filtered" {
		filter(unix.SYS_CLONE3, unix.ENOSYS)
		filter(unix.SYS_BPF, unix.EPERM)
	}
	r, err := New(Options{}).Examine(context.Background())
	if err == nil {
		err = r.JSON(os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// examine is a report of another process, held against the schema.
func examine(t *testing.T, cmd *exec.Cmd, place string) *Report {
	t.Helper()
	cmd.Env = append(os.Environ(), placeVariable+"="+place)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	faults, err := schematest.Check("../docs/schema/doctor.v1.json", out)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range faults {
		t.Error(f)
	}
	r := new(Report)
	if err := json.Unmarshal(out, r); err != nil {
		t.Fatal(err)
	}
	return r
}

func self() *exec.Cmd { return exec.Command("/proc/self/exe") }

func (r *Report) check(t *testing.T, name string) Check {
	t.Helper()
	for _, c := range r.Checks {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no check %s", name)
	return Check{}
}

// As root all that other tests of this module do can be done, so it is found
// to be possible; what is not has a reason and a remedy; and jobs follow from
// checks.
func TestRoot(t *testing.T) {
	require.Root(t)
	r := examine(t, self(), "root")
	for _, name := range []string{"dump", "dump-subtree", "restore", "restore-nested-users", "restore-in-place", "freeze"} {
		if j := r.Job(name); j == nil || !j.Can || len(j.Missing) > 0 {
			t.Errorf("%s: %+v", name, j)
		}
	}
	for _, c := range r.Checks {
		if (c.State == No) != (c.Remedy != "") || (c.State == Yes) != (c.Reason == "") {
			t.Errorf("%+v", c)
		}
		t.Logf("%-18s %s %s %s", c.Name, c.State, c.Reason, c.Detail)
	}
	for name, opts := range map[string]loader.StreamOptions{"audit": {}, "audit-fentry": {Source: loader.Fentry}} {
		err := follow(t, opts)
		if j := r.Job(name); j == nil || j.Can != (err == nil) {
			t.Errorf("%s: %+v, and it comes to %v", name, j, err)
		}
	}
	_, err := os.Stat("/proc/sys/kernel/ns_last_pid")
	if yes := r.check(t, "id-cursor").State == Yes; yes != (err == nil) {
		t.Errorf("id-cursor: %v, ns_last_pid: %v", yes, err)
	}
	for _, j := range r.Jobs {
		if j.Can != (len(j.Missing) == 0) {
			t.Errorf("%+v", j)
		}
		for _, name := range j.Missing {
			if c := r.check(t, name); c.State != No {
				t.Errorf("%s: for want of %+v", j.Name, c)
			}
		}
	}
}

// follow does what an audit of the machine begins with.
func follow(t *testing.T, opts loader.StreamOptions) error {
	t.Helper()
	l, err := loader.Open(loader.Target{Scope: loader.Machine, Unwatched: true})
	if err != nil {
		return err
	}
	defer l.Close()
	s, err := l.Follow(opts)
	if err != nil {
		return err
	}
	return s.Close()
}

// Nothing stays: no descriptor, no child, no cgroup.
func TestNothingStays(t *testing.T) {
	require.Root(t)
	descriptors := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	examineHere := func() {
		d := New(Options{})
		for range 2 {
			if _, err := d.Examine(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	examineHere() // the runtime keeps an epoll descriptor from the first on
	before := descriptors()
	examineHere()
	if after := descriptors(); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
	if _, err := unix.Wait4(-1, nil, unix.WNOHANG|unix.WALL, nil); err != unix.ECHILD {
		t.Errorf("there is a child: %v", err)
	}
	left, err := filepath.Glob("/sys/fs/cgroup/*/pidgraft-[0-9]*")
	if more, _ := filepath.Glob("/sys/fs/cgroup/pidgraft-[0-9]*"); err != nil || len(left)+len(more) > 0 {
		t.Errorf("left: %v %v %v", left, more, err)
	}
}

// From other places, the reasons are others.
func TestPlaces(t *testing.T) {
	require.Root(t)
	program, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	user := exec.Command("setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", "--inh-caps=-all",
		"--bounding-set=-all", "/proc/self/fd/3")
	user.ExtraFiles = []*os.File{program}
	rootless := self()
	rootless.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{Size: 1000}},
		GidMappings: []syscall.SysProcIDMap{{Size: 1000}},
	}
	elsewhere := self()
	elsewhere.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
	for _, test := range []struct {
		place string
		cmd   *exec.Cmd
		want  map[string]Reason
		words string
	}{
		{"user", user, map[string]Reason{"bpf": Capability, "set-tid": Capability, "set-tid-here": Capability,
			"programs-container": Dependency, "cgroup-kill": Dependency}, "CAP_BPF and CAP_PERFMON"},
		{"rootless", rootless, map[string]Reason{"bpf": UserNamespace}, "outside of the rootless container"},
		{"filtered", self(), map[string]Reason{"bpf": Seccomp, "clone3": Seccomp}, "seccomp=unconfined"},
		{"pid namespace", elsewhere, map[string]Reason{"proc": Setting}, "mount -t proc"},
	} {
		t.Run(test.place, func(t *testing.T) {
			r := examine(t, test.cmd, test.place)
			said := ""
			for name, want := range test.want {
				c := r.check(t, name)
				if c.State == Yes || c.Reason != want {
					t.Errorf("%+v, want %s", c, want)
				}
				said += c.Remedy
			}
			if !strings.Contains(said, test.words) {
				t.Errorf("%q is not in %q", test.words, said)
			}
			if r.Job("restore").Can {
				t.Error("a restore is thought to be possible")
			}
		})
	}
}

// filter makes a system call fail in all of this process.
func filter(call uint32, errno syscall.Errno) {
	const load, equal, give = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	const allow, fail = 0x7fff0000, 0x00050000 // SECCOMP_RET_ALLOW, _ERRNO
	code := []unix.SockFilter{
		{Code: load, K: 0}, // seccomp_data.nr
		{Code: equal, K: call, Jf: 1},
		{Code: give, K: fail | uint32(errno)},
		{Code: give, K: allow},
	}
	program := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	const setFilter, tsync = 1, 1 // SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, setFilter, tsync, uintptr(unsafe.Pointer(&program))); errno != 0 {
		panic(errno)
	}
}

// What is asked twice is tried once.
func TestOnce(t *testing.T) {
	tried := 0
	probes = append(slices.Clone(probes), probe{name: "counted", try: func(*Doctor, context.Context) (string, error) {
		tried++
		return "", unix.EPERM
	}})
	defer func() { probes = probes[:len(probes)-1] }()
	d := New(Options{})
	for range 3 {
		if c := d.check(context.Background(), "counted"); c.State != No {
			t.Errorf("%+v", c)
		}
	}
	if tried != 1 {
		t.Errorf("tried %d times", tried)
	}
}

// Each probe builds on probes that exist, without a ring, and each job on probes.
func TestProbesAreSound(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range probes {
		for _, n := range p.needs {
			if !seen[n] {
				t.Errorf("%s needs %s, which does not come before it", p.name, n)
			}
		}
		if seen[p.name] {
			t.Errorf("two probes are called %s", p.name)
		}
		seen[p.name] = true
	}
	for _, j := range jobs {
		for _, n := range slices.Concat(j.needs, j.either) {
			if !seen[n] {
				t.Errorf("%s needs %s, which no probe is", j.name, n)
			}
		}
	}
}

func TestWhy(t *testing.T) {
	for _, test := range []struct {
		probe probe
		err   error
		want  Reason
	}{
		{probe{since: "999.0"}, unix.EINVAL, KernelTooOld},
		{probe{kconfig: []string{"CONFIG_PIDGRAFT_NO_SUCH_THING"}}, unix.ENOSYS, Kconfig},
		{probe{}, &failure{Setting, "x", "y"}, Setting},
		{probe{}, unix.EIO, Refused},
		{probe{}, unix.EROFS, Setting},
		{probe{}, &restore.OpError{Err: unix.ENOSPC}, Setting},
		{probe{}, unix.EAGAIN, Setting},
		{probe{}, &restore.CannotRunError{Missing: "CAP_KILL", Hint: "x"}, Capability},
		{probe{}, &loader.PermissionError{Missing: []string{"CAP_SYS_RESOURCE"}, Err: unix.EPERM}, Capability},
	} {
		if f := test.probe.why(test.err); f.reason != test.want || f.remedy == "" || f.detail == "" {
			t.Errorf("%v: %+v, want %s", test.err, f, test.want)
		}
	}
}

func TestParseKconfig(t *testing.T) {
	got := parseKconfig(strings.NewReader("#\n# CONFIG_A is not set\nCONFIG_B=y\nCONFIG_C=\"a=b\"\n"))
	if len(got) != 2 || got["CONFIG_B"] != "y" || got["CONFIG_C"] != `"a=b"` {
		t.Errorf("%v", got)
	}
	if got := parseKconfig(strings.NewReader("nothing of the kind\n")); got != nil {
		t.Errorf("%v", got)
	}
}

func TestText(t *testing.T) {
	r := &Report{
		Kernel: Kernel{Release: "6.1", Machine: "x86_64"},
		Jobs:   []Job{{Title: "work", Missing: []string{"a"}}, {Title: "rest", Can: true}},
		Checks: []Check{
			{Name: "a", Title: "this", State: No, Reason: Capability, Detail: "without CAP_X", Remedy: "Get it."},
			{Name: "b", Title: "that", State: Untried, Detail: "needs a"},
		},
	}
	var b bytes.Buffer
	if err := r.Text(&b); err != nil {
		t.Fatal(err)
	}
	const want = `Linux 6.1 (x86_64), uid 0, in a user namespace, in a pid namespace
lockdown unknown, security modules unknown

  no   work  without: this
  yes  rest

  no   this  capability: without CAP_X
       Get it.
  -    that  needs a
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}
