// SPDX-License-Identifier: Apache-2.0

package witness

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Key names a task in a forest: its numbers from the forest's root namespace
// down to its own, as in "12/5/1".
type Key string

// Task is what is known of a task, by field. All values are text, and none
// depends on the machine outside the forest, so two tasks are alike when their
// fields are.
type Task map[Field]string

// Field is something that /proc tells of a task.
type Field string

const (
	Process    Field = "process"     // key of the thread-group leader
	Group      Field = "group"       // numbers of the process group, see below
	Session    Field = "session"     // numbers of the session, see below
	Parent     Field = "parent"      // key of the parent process, or outside
	Children   Field = "children"    // keys, in order
	Threads    Field = "threads"     // keys, in order; of a leader
	State      Field = "state"       // live, stopped, zombie
	ExitCode   Field = "exit code"   // of a process that has ended, what wait reports (before 5.17 the leader's own)
	OwnCode    Field = "own code"    // of a zombie, its own, which wait may not report
	StopCode   Field = "stop code"   // of a stopped process: 0 when reported (and before 5.17)
	ExitSignal Field = "exit signal" // sent to the parent
	Comm       Field = "comm"        //
	IDs        Field = "ids"         // uids and gids of a zombie
	LiveIDs    Field = "live ids"    // uids and gids of all others
	Born       Field = "namespace for children"
	Users      Field = "user namespace" // first members of it and of those above it
	Owner      Field = "owner of namespace"
	UIDMap     Field = "uid map"
	GIDMap     Field = "gid map"
	Setgroups  Field = "setgroups"
)

// A group or session is given by its numbers in the namespaces of the task
// that has it, outermost first, joined by "/": 0 where it is not visible.
// Numbers in the root namespace that belong to a task outside the forest are
// replaced by:
const (
	inherited = "inherited" // the forest's root has it too
	outside   = "outside"
	ofSession = "of the inherited session" // a group with its leader
)

// Forest is all tasks of a forest.
type Forest struct {
	Root  Key
	Tasks map[Key]Task
}

// Keys lists the tasks by their numbers.
func (f *Forest) Keys() []Key {
	return slices.SortedFunc(maps.Keys(f.Tasks), func(a, b Key) int {
		return slices.Compare(a.numbers(), b.numbers())
	})
}

func (k Key) numbers() []int {
	var numbers []int
	for part := range strings.SplitSeq(string(k), "/") {
		n, _ := strconv.Atoi(part) // keys are made of numbers
		numbers = append(numbers, n)
	}
	return numbers
}

// Ghosts lists the groups and sessions that a task has and no task leads any
// more, with their numbers in the namespaces of one who has them.
func (f *Forest) Ghosts() []string {
	carried := map[string]bool{}
	for k := range f.Tasks {
		carried[first(string(k))] = true
	}
	found := map[string]bool{}
	for _, t := range f.Tasks {
		for _, field := range []Field{Group, Session} {
			n := first(t[field])
			if n != "0" && n != inherited && n != outside && !carried[n] {
				found[string(field)+" "+t[field]] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

func first(chain string) string {
	n, _, _ := strings.Cut(chain, "/")
	return n
}

// Compare says in words how two forests differ, task by task; nothing if they
// do not. Fields to ignore are left out.
func Compare(a, b *Forest, ignore ...Field) []string {
	var found []string
	if a.Root != b.Root {
		found = append(found, fmt.Sprintf("the root is %s, then %s", a.Root, b.Root))
	}
	for _, k := range a.Keys() {
		if b.Tasks[k] == nil {
			found = append(found, fmt.Sprintf("task %s (%s) is missing", k, a.Tasks[k][Comm]))
			continue
		}
		found = append(found, compareTask(k, a.Tasks[k], b.Tasks[k], ignore)...)
	}
	for _, k := range b.Keys() {
		if a.Tasks[k] == nil {
			found = append(found, fmt.Sprintf("task %s (%s) is new", k, b.Tasks[k][Comm]))
		}
	}
	return found
}

func compareTask(k Key, a, b Task, ignore []Field) []string {
	fields := map[Field]bool{}
	for _, t := range []Task{a, b} {
		for f := range t {
			fields[f] = !slices.Contains(ignore, f)
		}
	}
	var found []string
	for _, f := range slices.Sorted(maps.Keys(fields)) {
		if fields[f] && a[f] != b[f] {
			found = append(found, fmt.Sprintf("task %s (%s): %s is %q, then %q", k, a[Comm], f, a[f], b[f]))
		}
	}
	return found
}
