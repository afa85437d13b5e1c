// SPDX-License-Identifier: Apache-2.0

//go:build lean

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"time"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/image"
	"github.com/pidgraft/pidgraft/image/criu/packing"
)

// run becomes the program that can convert.
func (c *converting) run(context.Context, source) error {
	return becomeAuditProgram("a conversion takes")
}

// What reads CRIU's images takes as long to start as a good part of the rest, so
// another program does it, which is beside this one.

func readCheckpointDirectory(dir string) (*forest.Forest, error) { return readElsewhere(dir, nil) }

func readCheckpointArchive(r io.Reader, _ packing.Packing) (*forest.Forest, error) {
	return readElsewhere("-", r)
}

// readElsewhere has another program read a checkpoint, and takes the image that it
// makes of it.
func readElsewhere(dir string, r io.Reader) (*forest.Forest, error) {
	path, err := auditProgramPath()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path, readForAnother, dir)
	cmd.Stdin = r
	// It may end before all of r was read, and r may never end.
	cmd.WaitDelay = 100 * time.Millisecond
	out, err := cmd.Output()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: checkpoints of CRIU take %s, which make build makes, too", errNoProgram, path)
	}
	f, readErr := image.Read(bytes.NewReader(out))
	var aborted *image.AbortedError
	switch {
	case errors.As(readErr, &aborted) && cmd.ProcessState != nil:
		return nil, checkpointError{aborted.Message, cmd.ProcessState.ExitCode()}
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, readErr
}

func isCheckpointTruncated(err error) bool {
	var e checkpointError
	return errors.As(err, &e) && e.code == exitIncomplete
}

func isCheckpointRefused(error) bool { return false } // exitCode has it

func readsForAnother([]string) (int, bool) { return 0, false }
