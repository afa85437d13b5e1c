// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain fails a run that passed but left descriptors open. The test binary
// is also started for what must happen in another process: see helpers.
func TestMain(m *testing.M) {
	if run, ok := helpers[os.Getenv(helperEnv)]; ok {
		os.Exit(run())
	}
	// The Go runtime keeps an epoll and an event descriptor from the first
	// pollable file on: let it have them now.
	r, w, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	r.Close()
	w.Close()
	before := descriptors()
	code := m.Run()
	if left := leaked(before); code == 0 && len(left) > 0 {
		fmt.Fprintf(os.Stderr, "descriptors left open:\n\t%s\n", strings.Join(left, "\n\t"))
		code = 1
	}
	os.Exit(code)
}

const helperEnv = "PIDGRAFT_LOADER_TEST_HELPER"

// helpers are what the test binary does instead of testing.
var helpers = map[string]func() int{
	"open":   helpOpen,
	"freeze": helpFreeze,
}

// helper is the test binary as one of helpers.
func helper(name string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), helperEnv+"="+name)
	cmd.Stderr = os.Stderr
	return cmd
}

// descriptors are the open files of this process, without the puppet that
// forests are made of, which is kept on purpose.
func descriptors() map[string]string {
	open := make(map[string]string)
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		to, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name()))
		if err != nil || strings.Contains(to, "/puppet") {
			continue
		}
		open[e.Name()] = to
	}
	return open
}

func leaked(before map[string]string) []string {
	var left []string
	for range 20 { // cleanups run in their own time
		left = nil
		for fd, to := range descriptors() {
			if _, ok := before[fd]; !ok {
				left = append(left, fd+" -> "+to)
			}
		}
		if len(left) == 0 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return left
}

// privileged skips a test where it cannot run. With root and BTF nothing is
// excused.
func privileged(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: BPF programs are loaded and namespaces made")
	}
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		t.Skip("needs a kernel with BTF (CONFIG_DEBUG_INFO_BTF): ", err)
	}
}
