// SPDX-License-Identifier: Apache-2.0

package reenact

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/internal/testforest"
	"github.com/pidgraft/pidgraft/internal/witness"
	"github.com/pidgraft/pidgraft/restore/model"
)

// testimony says what /proc would show of f, which is the forest of root in k.
func testimony(k *model.Kernel, f *forest.Forest, root model.TaskID) *witness.Forest {
	w := &witness.Forest{Root: witness.Key(f.TagName(1)), Tasks: map[witness.Key]witness.Task{}}
	x := forest.NewIndex(f)
	order := make([]int, len(f.Tasks)) // by number
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return slices.Compare(f.Pid(f.Tasks[a].Pid).Numbers, f.Pid(f.Tasks[b].Pid).Numbers)
	})
	for i := range f.Tasks {
		t := &f.Tasks[i]
		own := f.Pid(t.Pid)
		out := witness.Task{
			witness.Process:    f.TagName(t.TGID),
			witness.Group:      numbersFor(f, t.PGID, own.Namespace),
			witness.Session:    numbersFor(f, t.SID, own.Namespace),
			witness.Parent:     f.TagName(t.Parent),
			witness.Children:   keys(f, x.Children(i)),
			witness.ExitSignal: strconv.Itoa(int(t.ExitSignal)),
			witness.Users:      users(f, order, t.UserNamespace),
			witness.Owner:      users(f, order, f.Namespaces[own.Namespace].Owner),
		}
		if t.IsLeader() {
			out[witness.Threads] = keys(f, x.Threads(i))
			addMaps(f, t, out)
		}
		addIDs(t, k.OtherIDs(k.Task(f, root, i)), out)
		addState(f, order, t, out)
		w.Tasks[witness.Key(f.TagName(t.Pid))] = out
	}
	return w
}

// addMaps adds what /proc shows of the user namespace to a reader in the
// initial one: the maps that pidgraft's model makes are the identity.
func addMaps(f *forest.Forest, t *forest.Task, out witness.Task) {
	u := &f.UserNamespaces[t.UserNamespace]
	out[witness.UIDMap], out[witness.GIDMap] = mapText(u.UIDMap), mapText(u.GIDMap)
	if t.UserNamespace == 0 {
		out[witness.UIDMap], out[witness.GIDMap] = "0 0 4294967295", "0 0 4294967295"
	}
	out[witness.Setgroups] = "deny"
	if u.Setgroups {
		out[witness.Setgroups] = "allow"
	}
}

func mapText(m []forest.Extent) string {
	var words []string
	for _, e := range m {
		words = append(words, fmt.Sprintf("%d %d %d", e.First, e.Parent, e.Count))
	}
	return strings.Join(words, " ")
}

func addIDs(t *forest.Task, other forest.OtherIDs, out witness.Task) {
	field := witness.LiveIDs
	if t.State.Exited() {
		field = witness.IDs
	}
	out[field] = fmt.Sprintf("uid %d\t%d\t%d\t%d gid %d\t%d\t%d\t%d",
		t.UID, t.EUID, other.SUID, other.FSUID, t.GID, t.EGID, other.SGID, other.FSGID)
}

func addState(f *forest.Forest, order []int, t *forest.Task, out witness.Task) {
	switch t.State {
	case forest.Zombie, forest.DeadLeader:
		out[witness.State], out[witness.OwnCode] = "zombie", strconv.Itoa(int(t.ExitCode))
		switch {
		case t.State == forest.DeadLeader:
		case showsStatus():
			out[witness.ExitCode] = strconv.Itoa(int(t.WaitStatus()))
		default:
			out[witness.ExitCode] = out[witness.OwnCode]
		}
		return
	case forest.Stopped:
		out[witness.State] = "stopped"
		if t.IsLeader() {
			out[witness.StopCode] = "0"
			if !t.StopReported && showsStatus() {
				out[witness.StopCode] = strconv.Itoa(int(t.StopSignal))
			}
		}
	default:
		out[witness.State] = "live"
	}
	out[witness.Born] = "own"
	switch {
	case t.State == forest.ExitingInit:
		out[witness.Born] = "empty"
	case t.ChildNamespace != forest.SameNamespace:
		out[witness.Born] = "dead"
		if s := f.Namespaces[t.ChildNamespace].State; s == forest.Empty || s == forest.Spoilt {
			out[witness.Born] = "empty"
		}
		for _, j := range order {
			if p := f.Pid(f.Tasks[j].Pid); p.Namespace == t.ChildNamespace {
				out[witness.Born] = p.String()
				break
			}
		}
	}
}

// numbersFor are the numbers of a group or session in namespace ns and those
// above it, 0 where it has none.
func numbersFor(f *forest.Forest, tag forest.Tag, ns int) string {
	var numbers []string
	for ; ns >= 0; ns = f.Namespaces[ns].Parent {
		numbers = append(numbers, strconv.Itoa(int(f.NumberIn(tag, ns))))
	}
	slices.Reverse(numbers)
	return strings.Join(numbers, "/")
}

func keys(f *forest.Forest, tasks []int32) string {
	var words []string
	for _, i := range tasks {
		words = append(words, f.TagName(f.Tasks[i].Pid))
	}
	return strings.Join(words, " ")
}

// users names a user namespace and those above it by their first tasks.
func users(f *forest.Forest, order []int, ns int) string {
	var words []string
	for ; ns >= 0; ns = f.UserNamespaces[ns].Parent {
		for _, i := range order {
			u := f.Tasks[i].UserNamespace
			for u > ns {
				u = f.UserNamespaces[u].Parent
			}
			if u == ns {
				words = append(words, f.TagName(f.Tasks[i].Pid))
				break
			}
		}
	}
	return strings.Join(words, " in ")
}

// showsStatus: before 5.17 the exit_code in /proc/PID/stat is the leader's own, not
// its process's, of which wait reports an end or a stop.
func showsStatus() bool { return testforest.Release() >= 517 }
