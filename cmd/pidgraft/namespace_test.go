// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io/fs"
	"testing"
)

// TestInodeOf: a directory is no namespace. On 5.10 the one that a link of
// /proc/PID/ns is in comes of following that without permission.
func TestInodeOf(t *testing.T) {
	if n, err := inodeOf("/proc/self/ns/pid"); n == 0 || err != nil {
		t.Errorf("its own: %d, %v", n, err)
	}
	if n, err := inodeOf("/proc/self/ns"); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("the directory: %d, %v", n, err)
	}
	if n, err := inodeOf(t.TempDir()); err == nil {
		t.Errorf("another directory: %d", n)
	}
}
