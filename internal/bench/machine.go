// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Machine is where it was measured.
type Machine struct {
	CPU          string    `json:"cpu"`
	Processors   int       `json:"processors"`
	GiB          float64   `json:"gib"`
	Kernel       string    `json:"kernel"`
	Architecture string    `json:"architecture"`
	Go           string    `json:"go"`
	Version      string    `json:"version"` // of pidgraft
	Time         time.Time `json:"time"`
	Load         float64   `json:"load"` // of a minute, before
}

func thisMachine(pidgraft string) Machine {
	m := Machine{CPU: "unknown processor", Processors: runtime.NumCPU(), Architecture: runtime.GOARCH, Go: runtime.Version(), Version: "unknown",
		Time: time.Now().UTC().Truncate(time.Second)}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	var i unix.Sysinfo_t
	if unix.Sysinfo(&i) == nil {
		m.GiB = float64(i.Totalram*uint64(i.Unit)) / (1 << 30)
	}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				m.CPU = strings.TrimSpace(v)
				break
			}
		}
	}
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		_, _ = fmt.Sscan(string(text), &m.Load)
	}
	if out, err := exec.Command(pidgraft, "version", "--features=false").Output(); err == nil {
		first, _, _ := strings.Cut(string(out), "\n")
		m.Version, _, _ = strings.Cut(strings.TrimPrefix(first, "pidgraft "), " ")
	}
	if out, err := exec.Command("git", "describe", "--always", "--dirty").Output(); err == nil {
		m.Version += " " + strings.TrimSpace(string(out))
	}
	return m
}
