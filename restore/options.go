// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"context"
	"os"
	"syscall"
	"time"

	"github.com/cilium/ebpf/btf"
)

// Memory is how restored processes get their memory.
type Memory uint8

const (
	// SharedMemory lets all tasks share the stub's memory (CLONE_VM): some
	// twenty times cheaper than a fork. A task that runs a program gets its
	// own by exec.
	SharedMemory Memory = iota
	// OwnMemory gives every process its own, as fork does; threads share
	// that of their process.
	OwnMemory
)

// Options say how a plan is carried out. The zero value shares memory, holds
// the tasks, stays in the foreground and verifies nothing.
type Options struct {
	Memory Memory
	// Detach makes Run return when the forest is committed; its root then
	// belongs to whatever adopts orphans here. Otherwise Run stays until
	// the root has ended.
	Detach bool
	// Exec is a command line for /bin/sh -c that every held thread-group
	// leader runs at the commit, as the uid and gid of the image, with the
	// environment of this process and PIDGRAFT_TASK (its tag in the image),
	// PIDGRAFT_PID, _TGID, _PGID, _SID, _PPID (numbers as it sees them; 0:
	// not visible), PIDGRAFT_NUMBERS (its numbers, from the root namespace
	// inwards, joined by "/") and PIDGRAFT_COMM. Empty: tasks hold.
	Exec string
	// Stdin, Stdout and Stderr are what programs get; nil is /dev/null.
	// Held tasks keep none of them open. Detached, programs get /dev/null
	// for all three, unless KeepStdio; Stdout is for the report only then.
	Stdin, Stdout, Stderr *os.File
	KeepStdio             bool

	// Verify, if not nil, is asked whether the forest below process pid (a
	// number of this process's namespace; the forest's root) is what it
	// ought to be. Everything is in place then but one thing: until the
	// commit the first task of the new namespace (if it is a dead leader,
	// another thread of it) has SIGKILL as its parent-death signal. An error undoes the restore.
	Verify func(ctx context.Context, pid int) error
	// Success, if not nil, is called last before the commit. What it
	// returns (at most ReportMax bytes) is written to Stdout by the first
	// task of the forest itself, if and only if the forest is committed,
	// whatever happens to this process meanwhile. An error undoes the
	// restore.
	Success func(pid int) ([]byte, error)
	// Pidfile is a path for a file with the root's number. It is there
	// before success is reported, and not if it is not, whatever happens to
	// this process meanwhile; what had the name is gone then.
	Pidfile string
	// ReportMax is how long that may be, in bytes; 0 is SuccessMax.
	ReportMax int
	// Types, if not nil, are the running kernel's types, for where it does not
	// show them itself.
	Types *btf.Spec
	// Signals, if not nil, are what this process was sent: before the
	// commit SIGINT, SIGTERM, SIGHUP and SIGQUIT undo the restore, after it
	// (not detached) all are passed on to the root.
	Signals <-chan os.Signal
	// Progress, if not nil, is told how far the restore is.
	Progress *Progress
	// Stall is how long nothing may progress before the restore is given
	// up; 0 is DefaultStall.
	Stall time.Duration
}

// SuccessMax is how long the line that reports success may usually be, in bytes.
const SuccessMax = 4096

// DefaultStall is generous: a plan's operation takes microseconds, but the
// machine may be short of memory or suspended.
const DefaultStall = 30 * time.Second

// Result is what came of a restore that succeeded.
type Result struct {
	// PID is the number of the forest's root in the namespace of the caller.
	PID int
	// Status is how the root ended. Detached: zero.
	Status syscall.WaitStatus
}

func (o *Options) reportMax() int {
	if o.ReportMax == 0 {
		return SuccessMax
	}
	return o.ReportMax
}

// nullStdio reports whether programs get /dev/null.
func (o *Options) nullStdio() bool { return o.Detach && o.Exec != "" && !o.KeepStdio }
