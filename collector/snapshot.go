// SPDX-License-Identifier: Apache-2.0

package collector

import "github.com/pidgraft/pidgraft/forest"

// ID is the identity of a kernel object within one Snapshot: its address when
// it was seen. It is compared, never followed, never stored in an image, and
// means nothing in another Snapshot. 0 is a null pointer.
type ID uint64

// Snapshot is one pass over a target. Records may come in any order, and the
// same pid object, namespace or user namespace may be there more than once;
// a task is there once. Whatever a record refers to is described: the pid
// objects that the tasks use, the namespace of each with all its ancestors and
// owners, pid_ns_for_children, the user namespaces of the tasks with theirs up
// to the initial one. What is missing counts as a change during the pass; only
// a parent may be outside. Once made, nobody changes it: two Snapshots may refer
// to the same records.
type Snapshot struct {
	Root      ID // the root task
	Namespace ID // the root task's own pid namespace
	// Self is the thread-group leader of the process that takes the
	// snapshot: a dump cannot hold its own dumper. 0 if it is not known to
	// be anywhere near.
	Self ID

	Tasks          []Task
	Pids           []Pid
	Namespaces     []Namespace
	UserNamespaces []UserNamespace

	// Walked says that IDR holds the identity of every pid object found in
	// the root namespace's idr (each also described in Pids).
	Walked bool
	IDR    []ID

	// Misnumbered are pid objects with a number in a namespace that is not an
	// ancestor of their own, level by level; no kernel should show one.
	Misnumbered []ID

	// References are who else holds pid objects, if that was asked for; also
	// of objects and by tasks that are not the target's.
	References []Reference
}

// Reference is a pid object that a terminal or an open file refers to.
type Reference struct {
	Kind   forest.ReferenceKind
	Object ID // struct pid
	// Task has the descriptor FD; 0 for a terminal, and for somebody who
	// does not belong to the target.
	Task     ID
	FD       int32
	Terminal string // tty_struct.name
}

// Task is a task_struct.
type Task struct {
	ID          ID
	RealParent  ID // task_struct.real_parent: the thread whose child it is
	GroupLeader ID // task_struct.group_leader
	// PrevSibling is the task before it in its parent's list of children,
	// 0 for the first; meaningful for thread-group leaders only.
	PrevSibling ID
	// PrevThread is the task before it in its process's list of threads
	// (signal_struct.thread_head), 0 for the first.
	PrevThread ID

	// The pid objects it uses; described in Snapshot.Pids if they belong to
	// the target's namespace or are used by a task of the target.
	Pid, TGID, PGID, SID ID
	// ParentTGID is the pid object of real_parent's thread group, so that a
	// parent outside the target can be named.
	ParentTGID ID

	ExitState     uint32 // task_struct.exit_state (EXIT_ZOMBIE 0x20, EXIT_DEAD 0x10)
	TaskFlags     uint32 // task_struct.flags (PF_EXITING 0x4, PF_KTHREAD 0x200000)
	SignalFlags   uint32 // signal_struct.flags (SIGNAL_STOP_STOPPED 0x1, SIGNAL_GROUP_EXIT 0x4)
	Jobctl        uint64 // task_struct.jobctl (low 16 bits: the stop signal)
	Ptrace        uint32 // task_struct.ptrace
	ExitCode      int32  // task_struct.exit_code
	GroupExitCode int32  // signal_struct.group_exit_code
	ExitSignal    int32  // task_struct.exit_signal
	PdeathSignal  int32  // task_struct.pdeath_signal
	NrThreads     int32  // signal_struct.nr_threads: linked threads, dead leader included
	Subreaper     bool   // signal_struct.is_child_subreaper

	UserNamespace  ID // real_cred.user_ns
	ChildNamespace ID // nsproxy.pid_ns_for_children; 0 without an nsproxy

	// Kernel ids: those of the initial user namespace.
	UID, EUID, GID, EGID     uint32
	SUID, FSUID, SGID, FSGID uint32

	StartTime uint64 // start_boottime, nanoseconds
	Comm      [16]byte
}

// Pid is a struct pid.
type Pid struct {
	ID        ID
	Namespace ID // numbers[level].ns
	Level     int
	// Numbers has one number per level of the machine, the initial
	// namespace's first: Level+1 of them.
	Numbers []int32
	// HasPID says that a task carries it as its own pid (PIDTYPE_PID), so
	// that it is not a ghost. HasTGID, HasPGID and HasSID say the same of
	// the other uses (struct pid, tasks[]).
	HasPID, HasTGID, HasPGID, HasSID bool
}

// Namespace is a struct pid_namespace.
type Namespace struct {
	ID     ID
	Parent ID // 0 for the initial namespace
	Owner  ID // the owning user namespace
	Level  int
	Cursor uint32 // idr.idr_next
	PidMax uint32 // 0 where the kernel has one for the whole machine
	Inode  uint32
	// Allocated is pid_allocated: the count of pid objects, with
	// PIDNS_ADDING (bit 31) set while new ones may be added.
	Allocated uint32
	// Reaper is child_reaper, 0 if there never was one. It may be a task
	// that is gone.
	Reaper ID
}

// PidnsAdding is the bit of Namespace.Allocated that says that the namespace
// still takes new pid objects (PIDNS_ADDING, kernel/pid_namespace.c).
const PidnsAdding = 1 << 31

// Extent is a struct uid_gid_extent; Lower is a kernel id.
type Extent struct{ First, Lower, Count uint32 }

// UserNamespace is a struct user_namespace.
type UserNamespace struct {
	ID                 ID
	Parent             ID // 0 for the initial one
	Level              int
	OwnerUID, OwnerGID uint32 // kernel ids
	Inode              uint32
	Flags              uint32 // user_namespace.flags (USERNS_SETGROUPS_ALLOWED 0x1)
	UIDMap, GIDMap     []Extent
}
