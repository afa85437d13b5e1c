// SPDX-License-Identifier: Apache-2.0

package plan

import "github.com/pidgraft/pidgraft/forest"

// Actor indices that every plan has.
const (
	// Restorer is the process that carries out the plan from outside the
	// new namespaces. It writes id maps; it creates nothing itself.
	Restorer = 0
	// Init is the first task made: number 1 of the new namespace, either
	// the forest's root (a container) or a holder. The restorer makes it:
	// see Plan.Births.
	Init = 1
)

// Plan is how a forest is rebuilt.
type Plan struct {
	Actors []Actor
	// Root is the actor that becomes the forest's root task.
	Root int
	// Births are the Clones that the restorer makes before anything else,
	// from outside: Init, with a pidfd, and after it outsiders.
	Births []Op
}

// Role is why an actor exists.
type Role uint8

const (
	RoleRestorer Role = iota
	// RoleTask becomes a task of the forest.
	RoleTask
	// RoleHolder is the init of the new namespace of a subtree, or of one
	// around that of a root that has ended.
	RoleHolder
	// RoleGhost carries the number of a ghost, founds its session or group,
	// and ends.
	RoleGhost
	// RoleHelper keeps a session, places a child or keeps a group alive
	// until others joined, and ends.
	RoleHelper
	// RoleEntrant bears tasks inside a namespace on behalf of an outside
	// task, whose credentials allow every number to be named, and ends.
	RoleEntrant
	// RoleOutsider is a process beside the new namespaces, of which those
	// are born that enter from outside. It ends, unless one of them could
	// not have another parent.
	RoleOutsider
	// RoleWarden is the init of a namespace whose own init is outside the
	// forest. It holds as long as the forest lives.
	RoleWarden
)

var roles = [...]string{"restorer", "task", "holder", "ghost", "helper", "entrant", "outsider", "warden"}

func (r Role) String() string {
	if int(r) >= len(roles) {
		return "unknown"
	}
	return roles[r]
}

// Actor is one task of the plan with its program.
type Actor struct {
	Role Role
	Task int    // index in Forest.Tasks, or -1
	Why  string // for a helper: what it is for, in words
	Ops  []Op
}

// Ref names an operation of a plan.
type Ref struct {
	Actor, Op int32
}

// Code is what an operation does. Each is one system call or a few, made by
// the actor in whose program it stands.
type Code uint8

const (
	// Clone makes Child with clone3: Flags, Numbers (set_tid, innermost
	// level first; the levels not named are the kernel's choice), Signal
	// (exit_signal; ignored with Parent or Thread). With NewUser the
	// actor's effective ids are UID and GID for the call, so that they
	// become the owner's, without loss of capabilities.
	Clone Code = iota
	// Setsid calls setsid.
	Setsid
	// Setpgid puts the process of Child (-1: the actor's own) into group
	// Number. Pid is the child's number (0 for itself); both are as the
	// actor sees them. Number 0 founds a group.
	Setpgid
	// Subreaper sets PR_SET_CHILD_SUBREAPER to Number (0 or 1).
	Subreaper
	// Reap waits for the end of Child, whose number the actor sees as Pid,
	// and collects it (wait4 with __WALL). Pid 0 is the number that the
	// actor's own Clone of it returned.
	Reap
	// Await waits until Child (Pid) is a zombie and leaves it one (waitid
	// with WNOWAIT and __WALL).
	Await
	// JoinPID sets pid_ns_for_children to the active namespace of actor Via:
	// setns with what its Keep kept, else with the pidfd its Clone left, or
	// its own if Via is the actor itself.
	JoinPID
	// JoinUser enters the user namespace of actor Via, likewise.
	JoinUser
	// Keep keeps descriptors of the actor's user and pid namespaces for
	// others to join, who then need no right over the actor (kernel-rules
	// 26) nor that it lives.
	Keep
	// UnsharePID makes an empty namespace for the next children.
	UnsharePID
	// UnshareUser enters a new user namespace, owned by UID and GID as for
	// a Clone with NewUser.
	UnshareUser
	// WriteMaps, of the restorer only, writes the id maps of user namespace
	// Number (an index in Forest.UserNamespaces), of which Child is the
	// first member.
	WriteMaps
	// Comm sets the task's name to Text.
	Comm
	// SetIDs sets the thread's real uid to UID and gid to GID, its
	// effective ones to EUID and EGID, and its saved ones and those for files
	// to Other, or like the effective ones without it; all as they are called
	// in the actor's user namespace: the groups first, the uid for files
	// last. With Number 1 it keeps its capabilities.
	SetIDs
	// Ignore sets the disposition of Signal to SIG_IGN (Number 1), which
	// drops it if it is pending, or back to SIG_DFL (Number 0).
	Ignore
	// Kill sends Signal to Child (Pid), which the actor sees and which is
	// at its Perish: an init dies by nothing it sends itself. SIGCONT is for
	// a Child that is stopped. The restorer knows Child by its pidfd instead.
	Kill
	// Stop sends Signal to the process of Child (Pid), all of whose threads
	// are at their Hold, and waits until it has stopped; with Number 1 it
	// lets wait report the stop (waitid with WSTOPPED), with 0 not. Signal 0
	// sends nothing: something else stops it. That of Init is the
	// restorer's, and the last thing of all.
	Stop
	// Undumpable sets PR_SET_DUMPABLE to 0 and reads it back.
	Undumpable
	// Pdeath sets PR_SET_PDEATHSIG to Signal.
	Pdeath
	// Cursor writes Number to ns_last_pid of the actor's namespace.
	Cursor
	// PidMax writes Number to pid_max of the actor's namespace. Only on
	// kernels that have one per namespace.
	PidMax
	// Spoil makes the first Clone in the empty namespace that the actor has
	// for its children fail after its Numbers were given out: nobody can
	// be born there any more (kernel-rules 5). Number is how often one is
	// tried in all.
	Spoil
	// Exec runs a program that goes on with the plan (execve): the exit
	// signal is SIGCHLD from then on, and that of every child who was there
	// before is taken for SIGCHLD at its end (kernel-rules 15). After it the
	// actor bears nobody, and uses no descriptor of another's.
	Exec
	// Nop does nothing; it waits for what it comes after.
	Nop

	// The last operation of every program is one of these.

	// Hold is where a task of the forest stays: everything of it is in
	// place. A plan is carried out when every Hold is reached.
	Hold
	// ExitThread ends the calling thread with wait status Number.
	ExitThread
	// ExitGroup ends the process with exit code Number (0 to 255).
	ExitGroup
	// Die kills the process by Signal, sent to itself; an init by a fault
	// that forces the signal, or by reboot(2) for SIGHUP and SIGINT.
	Die
	// Perish waits for another actor's Kill.
	Perish
	// Serve is the end of a holder's program: hold, reap whatever is
	// adopted, and end with the status of the root.
	Serve
	// Stay is the end of the program of an outsider that must remain the
	// parent of those that entered: it holds until Init ends, or runs a
	// program, and collects nobody.
	Stay
	// End is the end of the restorer's program.
	End
)

var codes = [...]string{
	"clone", "setsid", "setpgid", "subreaper", "reap", "await", "join-pid",
	"join-user", "keep", "unshare-pid", "unshare-user", "write-maps", "comm",
	"set-ids", "ignore", "kill", "stop",
	"undumpable", "pdeath", "cursor", "pid-max", "spoil", "exec", "nop", "hold",
	"exit-thread", "exit-group", "die", "perish", "serve", "stay", "end",
}

func (c Code) String() string {
	if int(c) >= len(codes) {
		return "unknown"
	}
	return codes[c]
}

// Last reports whether c ends a program.
func (c Code) Last() bool { return c >= Hold }

// CloneFlags say what a Clone shares and unshares, beyond what the way of
// running the plan decides (memory, descriptors).
type CloneFlags uint8

const (
	NewPID  CloneFlags = 1 << iota // CLONE_NEWPID: the child is an init
	NewUser                        // CLONE_NEWUSER
	Parent                         // CLONE_PARENT: a sibling of the actor
	Thread                         // CLONE_THREAD: a thread of the actor's process
	Pidfd                          // keep a pidfd of the child for JoinPID and JoinUser
)

// Op is one operation. Which fields mean something depends on Code.
type Op struct {
	Code    Code
	Flags   CloneFlags
	Child   int32 // an actor, or -1
	Via     int32 // an actor
	Pid     int32 // a number as the actor sees it
	Number  int32
	Signal  int32
	UID     uint32
	GID     uint32
	EUID    uint32
	EGID    uint32
	Other   *forest.OtherIDs
	Numbers []int32
	Text    string
	// After are operations of other actors that must be done first.
	After []Ref
}
