// SPDX-License-Identifier: Apache-2.0

package forest

import "fmt"

// Limits of the kernel that bound every forest.
const (
	// MaxNumber is the highest number a pid object can have
	// (PID_MAX_LIMIT - 1, include/linux/threads.h).
	MaxNumber = 1<<22 - 1
	// MaxComm is how many bytes a task's name has (TASK_COMM_LEN - 1).
	MaxComm = 15
	// MaxSignal is the highest signal (_NSIG; amd64 and arm64).
	MaxSignal = 64
	// MaxExtents is how many lines an id map has
	// (UID_GID_MAP_MAX_EXTENTS, include/linux/user_namespace.h).
	MaxExtents = 340
	// MaxUserLevel is how deep user namespaces nest below the initial one:
	// a parent may be at level 32 (create_user_ns,
	// kernel/user_namespace.c).
	MaxUserLevel = 33
	// MinPidMax is the lowest pid_max (RESERVED_PIDS + 1, kernel/pid.c).
	MinPidMax = 301
)

// InvalidID is the uid and gid that is none (INVALID_UID, include/linux/uidgid.h).
const InvalidID = 1<<32 - 1

// Rule is a rule that every forest obeys, in words. The numbers are those of
// the project's kernel rules.
type Rule string

const (
	RuleShape      Rule = "a forest has a root task, its pid object and namespace, and the initial user namespace"
	RuleUserTree   Rule = "user namespaces form a tree, parents first, 33 levels below the initial one"
	RuleIDMap      Rule = "an id map has at most 340 lines that do not overlap or overflow and stand for ids that the parent has (map_write)"
	RuleIDs        Rule = "uids and gids are ids of the initial user namespace, and -1 is none"
	RuleExitIDs    Rule = "saved and file-system ids are listed of exited tasks, by tag, where one is not the effective id"
	RuleTree       Rule = "pid namespaces form a tree, parents first, levels 0 to 32 (kernel-rules 2)"
	RuleOwner      Rule = "a pid namespace's owner is its parent's owner or below that (create_pid_namespace)"
	RuleCursor     Rule = "an id cursor is at most 4194305, a namespace's pid_max 301 to 4194304 or not known (kernel-rules 3, 4)"
	RuleNumbers    Rule = "a pid object has one number, 1 to 4194303, at each level down to its own namespace"
	RuleTwice      Rule = "no number is there twice in one namespace"
	RuleInit       Rule = "only a namespace's init is its number 1, and it leads its process"
	RuleTags       Rule = "tags name objects of the forest; pid and tgid are never special"
	RuleOnePid     Rule = "no two tasks have one pid object"
	RuleGhostTGID  Rule = "a tgid is the pid of a task: groups and sessions may be ghosts, thread groups never (kernel-rules 12)"
	RuleThread     Rule = "threads of a process share its group, session, parent, subreaper flag, group exit and namespaces"
	RuleThreadExit Rule = "only a thread-group leader stays after its end: a zombie when no thread is left, a dead leader until then"
	RuleRoot       Rule = "the root is a process with tag 1 in the root namespace; a container's is number 1 there"
	RuleParent     Rule = "a parent is a live thread of a process of the forest (kernel-rules 13)"
	RuleOutside    Rule = "from outside: parents of a container's root and entrants, parents of a subtree's root, groups and sessions of a subtree"
	RuleInherited  Rule = "a session or group is the root's by inheritance only if the root has it"
	RuleOrder      Rule = "tasks are in tree order: a task, its children each with what is below, its next thread; then entrants by number"
	RuleAbove      Rule = "a parent, and a session, live in the task's namespace or an ancestor of it (kernel-rules 8)"
	RuleSession    Rule = "a task whose number is a session's leads that session and the group of the same number (kernel-rules 10)"
	RuleGroup      Rule = "a group is led by a process, and all its members are in one session: that of the task or session with its number (kernel-rules 11)"
	RuleAlive      Rule = "a namespace that has tasks has an init that reaps; one that is being torn down, an init that waits (kernel-rules 5)"
	RuleEmpty      Rule = "nothing lives in a namespace that never had an init, and after an init's end nothing but its own number (kernel-rules 5, 23)"
	RuleState      Rule = "a task's state is one of those known, with the signal of a stop if and only if it is stopped"
	RuleStop       Rule = "a stop is by SIGSTOP, SIGTSTP, SIGTTIN or SIGTTOU; an init's only by SIGSTOP from above (kernel-rules 20)"
	RuleSignals    Rule = "a process's exit signal is 0 to 64, a thread's -1, a parent-death signal 0 to 64 (kernel-rules 15)"
	RuleStatus     Rule = "a wait status is an exit code, or a signal that kills, with the core bit only if it dumps (kernel-rules 19, 21)"
	RuleInitStatus Rule = "an init ends by exit, SIGKILL from above, a fault, or reboot(2) (kernel-rules 20)"
	RuleChildNS    Rule = "children are born in a namespace below the task's own, and only a live task can bear (kernel-rules 7)"
	RuleOrigin     Rule = "who bore a process is a process of the forest, one that departed before, or outside; nobody is their own ancestor; a session is changed only by leading one"
	RuleReference  Rule = "a reference is to an object or by a task of the forest, from a descriptor or a terminal; they are in order, each once"
	RuleComm       Rule = "a task's name is at most 15 bytes, none of them NUL"
)

// Invalid is why something is not a forest: what about which task, object or
// namespace, and against which rule.
type Invalid struct {
	Rule          Rule
	Task          int    // index in Forest.Tasks, or None
	Tag           Tag    // the pid object it is about, or 0
	Namespace     int    // index in Forest.Namespaces, or None
	UserNamespace int    // index in Forest.UserNamespaces, or None
	Subject       string // what it is about, in words
	Reason        string // what is wrong with it, in words
}

func (e *Invalid) Error() string {
	return fmt.Sprintf("impossible forest: %s: %s (rule: %s)", e.Subject, e.Reason, e.Rule)
}

// validator is the state of one Validate.
type validator struct {
	f      *Forest
	taskOf []int32 // as in Index
	inits  []int32 // as in Index

	hasThreads []bool  // by task: a leader with other threads
	seen       []int32 // by namespace: how many objects have a number in it
	exiting    []int32 // by namespace: the task that waits for its end, or None
}

// Validate says whether f can be: whether a kernel could have been in this
// state, as far as that can be told from the state alone and without deciding
// how it came to be (which is restore/plan's part). It returns the first thing
// that is wrong as an *Invalid, or nil.
//
// It takes time in proportion to the size of f (about 0.1 µs a task)
// and memory likewise (30 bytes), trusts nothing, and never panics.
func Validate(f *Forest) error {
	v := &validator{f: f}
	for _, check := range []func() *Invalid{
		v.shape, v.userNamespaces, v.namespaces, v.pids, v.twice,
		v.carriers, v.tasks, v.order, v.groups, v.states, v.exitIDs, v.references, v.origins,
	} {
		if e := check(); e != nil {
			return e
		}
	}
	return nil
}

func invalid(rule Rule, subject, format string, args ...any) *Invalid {
	return &Invalid{
		Rule: rule, Task: None, Namespace: None, UserNamespace: None,
		Subject: subject, Reason: fmt.Sprintf(format, args...),
	}
}

// task is an *Invalid about a task.
func (v *validator) task(rule Rule, task int, format string, args ...any) *Invalid {
	t := &v.f.Tasks[task]
	subject := fmt.Sprintf("task (%s), index %d", Escape(t.Comm), task)
	if v.f.Pid(t.Pid) != nil {
		subject = fmt.Sprintf("%s, index %d", v.f.TaskName(task), task)
	}
	e := invalid(rule, subject, format, args...)
	e.Task, e.Tag = task, t.Pid
	return e
}

// pid is an *Invalid about a pid object.
func (v *validator) pid(rule Rule, tag Tag, format string, args ...any) *Invalid {
	e := invalid(rule, fmt.Sprintf("pid object %v (%s)", tag, v.f.TagName(tag)), format, args...)
	e.Tag = tag
	return e
}

// namespace is an *Invalid about a pid namespace.
func (v *validator) namespace(rule Rule, ns int, format string, args ...any) *Invalid {
	n := &v.f.Namespaces[ns]
	subject := fmt.Sprintf("pid namespace, index %d, inode %d", ns, n.Inode)
	if ns < len(v.inits) && v.inits[ns] != 0 {
		subject = fmt.Sprintf("pid namespace of init %s, index %d", v.f.TagName(Tag(v.inits[ns])), ns)
	}
	e := invalid(rule, subject, format, args...)
	e.Namespace = ns
	return e
}

func (v *validator) shape() *Invalid {
	f := v.f
	reject := func(format string, args ...any) *Invalid {
		return invalid(RuleShape, "the forest", format, args...)
	}
	switch {
	case f.Mode > Subtree:
		return reject("mode %d is unknown", f.Mode)
	case f.Cut.Method > Frozen:
		return reject("cut method %d is unknown", f.Cut.Method)
	case len(f.UserNamespaces) == 0:
		return reject("it has no user namespace")
	case len(f.Namespaces) == 0:
		return reject("it has no pid namespace")
	case len(f.Pids) == 0:
		return reject("it has no pid object")
	case len(f.Pids) > MaxNumber:
		return reject("%d pid objects are more than one namespace can hold", len(f.Pids))
	case len(f.Tasks) == 0:
		return reject("it has no task")
	}
	return nil
}

// namespaces checks the tree of pid namespaces; what lives in them comes later.
func (v *validator) namespaces() *Invalid {
	ns := v.f.Namespaces
	for i := range ns {
		n := &ns[i]
		switch {
		case n.State > Spoilt:
			return v.namespace(RuleShape, i, "state %d is unknown", n.State)
		case n.Owner < 0 || n.Owner >= len(v.f.UserNamespaces):
			return v.namespace(RuleOwner, i, "its owner, user namespace %d, is not in the forest", n.Owner)
		case n.PidMax != 0 && (n.PidMax < MinPidMax || n.PidMax > MaxNumber+1):
			return v.namespace(RuleCursor, i, "its pid_max is %d", n.PidMax)
		case n.Cursor > MaxNumber+2: // pid_max may be written as ns_last_pid
			return v.namespace(RuleCursor, i, "its id cursor is %d", n.Cursor)
		}
		if i == 0 {
			if n.Parent != -1 || n.Level != 0 {
				return v.namespace(RuleTree, i, "the root namespace has parent %d and level %d, not -1 and 0", n.Parent, n.Level)
			}
			continue
		}
		switch {
		case n.Parent < 0 || n.Parent >= i:
			return v.namespace(RuleTree, i, "its parent, index %d, does not come before it", n.Parent)
		case n.Level != ns[n.Parent].Level+1:
			return v.namespace(RuleTree, i, "it is at level %d below a parent at level %d", n.Level, ns[n.Parent].Level)
		case n.Level > MaxDepth:
			return v.namespace(RuleTree, i, "it is at level %d", n.Level)
		case !v.owns(ns[n.Parent].Owner, n.Owner):
			return v.namespace(RuleOwner, i, "its owner, user namespace %d, is not below its parent's owner %d", n.Owner, ns[n.Parent].Owner)
		}
	}
	return nil
}

// owns reports whether user namespace outer is inner or one of its ancestors.
// It ends because parents come first, and soon because of MaxUserLevel.
func (v *validator) owns(outer, inner int) bool {
	for inner > outer {
		inner = v.f.UserNamespaces[inner].Parent
	}
	return inner == outer
}
