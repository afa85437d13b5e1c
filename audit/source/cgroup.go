// SPDX-License-Identifier: Apache-2.0

package source

import (
	"fmt"
	"io"
	"os"
)

// Cgroup reads /proc/N/cgroup. Anybody may, whoever the process belongs to.
func (p *Proc) Cgroup(nr int32) (string, error) {
	const longest = 1 << 16 // 14 hierarchies, of paths of up to 4096 bytes
	const name = "cgroup"
	fd, err := p.open(nr, name)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: fmt.Sprintf("%s/%d/%s", p.dir.Name(), nr, name), Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, longest))
	return string(b), err
}
