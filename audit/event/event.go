// SPDX-License-Identifier: Apache-2.0

package event

import "github.com/pidgraft/pidgraft/collector"

// Kind is why a task was read.
type Kind uint8

const (
	Birth   Kind = 1 + iota // it was made, and has not run yet (task_newtask)
	Exec                    // it executed a program (sched_process_exec)
	Exit                    // it begins to exit (sched_process_exit)
	Free                    // nothing refers to it any more (sched_process_free)
	Change                  // setsid, setpgid, setns, unshare or prctl
	Refresh                 // it was asked for
)

var kinds = [...]string{"", "birth", "exec", "exit", "free", "change", "refresh"}

func (k Kind) String() string {
	if int(k) < len(kinds) && k > 0 {
		return kinds[k]
	}
	return "unknown"
}

// Event is one record of the stream, in the order in which places were taken.
type Event struct {
	Kind Kind
	CPU  uint32
	// When the task was read, or just before: nanoseconds of
	// CLOCK_MONOTONIC.
	When uint64
	// Lost is how many events this CPU had lost by then, since the
	// programs were loaded.
	Lost uint64
	// Task is how the task is. Of a Free one only ID and StartTime are
	// known.
	Task Task
	// Creator made the task; only of a Birth.
	Creator Creator
	// Detail is the clone flags of a Birth and the number of the system
	// call of a Change.
	Detail uint64
}

// Task is a task as an event shows it.
type Task struct {
	ID        collector.ID
	StartTime uint64 // start_boottime, nanoseconds
	// Pid is its own pid object; 0 when it has been released, and nothing
	// else means anything then.
	Pid collector.ID
	// Numbers of Pid, the outermost namespace's first.
	Numbers []Number
	// Process, Group and Session are the pid objects that it uses, and their
	// numbers in the namespace that is audited (0: not visible there).
	Process, Group, Session    collector.ID
	ProcessNr, GroupNr, SessNr int32
	// Parent is real_parent, and ParentProcess the pid object of its thread
	// group.
	Parent, ParentProcess collector.ID
	ChildNamespace        collector.ID // nsproxy.pid_ns_for_children; 0: it has exited
	ChildInode            uint32
	Subreaper             bool
	ExitState             uint32 // task_struct.exit_state
	Flags                 uint32 // task_struct.flags
	ExitCode              int32
	ExitSignal            int32
	UID                   uint32 // in the initial user namespace
	Comm                  string // bytes of an untrusted process
}

// Number is a number in a pid namespace.
type Number struct {
	Nr        int32
	Inode     uint32 // of the namespace
	Namespace collector.ID
}

// Creator is the task that made another.
type Creator struct {
	ID        collector.ID
	Namespace collector.ID // its own pid namespace
	Inode     uint32       // of that
	Nr        int32        // its process in the namespace that is audited; 0: not visible there
	HostNr    int32        // its process in the initial namespace
	UID       uint32
	Comm      string
}

// Counters are one processor's.
type Counters struct {
	Sent    uint64 // events that went into the ring
	Lost    uint64 // events for which there was no room, with those dropped
	Dropped uint64 // of the lost, those lost on purpose
}

// Totals are the counters of a stream.
type Totals struct {
	CPU []Counters
	// Missed is how often the kernel did not run a program because it was
	// running already on that processor (recursion_misses): lost as well.
	Missed uint64
}

// Lost is everything that is missing from the stream.
func (t Totals) Lost() uint64 {
	n := t.Missed
	for _, c := range t.CPU {
		n += c.Lost
	}
	return n
}

// Sent is everything that is or was in the stream.
func (t Totals) Sent() uint64 {
	n := uint64(0)
	for _, c := range t.CPU {
		n += c.Sent
	}
	return n
}

// Dropped is what was lost on purpose.
func (t Totals) Dropped() uint64 {
	n := uint64(0)
	for _, c := range t.CPU {
		n += c.Dropped
	}
	return n
}
