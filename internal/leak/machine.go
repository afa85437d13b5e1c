// SPDX-License-Identifier: Apache-2.0

package leak

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

func bpfPrograms() (map[string]string, error) {
	found := map[string]string{}
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		id = next
		p, err := ebpf.NewProgramFromID(id)
		if err != nil {
			continue // gone meanwhile
		}
		found[fmt.Sprint(id)] = p.String()
		p.Close()
	}
}

func bpfMaps() (map[string]string, error) {
	found := map[string]string{}
	for id := ebpf.MapID(0); ; {
		next, err := ebpf.MapGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		id = next
		m, err := ebpf.NewMapFromID(id)
		if err != nil {
			continue // gone meanwhile
		}
		found[fmt.Sprint(id)] = m.String()
		m.Close()
	}
}

func bpfLinks() (map[string]string, error) {
	found := map[string]string{}
	var it link.Iterator
	defer it.Close()
	for it.Next() {
		found[fmt.Sprint(it.ID)] = fmt.Sprintf("%T", it.Link)
	}
	if err := it.Err(); err != nil {
		return nil, err
	}
	return found, nil
}

// mounts are those of this process's mount namespace.
func mounts() (map[string]string, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for line := range strings.Lines(string(text)) {
		id, rest, _ := strings.Cut(line, " ")
		found[id] = strings.TrimSpace(rest)
	}
	return found, nil
}

func cgroups() (map[string]string, error) {
	found := map[string]string{}
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			found[path] = ""
		}
		return nil // gone meanwhile
	})
	return found, err
}
