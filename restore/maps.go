// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/forest"
)

// idMaps are the files of /proc/PID that give a user namespace its ids; an
// empty one is not written.
type idMaps struct {
	uid, gid, setgroups string
}

func mapsOf(u *forest.UserNamespace) idMaps {
	m := idMaps{uid: mapText(u.UIDMap), gid: mapText(u.GIDMap)}
	if !u.Setgroups {
		m.setgroups = "deny"
	}
	return m
}

func mapText(extents []forest.Extent) string {
	var b strings.Builder
	for _, e := range extents {
		fmt.Fprintf(&b, "%d %d %d\n", e.First, e.Parent, e.Count)
	}
	return b.String()
}

// write writes the maps of the user namespace of process pid, whose
// parent is this process's own.
func (m idMaps) write(pid int) error {
	for _, file := range []struct{ name, text string }{
		// setgroups cannot be denied once there is a gid map
		{"uid_map", m.uid}, {"setgroups", m.setgroups}, {"gid_map", m.gid},
	} {
		if file.text == "" {
			continue
		}
		path := filepath.Join("/proc", fmt.Sprint(pid), file.name)
		if err := os.WriteFile(path, []byte(file.text), 0); err != nil {
			return fmt.Errorf("%s: %w", file.name, errors.Unwrap(err))
		}
	}
	return nil
}

// writeInside does the same from inside the parent user namespace, in a run of
// the stub: only there has a writer the right to, and no process with threads
// can go there (userns_install).
func (m idMaps) writeInside(pid int) error {
	parent, err := parentUserNamespace(pid)
	if err != nil {
		return err
	}
	defer parent.Close()
	proc, err := os.Open(filepath.Join("/proc", fmt.Sprint(pid)))
	if err != nil {
		return err
	}
	defer proc.Close()
	binary, err := stubFile()
	if err != nil {
		return err
	}
	defer binary.Close()
	cmd := stubCommand(binary, parent, proc)
	cmd.Args = append(cmd.Args, m.uid, m.gid, m.setgroups)
	var what bytes.Buffer
	cmd.Stderr = &what
	if err := startStub(cmd); err != nil {
		return err
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return fmt.Errorf("%s: %w", what.String(), syscall.Errno(exit.ExitCode()))
	}
	return err
}

// parentUserNamespace is the parent of the user namespace of process pid. It
// may have no member that lives.
func parentUserNamespace(pid int) (*os.File, error) {
	own, err := os.Open(filepath.Join("/proc", fmt.Sprint(pid), "ns/user"))
	if err != nil {
		return nil, err
	}
	defer own.Close()
	fd, err := unix.IoctlRetInt(int(own.Fd()), unix.NS_GET_PARENT)
	if err != nil {
		return nil, fmt.Errorf("parent of its user namespace: %w", err)
	}
	return os.NewFile(uintptr(fd), "parent user namespace"), nil
}
