// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io/fs"
	"strconv"
	"strings"
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

// TestWhere: digits are an inode if a namespace can have it, else the beginning of
// the id of a container, of which one in seven begins with four digits.
func TestWhere(t *testing.T) {
	own, err := inodeOf("/proc/self/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	for _, inode := range []string{strconv.FormatUint(own, 10), "4026531824", "4294967295"} {
		if n, err := parseWhere(inode, own); err != nil || strconv.FormatUint(n, 10) != inode {
			t.Errorf("%s: %d, %v", inode, n, err)
		}
	}
	for _, id := range []string{"1234567", "4026531823", "4294967296"} {
		if n, err := parseWhere(id, own); err == nil || !strings.HasPrefix(err.Error(), "container "+id+": ") {
			t.Errorf("%s: %d, %v", id, n, err)
		}
	}
}
