// SPDX-License-Identifier: Apache-2.0

//go:build !lean

package main

import (
	"errors"
	"io"
	"os"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/image"
	"github.com/pidgraft/pidgraft/image/criu"
	"github.com/pidgraft/pidgraft/image/criu/packing"
)

// readCheckpointDirectory reads images of CRIU. A link in there does not lead out.
func readCheckpointDirectory(dir string) (*forest.Forest, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return criu.Read(root.FS())
}

func readCheckpointArchive(r io.Reader, p packing.Packing) (*forest.Forest, error) {
	return criu.ReadArchive(r, p)
}

func isCheckpointTruncated(err error) bool { return errors.Is(err, criu.ErrTruncated) }

func isCheckpointRefused(err error) bool {
	return errors.Is(err, criu.ErrRoot) || errors.As(err, new(*criu.Error))
}

// readsForAnother is the other end of readElsewhere: a checkpoint, a directory or
// on standard input an archive, becomes an image on standard output, and what is
// wrong with it the message of one that is not finished.
func readsForAnother(args []string) (code int, is bool) {
	if len(args) != 2 || args[0] != readForAnother {
		return 0, false
	}
	f, err := readForLean(args[1])
	if err == nil {
		err = image.Write(os.Stdout, f)
	}
	if err != nil {
		_ = image.WriteAbort(os.Stdout, err.Error())
	}
	return exitCode(err), true
}

func readForLean(dir string) (*forest.Forest, error) {
	if dir != "-" {
		return readCheckpointDirectory(dir)
	}
	p, r := packing.Sniff(os.Stdin)
	if _, err := os.Stdin.Seek(0, io.SeekStart); err == nil {
		r = os.Stdin
	}
	return readCheckpointArchive(r, p)
}
