// SPDX-License-Identifier: Apache-2.0

package leak

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// bpfObjects are those that there are of a kind: by id, how to say each.
// To look at them one after the other is a race with all others who make and
// close some. One that ended meanwhile is ENOENT; of a link whose attachment is
// under way the id is given, and to open it is EAGAIN.
func bpfObjects[ID ~uint32](next func(ID) (ID, error), describe func(ID) (string, error)) (map[string]string, error) {
	found := map[string]string{}
	for id := ID(0); ; {
		var err error
		if id, err = next(id); errors.Is(err, unix.ENOENT) {
			return found, nil
		} else if err != nil {
			return nil, err
		}
		what, err := describe(id)
		switch {
		case err == nil:
			found[fmt.Sprint(id)] = what
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EAGAIN):
		default:
			return nil, fmt.Errorf("id %d: %w", id, err)
		}
	}
}

func bpfPrograms() (map[string]string, error) {
	return bpfObjects(ebpf.ProgramGetNextID, func(id ebpf.ProgramID) (string, error) {
		p, err := ebpf.NewProgramFromID(id)
		if err != nil {
			return "", err
		}
		defer p.Close()
		return p.String(), nil
	})
}

func bpfMaps() (map[string]string, error) {
	return bpfObjects(ebpf.MapGetNextID, func(id ebpf.MapID) (string, error) {
		m, err := ebpf.NewMapFromID(id)
		if err != nil {
			return "", err
		}
		defer m.Close()
		return m.String(), nil
	})
}

func bpfLinks() (map[string]string, error) {
	return bpfObjects(nextLink, func(id link.ID) (string, error) {
		l, err := link.NewFromID(id)
		if err != nil {
			return "", err
		}
		defer l.Close()
		return fmt.Sprintf("%T", l), nil
	})
}

// nextLink is what the library has for programs and maps. Its iterator of links
// ends at one that is being attached, without its id.
func nextLink(id link.ID) (link.ID, error) {
	attr := struct{ start, next, flags uint32 }{start: uint32(id)}
	_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_LINK_GET_NEXT_ID, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		return 0, errno
	}
	return link.ID(attr.next), nil
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
