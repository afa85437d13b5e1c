// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// TryFreezer freezes and thaws an empty cgroup that it makes and removes, in a
// mounted hierarchy of cgroup v2 or of the v1 freezer. It gives where that is
// mounted, and for v2 whether all in a cgroup can be killed at once
// (cgroup.kill, 5.14).
//
// Errors: ErrNoCgroup if no such hierarchy is mounted; those of the file system,
// such as EROFS in a container.
func TryFreezer(v2 bool) (mount string, kills bool, err error) {
	all, err := hierarchies()
	if err != nil {
		return "", false, err
	}
	err = fmt.Errorf("%v: %w: it is not mounted", hierarchy{v2: v2}, ErrNoCgroup)
	for _, h := range all {
		if h.v2 != v2 {
			continue
		}
		if kills, err = h.try(); err == nil {
			return h.mount, kills, nil
		}
	}
	return "", false, err
}

// try freezes an empty cgroup.
func (h hierarchy) try() (kills bool, err error) {
	dir, err := os.MkdirTemp(h.mount, "pidgraft-")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.Remove(dir)) }()
	control := filepath.Join(dir, h.freezeFile())
	if err := os.WriteFile(control, []byte(h.freezeWord()), 0); err != nil {
		return false, err
	}
	frozen := false
	for range 100 { // v1 freezes an empty cgroup when it is asked about it
		if frozen, err = h.frozen(dir); err != nil || frozen {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err == nil && !frozen {
		err = fmt.Errorf("%s does not freeze", dir)
	}
	if err := errors.Join(err, os.WriteFile(control, []byte(h.thawWord()), 0)); err != nil {
		return false, err
	}
	if h.v2 {
		kills = os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0) == nil
	}
	return kills, nil
}
