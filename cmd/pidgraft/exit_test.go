// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"github.com/pidgraft/pidgraft/collector"
	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/image"
	"github.com/pidgraft/pidgraft/loader"
	"github.com/pidgraft/pidgraft/restore"
)

func TestExitCodes(t *testing.T) {
	for _, tt := range []struct {
		err  error
		code int
	}{
		{nil, exitDone},
		{silent(exitDifference), exitDifference},
		{differenceError{"x"}, exitDifference},
		{usageError{errors.New("x")}, exitUsage},
		{&collector.TargetError{Reason: "x"}, exitUsage},
		{&fs.PathError{Err: syscall.EEXIST}, exitUsage},
		{&fs.PathError{Err: syscall.ENOENT}, exitUsage},
		{fmt.Errorf("process 7: %w", loader.ErrNoProcess), exitUsage},
		{endedError{fmt.Errorf("process 7: %w", loader.ErrNoProcess)}, exitIncomplete},
		{loader.ErrSelf, exitUsage},
		{loader.ErrNotInit, exitUsage},
		{&loader.PermissionError{Err: syscall.EPERM}, exitCannotRun},
		{&fs.PathError{Err: syscall.EACCES}, exitCannotRun},
		{loader.ErrNoBTF, exitCannotRun},
		{loader.ErrUnsupported, exitCannotRun},
		{&restore.CannotRunError{}, exitCannotRun},
		{&collector.ChangedError{What: "x"}, exitIncomplete},
		{context.Canceled, exitIncomplete},
		{&image.Error{Err: image.ErrTruncated}, exitIncomplete},
		{&image.AbortedError{}, exitIncomplete},
		{&restore.StallError{}, exitIncomplete},
		{&fs.PathError{Err: syscall.ENOSPC}, exitIncomplete},
		{&image.Error{Err: errors.New("x")}, exitRefused},
		{&image.Error{Err: &forest.Invalid{}}, exitRefused},
		{fmt.Errorf("image: %w", &forest.Invalid{}), exitRefused},
		{refusedError{what: "x"}, exitRefused},
		{&collector.OutsideError{}, exitRefused},
		{&collector.RefusedError{}, exitRefused},
		{ended(0), 0},
		{ended(7 << 8), 7},
		{ended(9), 137},
	} {
		if got := exitCode(tt.err); got != tt.code {
			t.Errorf("%T %v: exit code %d, want %d", tt.err, tt.err, got, tt.code)
		}
	}
}
