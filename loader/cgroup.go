// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// hierarchy is a mounted cgroup hierarchy that can freeze.
type hierarchy struct {
	v2    bool
	root  string // the cgroup that is mounted, as /proc/PID/cgroup names it
	mount string // where
}

// Files of a cgroup, which differ between the versions.

func (h hierarchy) threadsFile() string {
	if h.v2 {
		return "cgroup.threads"
	}
	return "tasks"
}

func (h hierarchy) freezeFile() string {
	if h.v2 {
		return "cgroup.freeze"
	}
	return "freezer.state"
}

func (h hierarchy) freezeWord() string {
	if h.v2 {
		return "1"
	}
	return "FROZEN"
}

func (h hierarchy) thawWord() string {
	if h.v2 {
		return "0"
	}
	return "THAWED"
}

func (h hierarchy) String() string {
	if h.v2 {
		return "cgroup v2"
	}
	return "the v1 freezer"
}

// asked reports whether somebody has asked to freeze the cgroup itself.
func (h hierarchy) asked(dir string) (bool, error) {
	file, yes := h.freezeFile(), "1"
	if !h.v2 {
		file = "freezer.self_freezing"
	}
	b, err := os.ReadFile(filepath.Join(dir, file))
	return strings.TrimSpace(string(b)) == yes, err
}

// frozen reports whether every task below has come to rest.
func (h hierarchy) frozen(dir string) (bool, error) {
	if !h.v2 {
		b, err := os.ReadFile(filepath.Join(dir, "freezer.state"))
		return strings.TrimSpace(string(b)) == "FROZEN", err
	}
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.events"))
	return slices.Contains(strings.Split(string(b), "\n"), "frozen 1"), err
}

// dir is where the cgroup that /proc/PID/cgroup names is in the file system.
func (h hierarchy) dir(cgroup string) (string, bool) {
	if h.root == "/" {
		return filepath.Join(h.mount, cgroup), !strings.HasPrefix(cgroup, "/..")
	}
	rest, ok := strings.CutPrefix(cgroup, h.root)
	return filepath.Join(h.mount, rest), ok && (rest == "" || rest[0] == '/')
}

// threads are the tasks in a cgroup and all below it, by number in the reader's
// pid namespace; 0 stands for those that have none there.
func (h hierarchy) threads(dir string) (map[int]bool, error) {
	numbers := make(map[int]bool)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile, so empty
		}
		if err != nil || !d.IsDir() {
			return err
		}
		return readNumbers(filepath.Join(path, h.threadsFile()), numbers)
	})
	return numbers, err
}

func readNumbers(file string, numbers map[int]bool) error {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		n, err := strconv.Atoi(lines.Text())
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		numbers[n] = true
	}
	// Removed meanwhile.
	if err := lines.Err(); err != nil && !errors.Is(err, unix.ENODEV) {
		return err
	}
	return nil
}

// hierarchies are those mounted here that can freeze, v2 first.
func hierarchies() ([]hierarchy, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseMountinfo(f)
}

// parseMountinfo reads the format of proc_pid_mountinfo(5).
func parseMountinfo(r io.Reader) ([]hierarchy, error) {
	var v1, v2 []hierarchy
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		front, back, ok := strings.Cut(lines.Text(), " - ")
		where, what := strings.Fields(front), strings.Fields(back)
		if !ok || len(where) < 6 || len(what) < 3 {
			continue
		}
		h := hierarchy{root: unescape(where[3]), mount: unescape(where[4])}
		switch {
		case what[0] == "cgroup2":
			h.v2 = true
			v2 = append(v2, h)
		case what[0] == "cgroup" && slices.Contains(strings.Split(what[2], ","), "freezer"):
			v1 = append(v1, h)
		}
	}
	return append(v2, v1...), lines.Err()
}

// unescape undoes the octal escapes of mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// cgroupOf is the cgroup of a process in a hierarchy, as /proc names it.
func cgroupOf(pid int, h hierarchy) (string, bool, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", false, err
	}
	path, ok := parseCgroup(string(b), h.v2)
	return path, ok, nil
}

// parseCgroup finds a line hierarchy-ID:controllers:path (cgroups(7)).
func parseCgroup(s string, v2 bool) (string, bool) {
	for line := range strings.Lines(s) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 {
			continue
		}
		if v2 && parts[0] == "0" && parts[1] == "" || !v2 && slices.Contains(strings.Split(parts[1], ","), "freezer") {
			return parts[2], true
		}
	}
	return "", false
}
