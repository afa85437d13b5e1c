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

// writeMaps writes the maps of the user namespace of process pid, whose
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

// writeFrom does the same from inside the parent user namespace, that of
// process parent, in a run of the stub: only there has a writer the right to,
// and no process with threads can go there (userns_install).
func (m idMaps) writeFrom(parent, pid int) error {
	fd, err := unix.PidfdOpen(parent, 0)
	if err != nil {
		return fmt.Errorf("pidfd_open: %w", err)
	}
	member := os.NewFile(uintptr(fd), "member")
	defer member.Close()
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
	cmd := stubCommand(binary, member, proc)
	cmd.Args = append(cmd.Args, m.uid, m.gid, m.setgroups)
	var what bytes.Buffer
	cmd.Stderr = &what
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return fmt.Errorf("%s: %w", what.String(), syscall.Errno(exit.ExitCode()))
	}
	return err
}
