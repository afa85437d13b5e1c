// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pidgraft/pidgraft/collector"
	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/image"
	"github.com/pidgraft/pidgraft/loader"
	"github.com/pidgraft/pidgraft/restore"
)

// Exit codes of all subcommands. A restore in the foreground ends as the
// forest's root does.
const (
	exitDone       = 0
	exitDifference = 1 // a difference or finding
	exitUsage      = 2
	exitCannotRun  = 3 // privilege, kernel, BTF
	exitIncomplete = 4 // changed meanwhile, lost data
	exitRefused    = 5 // cannot be represented or rebuilt exactly
)

// usageError is an error in how a command was called.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// silent is an exit code about which nothing more is to be said.
type silent int

func (silent) Error() string { return "" }

func isSilent(err error) bool { return errors.As(err, new(silent)) }

// differenceError is what a comparison found where none may be.
type differenceError struct{ text string }

func (e differenceError) Error() string { return e.text }

// refusedError is what stands against an exact rebuild.
type refusedError struct {
	what    string
	reasons []string
}

func (e refusedError) Error() string {
	const most = 20
	lines := []string{e.what}
	for i, r := range e.reasons {
		if i == most {
			lines = append(lines, "and more")
			break
		}
		lines = append(lines, r)
	}
	return strings.Join(lines, "\n")
}

// lossError is what a conversion would lose, all of it.
type lossError struct {
	what string
	lost []string
}

func (e lossError) Error() string { return e.what + "\n" + strings.Join(e.lost, "\n") }

// errNoProgram is a part of pidgraft that is not installed.
var errNoProgram = errors.New("a program is missing")

// checkpointError is what the program that reads checkpoints of CRIU said of one,
// if that is not this program.
type checkpointError struct {
	said string
	code int // it ended with
}

func (e checkpointError) Error() string { return e.said }

// endedError is a target that was there and is gone.
type endedError struct{ error }

func (e endedError) Unwrap() error { return e.error }

// exitCode sorts errors into exit codes.
func exitCode(err error) int {
	var code silent
	var checkpoint checkpointError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, new(differenceError)):
		return exitDifference
	case errors.As(err, new(endedError)):
		return exitIncomplete
	case errors.Is(err, context.Canceled):
		return exitIncomplete
	case errors.As(err, new(usageError)), isAny(err, collector.ErrTarget, fs.ErrExist, fs.ErrNotExist,
		loader.ErrNoProcess, loader.ErrNotInit, loader.ErrSelf, loader.ErrNoCgroup, loader.ErrTypes):
		return exitUsage
	case errors.As(err, new(*restore.CannotRunError)), isAny(err, errNoProgram, fs.ErrPermission,
		loader.ErrNotPermitted, loader.ErrNoBTF, loader.ErrUnsupported, loader.ErrNotVisible):
		return exitCannotRun
	case errors.As(err, &checkpoint):
		return checkpoint.code
	case isAny(err, image.ErrTruncated, collector.ErrChanged), errors.As(err, new(*image.AbortedError)), isCheckpointTruncated(err):
		return exitIncomplete
	case errors.As(err, new(refusedError)), errors.As(err, new(lossError)), errors.As(err, new(*restore.TakenError)),
		errors.Is(err, collector.ErrRefused), isCheckpointRefused(err),
		errors.As(err, new(*image.Error)), errors.As(err, new(*forest.Invalid)):
		return exitRefused
	}
	return exitIncomplete
}

func isAny(err error, targets ...error) bool {
	for _, t := range targets {
		if errors.Is(err, t) {
			return true
		}
	}
	return false
}

// hint is what to do about an error.
func hint(cmd *cobra.Command, err error) string {
	dumping := cmd.Name() == "dump"
	switch {
	case errors.As(err, new(usageError)):
		return "See '" + cmd.CommandPath() + " --help'."
	case errors.Is(err, fs.ErrExist):
		return "Give another name, or --force to replace it."
	case errors.Is(err, collector.ErrChanged) && dumping:
		return "Try --freeze, which stops the target for the moment, or more --retries."
	case errors.Is(err, collector.ErrChanged):
		return "Try again, or dump it with --freeze and use the image."
	case errors.As(err, new(lossError)):
		return "To convert the rest all the same: --lossy."
	case errors.As(err, new(refusedError)) && dumping:
		return "To write an image all the same, marked as such: --inexact."
	case errors.As(err, new(*restore.TakenError)):
		return "Restore into a new pid namespace, or take other numbers: --pids=any."
	case errors.Is(err, image.ErrTruncated), errors.As(err, new(*image.AbortedError)), isCheckpointTruncated(err):
		return "There is nothing in it to restore: dump again."
	}
	if path := new(fs.PathError); errors.As(err, &path) && errors.Is(err, fs.ErrNotExist) && path.Op == "open" &&
		!strings.ContainsAny(path.Path, "/.") && slices.Contains([]string{"show", "diff", "plan"}, cmd.Name()) {
		return "A live process is pid:N, a container that runs @ID."
	}
	return missing(cmd, err)
}
