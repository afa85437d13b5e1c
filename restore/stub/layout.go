// SPDX-License-Identifier: Apache-2.0

package stub

// The plan in shared memory, as in plan.h, where the words are explained.
const (
	PlanAddr = 0x1000000000
	Magic    = 0x54464750
	Version  = 2

	CommSize  = 16
	TraceSize = 64
)

// Descriptors that the coordinator is started with.
const (
	FDPlan    = 3
	FDLife    = 4
	FDBell    = 5
	FDPidfile = 6
)

// Plan.Flags.
const (
	OwnMemory = 1
	Detach    = 2
	Exec      = 4
	RootEnded = 8
	InPlace   = 16
	NullStdio = 32
	RootWaits = 64
)

// Plan.Commit.
const (
	CommitLeave = 2 // nobody's death ends the forest any more
	CommitDone  = 3 // reported
)

// Plan.Pidfile.
const (
	PidfileLinked  = 1
	PidfileRenamed = 2
)

// Op.State.
const (
	Pending = 0
	Done    = 1
	Leaving = 2
)

// Op.Mark.
const (
	MarkNotify = 1
	MarkBell   = 2
	MarkTrace  = 4
	MarkExec   = 8
	MarkLinger = 16
)

// Failure.State: it is complete.
const FailureWritten = 2

// Op is one operation of an actor's program and its result.
type Op struct {
	Code   uint8 // plan.Code
	Flags  uint8 // plan.CloneFlags
	Mark   uint8
	Count  uint8 // how many numbers a clone has; of a stop: whether wait reports it
	Child  int32
	Arg    int32 // Pid, Via or Signal, as the code needs
	Number int32
	Data   uint32 // in words from the start of the plan
	NAfter uint32
	State  uint32
	Value  int32
}

// Actor is a task's program, and where it is.
type Actor struct {
	First, Count uint32
	At           uint32
	Pid          int32
	Pidfd        int32
	UserFd, NsFd int32 // what it kept, or -1
	Beside       uint32
}

// IDs are the operands of set-ids, and the owner of a new user namespace.
type IDs struct {
	UID, EUID, SUID, FSUID uint32
	GID, EGID, SGID, FSGID uint32
}

// Program is what a held leader runs at the commit.
type Program struct {
	IDs    IDs
	SetIDs uint32
	_      uint32
	Envp   uint64
}

// Failure is the first thing that went wrong.
type Failure struct {
	State uint32
	Actor uint32 // 0: the coordinator
	Op    uint32 // index in the plan; of the coordinator: in Stages
	Error int32  // errno
}

// Plan is what the shared memory begins with.
type Plan struct {
	Magic, Version uint32
	Size           uint64
	Actors, Ops    uint64
	NActors, NOps  uint32
	Flags          uint32
	NBirths        uint32
	Init           uint32
	Committer      uint32
	NHolds         uint32
	RootNumber     int32
	Pdeath         int32
	Report         uint32
	ReportLen      uint32
	LeaderPdeath   int32
	ExecPath       uint64
	ExecArgv       uint64
	Cgroup         uint64

	SelfPidfd  int32
	RootStop   uint32
	CgroupFd   int32
	GuardPidfd int32
	NoFile     [2]uint64
	Core       [2]uint64
	_          [40]byte

	Held       uint32
	_          [60]byte
	Commit     uint32
	Armed      uint32
	RootEnded  uint32
	RootStatus int32
	InitEnded  uint32
	InitStatus int32
	Failure    Failure
	_          [24]byte

	Stays       uint32
	Settled     uint32
	Alive       uint32
	Closed      uint32
	Robust      [3]uint64
	RobustEntry uint64
	Pidfile     uint32
	Named       uint32
	_           [8]byte
}

// Stages are the steps of the coordinator that can fail, in the order of enum
// stage in stub.h.
var Stages = [...]string{
	"map the plan", "set limits", "drop groups", "set signals",
	"make itself undumpable", "map stacks", "open its own pidfd",
	"make the first task of the new namespace", "wait",
	"set up descriptors", "write the report", "become a subreaper",
	"start a guard", "make a cgroup that can be killed",
}
