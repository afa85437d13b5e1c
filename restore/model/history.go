// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"strings"

	"github.com/pidgraft/pidgraft/forest"
)

// History is a sequence of system calls on a new machine, and the process
// whose forest it makes.
type History struct {
	Version Version // of the machine
	Mode    forest.Mode
	Root    TaskID // the root of the forest at the end
	Steps   []Step
}

// Step is one system call of a History. Which fields mean something depends on
// Kind. Tasks are named as the Kernel numbers them: HostInit, Outsider, then
// by birth.
type Step struct {
	Kind   Kind
	Actor  TaskID
	Target TaskID // the task acted upon
	Group  TaskID // Setpgid: the task that the group's object was made for
	Child  TaskID // Fork: the task made
	Flags  CloneFlags
	Number int32 // a signal, an exit code, a flag, a number
	SetTID []int32
	Maps   UserMaps
	IDs    IDs

	Errno Errno // with which it ended
}

// Kind is what a Step does.
type Kind uint8

// The kinds of steps. Several kinds that a generator tells apart may be one
// system call.
const (
	Fork           Kind = iota // clone3 of a process: Flags, Number as exit_signal
	ForkSignal                 // the same with an unusual exit_signal
	ForkParent                 // CLONE_PARENT
	ForkNamed                  // with set_tid
	ForkPID                    // CLONE_NEWPID
	ForkUser                   // CLONE_NEWPID and CLONE_NEWUSER
	ForkFail                   // fails late (rule 5)
	ForkThread                 // CLONE_THREAD
	ExitOne                    // exit(2), of any thread: Number
	ExitAll                    // exit_group(2): Number
	KillOne                    // kill(2) of Target by signal Number
	Reap                       // wait4 for Target
	NewSession                 // setsid(2)
	JoinGroup                  // setpgid(2) of itself into Group
	MoveChild                  // setpgid(2) of child Target into Group
	Reaper                     // PR_SET_CHILD_SUBREAPER: Number
	UnsharePID                 // unshare(CLONE_NEWPID)
	UnshareUser                // unshare(CLONE_NEWUSER)
	JoinPID                    // setns to the active pid namespace of Target
	JoinUser                   // setns to the user namespace of Target
	Enter                      // the Outsider forks into the namespace of Target
	Execve                     // execve(2)
	Stop                       // stop Target by signal Number
	Continue                   // SIGCONT to Target
	TellStop                   // wait4 with WUNTRACED for Target
	ParentDeath                // PR_SET_PDEATHSIG: Number
	IgnoreChildren             // what happens on SIGCHLD: Number, see IgnoreOff
	MapUsers                   // write Maps for Target
	ChangeIDs                  // setresuid and setresgid: IDs
	WriteCursor                // ns_last_pid: Number
	WriteMax                   // pid_max: Number
	DieInit                    // a fault, or reboot(2): Number

	nrKinds
)

var kindNames = [nrKinds]string{
	Fork: "fork", ForkSignal: "fork signal", ForkParent: "fork parent", ForkNamed: "fork named",
	ForkPID: "fork pid", ForkUser: "fork user", ForkFail: "fork fail", ForkThread: "thread",
	ExitOne: "exit", ExitAll: "exit_group", KillOne: "kill", Reap: "reap", NewSession: "setsid",
	JoinGroup: "setpgid self", MoveChild: "setpgid child", Reaper: "subreaper",
	UnsharePID: "unshare pid", UnshareUser: "unshare user", JoinPID: "setns pid", JoinUser: "setns user",
	Enter: "enter", Execve: "exec", Stop: "stop", Continue: "continue", TellStop: "wait stopped",
	ParentDeath: "pdeath_signal", IgnoreChildren: "ignore SIGCHLD", MapUsers: "id maps", ChangeIDs: "ids",
	WriteCursor: "ns_last_pid", WriteMax: "pid_max", DieInit: "init dies",
}

// String is a word or two, empty for a number that is no kind.
func (k Kind) String() string {
	if k >= nrKinds {
		return ""
	}
	return kindNames[k]
}

// What IgnoreChildren sets.
const (
	IgnoreOff    = 0 // SIG_DFL
	IgnoreOn     = 1 // SIG_IGN
	IgnoreNoWait = 2 // SIG_DFL with SA_NOCLDWAIT
)

// Kinds is a set of Kind.
type Kinds uint64

// Of is the set of the given kinds.
func Of(kinds ...Kind) Kinds {
	var s Kinds
	for _, k := range kinds {
		s |= 1 << k
	}
	return s
}

// Has reports whether k is in the set.
func (s Kinds) Has(k Kind) bool { return s>>k&1 != 0 }

// Sets of kinds, from those that need little of a planner to all.
var (
	// Basic: processes, threads, sessions, groups, ends and nested
	// namespaces.
	Basic = Of(Fork, ForkThread, ExitOne, ExitAll, KillOne, Reap, NewSession, JoinGroup, MoveChild, ForkPID)
	// Adopting adds what decides who adopts.
	Adopting = Basic | Of(Reaper, ForkParent, ForkSignal)
	// Entering adds setns and unshare.
	Entering = Adopting | Of(UnsharePID, JoinPID, ForkFail, ForkNamed)
	// Stopping adds stops, exec, and signals of a parent's death.
	Stopping = Adopting | Of(Stop, Continue, TellStop, Execve, ParentDeath, IgnoreChildren)
	// Owning adds user namespaces and ids.
	Owning = Adopting | Of(ForkUser, UnshareUser, JoinUser, MapUsers, ChangeIDs)
	// All kinds.
	All = Kinds(1<<nrKinds - 1)
)

// Apply makes step s on k and notes its result in s.
func (k *Kernel) Apply(s *Step) Errno {
	s.Errno = k.apply(s)
	return s.Errno
}

func (k *Kernel) apply(s *Step) (errno Errno) {
	switch s.Kind {
	case Fork, ForkSignal, ForkParent, ForkNamed, ForkPID, ForkUser, ForkFail, ForkThread, Enter:
		s.Child, errno = k.Clone(s.Actor, CloneArgs{
			Flags: s.Flags, SetTID: s.SetTID, ExitSignal: s.Number, FailLate: s.Kind == ForkFail,
		})
	case ExitOne:
		errno = k.ExitThread(s.Actor, s.Number)
	case ExitAll:
		errno = k.ExitGroup(s.Actor, s.Number)
	case KillOne, Stop, Continue:
		errno = k.Kill(s.Actor, s.Target, s.Number)
	case Reap:
		_, errno = k.Wait(s.Actor, s.Target)
	case NewSession:
		errno = k.Setsid(s.Actor)
	case JoinGroup, MoveChild:
		errno = k.Setpgid(s.Actor, k.number(s.Actor, s.Target, (*task).current), k.number(s.Actor, s.Group, (*task).born))
	case Reaper:
		errno = k.SetSubreaper(s.Actor, s.Number != 0)
	case UnsharePID:
		errno = k.Unshare(s.Actor, NewPID)
	case UnshareUser:
		errno = k.Unshare(s.Actor, NewUser)
	case JoinPID:
		errno = k.Setns(s.Actor, s.Target)
	case JoinUser:
		errno = k.SetnsUser(s.Actor, s.Target)
	case Execve:
		errno = k.Exec(s.Actor)
	case TellStop:
		_, errno = k.WaitStopped(s.Actor, s.Target)
	case ParentDeath:
		errno = k.SetPdeath(s.Actor, s.Number)
	case IgnoreChildren:
		if errno = k.Ignore(s.Actor, sigChld, s.Number == IgnoreOn); errno == 0 {
			errno = k.SetNoChildWait(s.Actor, s.Number == IgnoreNoWait)
		}
	case MapUsers:
		errno = k.WriteMaps(s.Actor, s.Target, s.Maps)
	case ChangeIDs:
		errno = k.SetIDs(s.Actor, s.IDs)
	case WriteCursor:
		errno = k.SetLastPid(s.Actor, s.Number)
	case WriteMax:
		errno = k.SetPidMax(s.Actor, s.Number)
	case DieInit:
		errno = k.Die(s.Actor, s.Number)
	default:
		errno = k.fail(EINVAL, "there is no step of kind %d", s.Kind)
	}
	return errno
}

// number is what actor calls an object of target: 0 for no target, a number
// that nobody has if it does not see it.
func (k *Kernel) number(actor, target TaskID, object func(*task) *pid) int32 {
	a, t := k.task(actor), k.task(target)
	if a == nil || t == nil {
		return 0
	}
	if nr := object(t).numberIn(a.pid.ns); nr != 0 {
		return nr
	}
	return pidMaxDefault
}

// The object that a task has now, and the one that was made for it: exec gives
// a thread its leader's (rule 12).
func (t *task) current() *pid { return t.pid }
func (t *task) born() *pid    { return t.bornPid }

// Replay makes the steps on a new machine. It fails if one ends otherwise than
// the history says.
func (h *History) Replay() (*Kernel, error) {
	k := NewVersion(h.Version)
	for i := range h.Steps {
		s := h.Steps[i]
		if errno := k.Apply(&s); errno != h.Steps[i].Errno || s.Child != h.Steps[i].Child {
			return nil, fmt.Errorf("step %d, %s: %v (%s) in the replay", i, h.Steps[i].String(), errno, k.Why())
		}
	}
	return k, nil
}

// First is the first task that the history makes: its root at the beginning.
func (h *History) First() TaskID {
	for i := range h.Steps {
		if child := h.Steps[i].Child; child != 0 {
			return child
		}
	}
	return 0
}

// String is the history as a script, one call a line.
func (h *History) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s, root t%d; t%d is the machine's init, t%d a task outside\n", h.Mode, h.Root, HostInit, Outsider)
	for i := range h.Steps {
		b.WriteString(h.Steps[i].String())
		b.WriteByte('\n')
	}
	return b.String()
}

func (s *Step) String() string {
	call := fmt.Sprintf("t%d: %s", s.Actor, s.call())
	switch {
	case s.Errno != 0:
		return call + " = " + s.Errno.String()
	case s.Child != 0:
		return fmt.Sprintf("%s = t%d", call, s.Child)
	}
	return call
}

func (s *Step) call() string {
	switch s.Kind {
	case Fork, ForkSignal, ForkParent, ForkNamed, ForkPID, ForkUser, ForkFail, ForkThread, Enter:
		return s.clone()
	case ExitOne:
		return fmt.Sprintf("exit(%d)", s.Number)
	case ExitAll:
		return fmt.Sprintf("exit_group(%d)", s.Number)
	case KillOne, Stop, Continue:
		return fmt.Sprintf("kill(t%d, %d)", s.Target, s.Number)
	case Reap:
		return fmt.Sprintf("wait(t%d)", s.Target)
	case NewSession:
		return "setsid()"
	case JoinGroup, MoveChild:
		return fmt.Sprintf("setpgid(%s, %s)", taskOr0(s.Target), taskOr0(s.Group))
	case Reaper:
		return fmt.Sprintf("prctl(CHILD_SUBREAPER, %d)", s.Number)
	case UnsharePID:
		return "unshare(NEWPID)"
	case UnshareUser:
		return "unshare(NEWUSER)"
	case JoinPID:
		return fmt.Sprintf("setns(pid of t%d)", s.Target)
	case JoinUser:
		return fmt.Sprintf("setns(user of t%d)", s.Target)
	case Execve:
		return "execve()"
	case TellStop:
		return fmt.Sprintf("wait(t%d, WUNTRACED)", s.Target)
	case ParentDeath:
		return fmt.Sprintf("prctl(PDEATHSIG, %d)", s.Number)
	case IgnoreChildren:
		return fmt.Sprintf("sigaction(CHLD, %s)", [...]string{"DFL", "IGN", "NOCLDWAIT"}[s.Number%3])
	case MapUsers:
		return fmt.Sprintf("write maps of t%d: uid %v, gid %v", s.Target, s.Maps.UID, s.Maps.GID)
	case ChangeIDs:
		if o := s.IDs.Other; o != nil {
			return fmt.Sprintf("setresuid(%d, %d, %d), setfsuid(%d), setresgid(%d, %d, %d), setfsgid(%d)",
				s.IDs.UID, s.IDs.EUID, o.SUID, o.FSUID, s.IDs.GID, s.IDs.EGID, o.SGID, o.FSGID)
		}
		return fmt.Sprintf("setresuid(%d, %d), setresgid(%d, %d)", s.IDs.UID, s.IDs.EUID, s.IDs.GID, s.IDs.EGID)
	case WriteCursor:
		return fmt.Sprintf("ns_last_pid = %d", s.Number)
	case WriteMax:
		return fmt.Sprintf("pid_max = %d", s.Number)
	case DieInit:
		return fmt.Sprintf("die(%d)", s.Number)
	}
	return fmt.Sprintf("step of kind %d", s.Kind)
}

func (s *Step) clone() string {
	var args []string
	for _, f := range [...]struct {
		flag CloneFlags
		name string
	}{{NewPID, "NEWPID"}, {NewUser, "NEWUSER"}, {Parent, "PARENT"}, {Thread, "THREAD"}} {
		if s.Flags&f.flag != 0 {
			args = append(args, f.name)
		}
	}
	if s.Flags&(Parent|Thread) == 0 && s.Number != forest.SIGCHLD {
		args = append(args, fmt.Sprintf("exit_signal %d", s.Number))
	}
	if s.SetTID != nil {
		args = append(args, fmt.Sprintf("set_tid %v", s.SetTID))
	}
	if s.Kind == ForkFail {
		args = append(args, "failing late")
	}
	return "clone(" + strings.Join(args, ", ") + ")"
}

func taskOr0(id TaskID) string {
	if id == 0 {
		return "0"
	}
	return fmt.Sprintf("t%d", id)
}
