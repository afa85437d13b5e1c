// SPDX-License-Identifier: Apache-2.0

package source

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Cgroup reads /proc/N/cgroup. Anybody may, whoever the process belongs to.
func (p *Proc) Cgroup(nr int32) (string, error) {
	const longest = 1 << 16 // 14 hierarchies, of paths of up to 4096 bytes
	name := fmt.Sprintf("%d/cgroup", nr)
	fd, err := unix.Openat2(int(p.dir.Fd()), name, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return "", &os.PathError{Op: "open", Path: p.dir.Name() + "/" + name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, longest))
	return string(b), err
}
