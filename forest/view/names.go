// SPDX-License-Identifier: Apache-2.0

package view

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/forest"
)

// number is what an object is called in the root namespace, where each has
// one number; a ghost is in parentheses.
func number(f *forest.Forest, x *forest.Index, tag forest.Tag) string {
	p := f.Pid(tag)
	switch {
	case p == nil && tag == forest.Inherited:
		return "inherit"
	case p == nil:
		return tag.String()
	case x.TaskOf(tag) == forest.None:
		return fmt.Sprintf("(%d)", p.Numbers[0])
	}
	return fmt.Sprint(p.Numbers[0])
}

// signal is a signal's number and, if it has one, its name.
func signal(sig int32) string {
	if name := unix.SignalName(unix.Signal(sig)); name != "" {
		return name
	}
	return fmt.Sprintf("signal %d", sig)
}

// status is a wait status in words.
func status(s int32) string {
	sig := s & 0x7f
	if sig == 0 {
		return fmt.Sprintf("exit code %d", s>>8&0xff)
	}
	core := ""
	if s&0x80 != 0 {
		core = ", core dumped"
	}
	return "killed by " + signal(sig) + core
}

// state is what a task does, in words; empty if it just runs.
func state(t *forest.Task) string {
	switch t.State {
	case forest.Running:
		return ""
	case forest.Stopped:
		told := "not yet reported"
		if t.StopReported {
			told = "reported"
		}
		return "stopped by " + signal(t.StopSignal) + ", " + told
	case forest.Zombie:
		return "zombie, " + status(t.WaitStatus())
	case forest.DeadLeader:
		return "dead leader, " + status(t.ExitCode)
	}
	return t.State.String()
}

// namespace names a pid namespace by its inode on the machine of the dump.
func namespace(f *forest.Forest, ns int) string {
	n := &f.Namespaces[ns]
	s := fmt.Sprintf("pid namespace %d", n.Inode)
	if n.State != forest.Alive {
		s += " (" + n.State.String() + ")"
	}
	return s
}

func userNamespace(f *forest.Forest, u int) string {
	if u == 0 {
		return "the initial user namespace"
	}
	return fmt.Sprintf("user namespace %d", f.UserNamespaces[u].Inode)
}

// plural is "1 task" or "3 tasks".
func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// some are the names of tasks, the first few.
func some(f *forest.Forest, tasks []int32) string {
	const most = 6
	var b strings.Builder
	for i, t := range tasks {
		if i == most {
			fmt.Fprintf(&b, " and %d more", len(tasks)-most)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(f.TagName(f.Tasks[t].Pid))
	}
	return b.String()
}
