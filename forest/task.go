// SPDX-License-Identifier: Apache-2.0

package forest

// State is what a task is doing, as far as it is part of a forest.
type State uint8

const (
	// Running: runs or sleeps. After a restore it is held.
	Running State = iota
	// Stopped: job-control stop; StopSignal and StopReported say which.
	Stopped
	// Traced: a tracer is attached, stopped or not. Cannot be rebuilt.
	Traced
	// Zombie: a process all of whose threads ended, not yet reaped.
	Zombie
	// DeadLeader: a thread-group leader that ended while other threads of
	// its process live. It keeps its number and stays a zombie.
	DeadLeader
	// ExitingInit: a namespace's init that waits in zap_pid_ns_processes.
	ExitingInit
)

var states = [...]string{"running", "stopped", "traced", "zombie", "dead leader", "exiting init"}

func (s State) String() string { return name(states[:], int(s)) }

// Exited reports whether the task itself has ended and only its remains are
// left: it has no children, no memory and no namespaces of its own.
func (s State) Exited() bool { return s == Zombie || s == DeadLeader }

// SIGCHLD is the usual exit signal of a process; the same number on every
// architecture that pidgraft supports (amd64, arm64).
const SIGCHLD = 17

// ExitSignalThread is the exit_signal of a task that is not a thread-group
// leader.
const ExitSignalThread = -1

// Task is one thread. A process is a task whose Pid equals its TGID (its
// thread-group leader) and the threads that share that TGID.
type Task struct {
	Pid  Tag // its own pid object
	TGID Tag // its process: the leader's pid object
	PGID Tag // process group: may be Outside, Null or Inherited
	SID  Tag // session: may be Outside, Null or Inherited

	// Parent is the thread group of the real parent (never the tracer), or
	// Outside. ParentThread is the task of that process whose child it is
	// now: the thread that forked or adopted it. A thread that is not a
	// leader has its leader's parent.
	Parent       Tag
	ParentThread Tag

	ExitSignal   int32 // sent to the parent at exit; ExitSignalThread for a thread
	PdeathSignal int32 // sent to it when its parent thread ends; 0 none
	Subreaper    bool  // PR_SET_CHILD_SUBREAPER; the same for all threads

	State        State
	StopSignal   int32 // Stopped: the signal that stopped it
	StopReported bool  // Stopped: the parent has already been told by wait

	// ExitCode is the task's own raw exit code (task_struct.exit_code) and
	// GroupExitCode that of its process (signal_struct.group_exit_code),
	// both in the form of a wait status; GroupExit says that the process
	// exited or was killed as a group (SIGNAL_GROUP_EXIT). See WaitStatus.
	ExitCode      int32
	GroupExitCode int32
	GroupExit     bool

	UserNamespace int // index of the task's user namespace
	// ChildNamespace is the index of the namespace that its next child will
	// be born in (nsproxy.pid_ns_for_children), or SameNamespace. Exited
	// tasks have none.
	ChildNamespace int

	UID, EUID uint32 // real and effective, in the initial user namespace; see also ExitIDs
	GID, EGID uint32

	Comm      string // at most 15 bytes, no NUL; bytes of an untrusted process
	StartTime uint64 // nanoseconds since boot (task_struct.start_boottime)
}

// SameNamespace as Task.ChildNamespace: children are born in the task's own
// namespace.
const SameNamespace = -1

// IsLeader reports whether the task leads its thread group.
func (t *Task) IsLeader() bool { return t.Pid == t.TGID }

// WaitStatus is what wait would report for an exited process: the group's
// exit code if it ended as a group, else the task's own (wait_task_zombie,
// kernel/exit.c; kernel-rules 19).
func (t *Task) WaitStatus() int32 {
	if t.GroupExit {
		return t.GroupExitCode
	}
	return t.ExitCode
}
