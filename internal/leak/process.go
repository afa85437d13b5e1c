// SPDX-License-Identifier: Apache-2.0

package leak

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// descriptors are the open files of this process.
func descriptors() (map[string]string, error) {
	// Not by os.ReadDir, whose own descriptor would be among them.
	found := map[string]string{}
	files, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		to, err := os.Readlink(file)
		if err != nil {
			continue // of the directory that was read
		}
		found[filepath.Base(file)+" -> "+strconv.Quote(to)] = ""
	}
	return found, nil
}

// mappedMemfds are those that this process has mapped, by their addresses.
func mappedMemfds() (map[string]string, error) {
	text, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if at, name, ok := strings.Cut(line, "/memfd:"); ok {
			addresses, _, _ := strings.Cut(at, " ")
			found[addresses] = strconv.Quote(strings.TrimSpace(name))
		}
	}
	return found, nil
}

// children are those of all threads of this process.
func children() (map[string]string, error) {
	files, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread ended
		}
		for pid := range strings.FieldsSeq(string(text)) {
			found[pid] = describe(pid)
		}
	}
	return found, nil
}

// processes are all of the machine but the kernel's own.
func processes() (map[string]string, error) {
	found := map[string]string{}
	return found, eachProcess(func(pid string) {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err == nil && !kernelThread(stat) {
			found[pid] = describe(pid)
		}
	})
}

// kernelThread: PF_KTHREAD of include/linux/sched.h in the ninth field of
// proc_pid_stat(5), the seventh after the name.
func kernelThread(stat []byte) bool {
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 7 {
		return false
	}
	flags, err := strconv.ParseUint(fields[6], 10, 32)
	return err == nil && flags&0x00200000 != 0
}

// pidNamespaces are those that a process is in or makes children in.
func pidNamespaces() (map[string]string, error) {
	found := map[string]string{}
	return found, eachProcess(func(pid string) {
		for _, name := range []string{"pid", "pid_for_children"} {
			if ns, err := os.Readlink("/proc/" + pid + "/ns/" + name); err == nil {
				found[ns] = ""
			}
		}
	})
}

func eachProcess(do func(pid string)) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err == nil {
			do(e.Name())
		}
	}
	return nil
}

// describe says who a process is. What it says of itself is quoted.
func describe(pid string) string {
	comm, err := os.ReadFile("/proc/" + pid + "/comm")
	if err != nil {
		return "(gone meanwhile)"
	}
	cmdline, _ := os.ReadFile("/proc/" + pid + "/cmdline")
	return fmt.Sprintf("(%q, command line %q)", bytes.TrimSuffix(comm, []byte("\n")), cmdline)
}

// kill ends a child. It cannot have become another process: nobody reaped it.
func kill(pid string) {
	if n, err := strconv.Atoi(pid); err == nil {
		_ = unix.Kill(n, unix.SIGKILL)
		_, _ = unix.Wait4(n, nil, unix.WALL, nil)
	}
}
