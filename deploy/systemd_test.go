// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/audit/record"
	"github.com/pidgraft/pidgraft/internal/require"
)

// machine is a systemd that was booted in namespaces of its own.
type machine struct {
	t    *testing.T
	init string // its number here
}

// boot boots one with the unit.
func boot(t *testing.T) *machine {
	t.Helper()
	program := filepath.Join(t.TempDir(), "pidgraft")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", program, "../cmd/pidgraft")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	unit, err := filepath.Abs("systemd/pidgraft-audit.service")
	if err != nil {
		t.Fatal(err)
	}
	cgroup := newCgroup(t)
	cmd := exec.Command("unshare", "--pid", "--fork", "--kill-child", "--mount", "--cgroup", "--uts", "--ipc", "--net",
		"sh", "testdata/boot.sh", t.TempDir(), program, unit)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(cgroup.Fd()), Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // and with it the namespace
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s", said.Bytes())
		}
	})
	children := fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid)
	m := &machine{t: t}
	m.until("an init", func() bool {
		text, _ := os.ReadFile(children)
		m.init = strings.TrimSpace(string(text))
		return m.init != ""
	})
	m.until("a systemd that answers", func() bool { return m.run("systemctl", "show", "-p", "Version") != "" })
	return m
}

// newCgroup is one for systemd to make its own in; they end with the test.
func newCgroup(t *testing.T) *os.File {
	t.Helper()
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err != nil {
			continue
		}
		dir, err := os.MkdirTemp(root, "pidgraft-deploy-")
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			f.Close()
			var err error
			for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
				if err = removeCgroups(dir); err == nil {
					return
				}
			}
			t.Error(err)
		})
		return f
	}
	t.Fatal("no cgroup v2 is mounted")
	return nil
}

func removeCgroups(dir string) error {
	var dirs []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	slices.Reverse(dirs)
	for _, d := range dirs {
		err = errors.Join(err, unix.Rmdir(d))
	}
	return err
}

// run runs a program in there, and gives what it printed.
func (m *machine) run(args ...string) string {
	out, _ := exec.Command("nsenter", append([]string{"--target", m.init, "--mount", "--pid", "--net", "--root", "--wd=/"}, args...)...).Output()
	return strings.TrimSpace(string(out))
}

func (m *machine) until(what string, ok func() bool) {
	m.t.Helper()
	for end := time.Now().Add(60 * time.Second); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			m.t.Fatalf("there does not come to be %s", what)
		}
	}
}

// The service runs under systemd as the unit has it: it comes to be ready, reads
// its allow-list again, tells who enters, and ends as it should.
func TestUnitRuns(t *testing.T) {
	require.Root(t)
	require.Feature(t, require.Program("/lib/systemd/systemd", "systemd"))
	require.Feature(t, require.BTF)
	m := boot(t)
	const get = `exec 3<>/dev/tcp/127.0.0.1/9464 && printf 'GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3 && cat <&3`
	said := func() string { return m.run("journalctl", "--unit=pidgraft-audit", "--output=cat", "--no-pager") }
	defer func() {
		if t.Failed() {
			t.Logf("%s\n%s", m.run("systemctl", "status", "--no-pager", "pidgraft-audit"), said())
		}
	}()
	m.until("an audit that is ready", func() bool { return strings.Contains(m.run("bash", "-c", get), " 200 OK") })
	if got := m.run("systemctl", "reload", "pidgraft-audit"); got != "" {
		t.Error(got)
	}
	m.until("a record of who entered to ask", func() bool { return strings.Contains(said(), `"kind":"entry"`) })
	if got := m.run("systemctl", "show", "--property=NRestarts,ActiveState", "pidgraft-audit"); got != "ActiveState=active\nNRestarts=0" &&
		got != "NRestarts=0\nActiveState=active" {
		t.Errorf("it is %q", got)
	}
	m.run("systemctl", "stop", "pidgraft-audit")
	if got := m.run("systemctl", "show", "--property=Result", "--value", "pidgraft-audit"); got != "success" {
		t.Errorf("its end is %q", got)
	}
	var last record.Record
	for line := range strings.Lines(said()) {
		if strings.HasPrefix(line, "{") {
			last = record.Record{}
			if err := json.Unmarshal([]byte(line), &last); err != nil {
				t.Errorf("%v: %s", err, line)
			}
		}
	}
	if last.Summary == nil || last.State != "complete" {
		t.Errorf("the last record is %+v", last)
	}
}
