// SPDX-License-Identifier: Apache-2.0

package forest

import "strings"

// carriers finds the task of each pid object: what the later checks go by.
func (v *validator) carriers() *Invalid {
	f := v.f
	v.taskOf = taskOf(f)
	for i := range f.Tasks {
		tag := f.Tasks[i].Pid
		if f.Pid(tag) == nil {
			return v.task(RuleTags, i, "its pid is %v, and there are %d objects", tag, len(f.Pids))
		}
		if other := int(v.taskOf[tag-1]); other != i {
			return v.task(RuleOnePid, i, "its pid is also that of the task with index %d", other)
		}
	}
	return nil
}

// tasks checks each task by itself and against its leader.
func (v *validator) tasks() *Invalid {
	f := v.f
	if r := f.Root(); r.Pid != 1 || !r.IsLeader() || f.Pids[0].Namespace != 0 {
		return v.task(RuleRoot, 0, "its pid is %v, its tgid %v, its namespace index %d", r.Pid, r.TGID, f.Pids[0].Namespace)
	}
	if f.Mode == Container && f.Pids[0].Number() != 1 {
		return v.task(RuleRoot, 0, "the root of a container is number %d", f.Pids[0].Number())
	}
	v.hasThreads = make([]bool, len(f.Tasks))
	for i := range f.Tasks {
		if !f.Tasks[i].IsLeader() {
			if e := v.thread(i); e != nil {
				return e
			}
		}
	}
	checks := []func(int) *Invalid{v.attributes, v.state, v.ids, v.parent, v.childNamespace}
	for i := range f.Tasks {
		for _, check := range checks {
			if e := check(i); e != nil {
				return e
			}
		}
	}
	return nil
}

// leader is the index of the leader of task i, whose tgid names an object, or
// None if that leads no process.
func (v *validator) leader(i int) int {
	l := int(v.taskOf[v.f.Tasks[i].TGID-1])
	if l == None || !v.f.Tasks[l].IsLeader() {
		return None
	}
	return l
}

// thread checks a task that is not its process's leader.
func (v *validator) thread(i int) *Invalid {
	f := v.f
	t := &f.Tasks[i]
	if f.Pid(t.TGID) == nil {
		return v.task(RuleTags, i, "its tgid is %v, and there are %d objects", t.TGID, len(f.Pids))
	}
	l := v.leader(i)
	if l == None {
		return v.task(RuleGhostTGID, i, "its tgid is %s, which leads no process", f.TagName(t.TGID))
	}
	v.hasThreads[l] = true
	lt := &f.Tasks[l]
	for _, c := range []struct {
		same bool
		what string
	}{
		{t.PGID == lt.PGID, "process group"},
		{t.SID == lt.SID, "session"},
		{t.Parent == lt.Parent && t.ParentThread == lt.ParentThread, "parent"},
		{t.Subreaper == lt.Subreaper, "subreaper flag"},
		{t.GroupExit == lt.GroupExit && t.GroupExitCode == lt.GroupExitCode, "group exit code"},
		{t.UserNamespace == lt.UserNamespace, "user namespace"},
		{f.Pids[t.Pid-1].Namespace == f.Pids[lt.Pid-1].Namespace, "pid namespace"},
	} {
		if !c.same {
			return v.task(RuleThread, i, "its %s is not that of its leader %s", c.what, f.TagName(t.TGID))
		}
	}
	return nil
}

func (v *validator) attributes(i int) *Invalid {
	t := &v.f.Tasks[i]
	switch {
	case len(t.Comm) > MaxComm || strings.IndexByte(t.Comm, 0) >= 0:
		return v.task(RuleComm, i, "its name has %d bytes or holds a NUL", len(t.Comm))
	case t.IsLeader() && (t.ExitSignal < 0 || t.ExitSignal > MaxSignal):
		return v.task(RuleSignals, i, "its exit signal is %d", t.ExitSignal)
	case !t.IsLeader() && t.ExitSignal != ExitSignalThread:
		return v.task(RuleSignals, i, "it is a thread with exit signal %d", t.ExitSignal)
	case t.PdeathSignal < 0 || t.PdeathSignal > MaxSignal:
		return v.task(RuleSignals, i, "its parent-death signal is %d", t.PdeathSignal)
	case t.UserNamespace < 0 || t.UserNamespace >= len(v.f.UserNamespaces):
		return v.task(RuleUserTree, i, "its user namespace, index %d, is not in the forest", t.UserNamespace)
	case t.UID == InvalidID || t.EUID == InvalidID || t.GID == InvalidID || t.EGID == InvalidID:
		return v.task(RuleIDs, i, "its ids are uid %d and %d, gid %d and %d", t.UID, t.EUID, t.GID, t.EGID)
	}
	return nil
}

// state checks what the task does, and the statuses of what ended.
func (v *validator) state(i int) *Invalid {
	t := &v.f.Tasks[i]
	init := t.IsLeader() && v.f.Pids[t.Pid-1].Number() == 1
	if !t.IsLeader() {
		init = v.f.Pids[t.TGID-1].Number() == 1
	}
	switch {
	case t.State > ExitingInit:
		return v.task(RuleState, i, "state %d is unknown", t.State)
	case t.State != Stopped && (t.StopSignal != 0 || t.StopReported):
		return v.task(RuleState, i, "it is %v and has stop signal %d, reported: %t", t.State, t.StopSignal, t.StopReported)
	case t.State == Stopped && (t.StopSignal < sigSTOP || t.StopSignal > sigTTOU):
		return v.task(RuleStop, i, "it was stopped by signal %d", t.StopSignal)
	case t.State == Stopped && init && t.StopSignal != sigSTOP:
		return v.task(RuleStop, i, "it is an init that was stopped by signal %d", t.StopSignal)
	case t.State.Exited() && !t.IsLeader():
		return v.task(RuleThreadExit, i, "it is a thread and a %v", t.State)
	case t.State == Zombie && v.hasThreads[i]:
		return v.task(RuleThreadExit, i, "it is a zombie, and its process has other threads")
	case t.State == DeadLeader && !v.hasThreads[i]:
		return v.task(RuleThreadExit, i, "it is a dead leader, and its process has no other thread")
	case !t.State.Exited() && t.State != ExitingInit:
		return nil
	}
	if !possibleStatus(t.ExitCode) {
		return v.task(RuleStatus, i, "its exit code is %#x", t.ExitCode)
	}
	if t.GroupExit && !possibleStatus(t.GroupExitCode) {
		return v.task(RuleStatus, i, "its process's exit code is %#x", t.GroupExitCode)
	}
	if s := t.WaitStatus(); init && t.State != DeadLeader && !possibleInitStatus(s) {
		return v.task(RuleInitStatus, i, "it is an init that ended with status %#x", s)
	}
	return nil
}

// Signals by their numbers on amd64 and arm64.
const (
	sigHUP  = 1
	sigINT  = 2
	sigKILL = 9
	sigSTOP = 19
	sigTTOU = 22
)

// signalSet is a set of signals 0 to 63.
type signalSet uint64

func signals(of ...uint) signalSet {
	var s signalSet
	for _, sig := range of {
		s |= 1 << sig
	}
	return s
}

func (s signalSet) has(sig int32) bool { return sig < 64 && s>>uint(sig)&1 != 0 }

var (
	// harmless never end a process: CHLD, CONT, URG and WINCH are ignored,
	// STOP, TSTP, TTIN and TTOU stop (include/linux/signal.h).
	harmless = signals(17, 18, 19, 20, 21, 22, 23, 28)
	// dumping are those that dump core (SIG_KERNEL_COREDUMP_MASK): QUIT,
	// ILL, TRAP, ABRT, BUS, FPE, SEGV, XCPU, XFSZ, SYS.
	dumping = signals(3, 4, 5, 6, 7, 8, 11, 24, 25, 31)
	// faults are those that the kernel forces on a task for what it did
	// (force_sig_fault, kernel/signal.c): ILL, TRAP, BUS, FPE, SEGV, SYS.
	faults = signals(4, 5, 7, 8, 11, 31)
)

const coreBit = 0x80

// possibleStatus reports whether wait can return status for an end: code << 8,
// or a signal that kills, with the core bit if it dumped.
func possibleStatus(status int32) bool {
	sig := status & 0x7f
	switch {
	case status&^0xffff != 0:
		return false
	case sig == 0:
		return status&coreBit == 0
	case sig > MaxSignal || status>>8 != 0 || harmless.has(sig):
		return false
	}
	return status&coreBit == 0 || dumping.has(sig)
}

// possibleInitStatus reports whether a namespace's init can have ended so, if
// possibleStatus allows it: a reboot(2) inside is told from above as HUP or INT
// (reboot_pid_ns, kernel/pid_namespace.c).
func possibleInitStatus(status int32) bool {
	sig := status & 0x7f
	return sig == 0 || sig == sigKILL || sig == sigHUP || sig == sigINT || faults.has(sig)
}

// ids checks that group and session name what they may.
func (v *validator) ids(i int) *Invalid {
	f := v.f
	t, root := &f.Tasks[i], f.Root()
	for _, id := range []struct {
		tag  Tag
		what string
	}{{t.PGID, "process group"}, {t.SID, "session"}} {
		switch {
		case f.Pid(id.tag) != nil || id.tag == Null || id.tag == Inherited:
		case id.tag != Outside:
			return v.task(RuleTags, i, "its %s is %v, and there are %d objects", id.what, id.tag, len(f.Pids))
		case f.Mode != Subtree:
			return v.task(RuleOutside, i, "its %s is led from outside the container", id.what)
		}
	}
	switch {
	case t.SID == Inherited && root.SID != Inherited:
		return v.task(RuleInherited, i, "its session is inherited, and the root's is %s", f.TagName(root.SID))
	case t.PGID == Inherited && root.PGID != Inherited && root.SID != Inherited:
		return v.task(RuleInherited, i, "its group is inherited, and the root's is %s", f.TagName(root.PGID))
	case i == 0 && f.Mode == Container && t.SID.IsPid() && t.SID != t.Pid:
		return v.task(RuleSession, i, "the root of a container is in session %s, whose leader must be its ancestor", f.TagName(t.SID))
	case t.SID.IsPid() && !f.Encloses(f.Pid(t.SID).Namespace, f.Pid(t.Pid).Namespace):
		return v.task(RuleAbove, i, "its session %s lives elsewhere", f.TagName(t.SID))
	}
	return nil
}

// parent checks that the parent is one; order checks that there are no cycles.
func (v *validator) parent(i int) *Invalid {
	f := v.f
	t := &f.Tasks[i]
	if t.Parent == Outside || t.TGID == f.Root().TGID {
		switch {
		case t.Parent != Outside || t.ParentThread != Outside:
			return v.task(RuleOutside, i, "its parent is %v, thread %v: either both are outside or none, and the root's are", t.Parent, t.ParentThread)
		case f.Mode == Subtree && t.TGID != f.Root().TGID:
			return v.task(RuleOutside, i, "its parent is outside the subtree")
		}
		return nil
	}
	if f.Pid(t.Parent) == nil || f.Pid(t.ParentThread) == nil {
		return v.task(RuleTags, i, "its parent is %v, thread %v, and there are %d objects", t.Parent, t.ParentThread, len(f.Pids))
	}
	p := int(v.taskOf[t.ParentThread-1])
	if p == None || f.Tasks[p].TGID != t.Parent {
		return v.task(RuleParent, i, "its parent %s has no thread %s", f.TagName(t.Parent), f.TagName(t.ParentThread))
	}
	if f.Tasks[p].State.Exited() {
		return v.task(RuleParent, i, "its parent thread %s is a %v", f.TagName(t.ParentThread), f.Tasks[p].State)
	}
	own, above := f.Pids[t.Pid-1].Namespace, f.Pids[t.ParentThread-1].Namespace
	if !f.Encloses(above, own) {
		return v.task(RuleAbove, i, "its parent %s lives elsewhere", f.TagName(t.Parent))
	}
	if above == own && t.IsLeader() && f.Pids[t.Pid-1].Number() == 1 {
		return v.task(RuleInit, i, "it is an init, and its parent %s lives in the same namespace", f.TagName(t.Parent))
	}
	return nil
}

func (v *validator) childNamespace(i int) *Invalid {
	f := v.f
	t := &f.Tasks[i]
	if t.ChildNamespace == SameNamespace {
		return nil
	}
	own := f.Pids[t.Pid-1].Namespace
	switch ns := t.ChildNamespace; {
	case ns < 0 || ns >= len(f.Namespaces):
		return v.task(RuleChildNS, i, "the namespace of its children, index %d, is not in the forest", ns)
	case t.State.Exited() || t.State == ExitingInit:
		return v.task(RuleChildNS, i, "it is a %v and has a namespace for children", t.State)
	case ns == own || !f.Encloses(own, ns):
		return v.task(RuleChildNS, i, "the namespace of its children, index %d, is not below its own, index %d", ns, own)
	}
	return nil
}
