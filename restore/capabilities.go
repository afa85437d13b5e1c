// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/internal/privilege"
	"github.com/pidgraft/pidgraft/restore/plan"
)

// need is a capability without which a plan fails, and what for.
type need struct {
	capability privilege.Capability
	reason     string
}

// needs are the capabilities, in the initial user namespace, that carrying out
// p takes; no others. docs/capabilities.md has the kernel function that asks
// for each. The stub runs as root, so a caller who is not takes more.
func needs(f *forest.Forest, p *plan.Plan, opts Options) []need {
	list := []need{
		{unix.CAP_SYS_ADMIN, "it makes pid namespaces and chooses numbers in them"},
		{unix.CAP_SETGID, "it drops the supplementary groups of the caller"},
	}
	add := func(c privilege.Capability, reason string) {
		if !slices.ContainsFunc(list, func(n need) bool { return n.capability == c }) {
			list = append(list, need{c, reason})
		}
	}
	if !isRoot() {
		add(unix.CAP_SETUID, "restored tasks are root's, and the caller is not root")
		if !opts.Detach {
			add(unix.CAP_KILL, "it passes signals on to the restored root, which is not the caller's")
		}
	}
	if inPlace(p) {
		// The stub makes the cgroup, as root; what it cannot remove, the caller does.
		if dir, err := ownCgroup(); err == nil && !(isRoot() && isRoots(dir)) {
			add(unix.CAP_DAC_OVERRIDE, "it makes a cgroup, and removes it, in one that is not the caller's to write")
		}
	}
	if p.Root != plan.Init {
		addLookUp(add, "it looks up the number of the root, which no restored task tells")
	}
	for i := range p.Births {
		needsOf(f, p, plan.Restorer, &p.Births[i], add)
	}
	for a := range p.Actors {
		for i := range p.Actors[a].Ops {
			needsOf(f, p, a, &p.Actors[a].Ops[i], add)
		}
	}
	if reboots(f, p) {
		add(unix.CAP_SYS_BOOT, "an init of the image ended by reboot(2) in its namespace")
	}
	for i := range f.Tasks {
		if t := &f.Tasks[i]; opts.Exec != "" && t.UID|t.EUID|t.GID|t.EGID != 0 {
			add(unix.CAP_SETUID, "programs run as the user of the image")
			if !opts.Detach {
				add(unix.CAP_KILL, "it passes signals on to a program of another user")
			}
		}
	}
	// whoever may write what is root's may read it
	if slices.ContainsFunc(list, func(n need) bool { return n.capability == unix.CAP_DAC_OVERRIDE }) {
		list = slices.DeleteFunc(list, func(n need) bool { return n.capability == unix.CAP_DAC_READ_SEARCH })
	}
	return list
}

// needsOf adds those of one operation of actor a.
func needsOf(f *forest.Forest, p *plan.Plan, a int, op *plan.Op, add func(privilege.Capability, string)) {
	const owners = "the image has user namespaces that are not root's"
	switch op.Code {
	case plan.SetIDs:
		add(unix.CAP_SETUID, "zombies have the user of the image")
		if op.Number == 1 {
			add(unix.CAP_SETPCAP, "tasks have ids that need rights which others of them take away")
		}
	case plan.Clone, plan.UnshareUser:
		if op.UID|op.GID != 0 {
			add(unix.CAP_SETUID, owners)
			add(unix.CAP_SETPCAP, owners)
		}
	case plan.JoinPID, plan.JoinUser:
		if int(op.Via) != a && !kept(p, op) {
			add(unix.CAP_SYS_PTRACE, "tasks enter namespaces of others")
		}
	case plan.Kill:
		if a == plan.Restorer {
			addLookUp(add, "it looks up the number of a task that it ends")
		}
		if a == plan.Restorer && !isRoot() || op.Child >= 0 && changesIDs(&p.Actors[op.Child]) {
			add(unix.CAP_KILL, "a task of another user is ended by a signal")
		}
	case plan.WriteMaps:
		if op.Child != plan.Init {
			addLookUp(add, "it looks up the number of the first task of a user namespace")
		}
		if u := &f.UserNamespaces[op.Number]; u.Parent == 0 {
			needsOfMaps(u, add)
		} else { // from inside, where all others are held
			add(unix.CAP_SYS_PTRACE, "it looks up the user namespace around another")
		}
	}
}

// needsOfMaps adds what writing the id maps of u takes (new_idmap_permitted and
// verify_root_map, kernel/user_namespace.c).
func needsOfMaps(u *forest.UserNamespace, add func(privilege.Capability, string)) {
	// anybody may give a namespace of his own his own uid
	one := len(u.UIDMap) == 1 && u.UIDMap[0].Count == 1
	if !one || u.UIDMap[0].Parent != u.OwnerUID || u.OwnerUID != 0 {
		add(unix.CAP_SETUID, "it writes the id maps of user namespaces")
	}
	if !isRoot() {
		add(unix.CAP_DAC_OVERRIDE, "it writes the id maps of user namespaces, whose files are root's")
	}
	// since 5.12: members can write file capabilities for uid 0
	if slices.ContainsFunc(u.UIDMap, func(e forest.Extent) bool { return e.Parent == 0 && e.Count > 0 }) {
		add(unix.CAP_SETFCAP, "a user namespace of the image has the machine's uid 0 in it")
	}
}

// reboots reports whether an init of a namespace that the initial user
// namespace owns ends by reboot(2).
func reboots(f *forest.Forest, p *plan.Plan) bool {
	inits := make(map[int32]bool)
	for a := range p.Actors {
		for i := range p.Actors[a].Ops {
			if op := &p.Actors[a].Ops[i]; op.Code == plan.Clone && op.Flags&(plan.NewPID|plan.NewUser) == plan.NewPID {
				inits[op.Child] = true
			}
		}
	}
	for a := range inits {
		x := &p.Actors[a]
		owned := x.Task >= 0 && f.Namespaces[f.Pid(f.Tasks[x.Task].Pid).Namespace].Owner != 0
		if last := &x.Ops[len(x.Ops)-1]; !owned && last.Code == plan.Die && (last.Signal == int32(unix.SIGHUP) || last.Signal == int32(unix.SIGINT)) {
			return true
		}
	}
	return false
}

// kept reports whether a join finds what its namespaces' owner kept: it waits for
// that. What does not may find the pidfd alone, by which only those may enter who
// could trace (validate_nsset, kernel/nsproxy.c).
func kept(p *plan.Plan, join *plan.Op) bool {
	return slices.ContainsFunc(join.After, func(r plan.Ref) bool {
		return r.Actor == join.Via && p.Actors[r.Actor].Ops[r.Op].Code == plan.Keep
	})
}

func changesIDs(a *plan.Actor) bool {
	return slices.ContainsFunc(a.Ops, func(op plan.Op) bool { return op.Code == plan.SetIDs })
}

// addLookUp adds what it takes to look at the pidfds of the coordinator, which is
// not dumpable, in /proc: permission to trace it, or, before 5.14, to read what
// is root's.
func addLookUp(add func(privilege.Capability, string), reason string) {
	switch {
	case !fdinfoIsRoots():
		add(unix.CAP_SYS_PTRACE, reason)
	case !isRoot():
		add(unix.CAP_DAC_READ_SEARCH, reason)
	}
}

// fdinfoIsRoots: before 5.14 (7bc3fa0172a4) only the owner may read in /proc's
// fdinfo, who is root for what is not dumpable.
func fdinfoIsRoots() bool {
	info, err := os.Stat("/proc/self/fdinfo")
	return err == nil && info.Mode().Perm()&0o001 == 0
}

// isRoot reports whether processes that this one starts are root's.
func isRoot() bool {
	return os.Getuid()|os.Geteuid()|os.Getgid()|os.Getegid() == 0
}

// checkCapabilities names those of a plan's that are not held.
func checkCapabilities(list []need) error {
	held := privilege.Effective()
	var missing, reasons []string
	for _, n := range list {
		if held.Has(n.capability) {
			continue
		}
		missing = append(missing, n.capability.String())
		if !slices.Contains(reasons, n.reason) {
			reasons = append(reasons, n.reason)
		}
	}
	if missing == nil {
		return nil
	}
	return &CannotRunError{strings.Join(missing, ", "), strings.Join(reasons, "; ") + ": run as root, or give it"}
}
