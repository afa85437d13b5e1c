// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/collector"
)

// procTask is what /proc tells of a task: the witness, which has nothing in
// common with the programs.
type procTask struct {
	tid    int
	status map[string][]string // /proc/TID/status
	stat   []string            // /proc/TID/stat from the state (3) on
	links  map[string]string   // /proc/TID/ns; empty for a zombie
	kids   []int               // /proc/PID/task/TID/children
	raw    string
}

// readProc reads a task; nil if it is gone.
func readProc(pid, tid int) *procTask {
	dir := fmt.Sprintf("/proc/%d/task/%d/", pid, tid)
	status, err1 := os.ReadFile(dir + "status")
	stat, err2 := os.ReadFile(dir + "stat")
	children, err3 := os.ReadFile(dir + "children")
	if errors.Join(err1, err2, err3) != nil {
		return nil
	}
	p := &procTask{tid: tid, status: map[string][]string{}, links: map[string]string{}}
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":\t")
		if p.status[key] = strings.Fields(value); key == "Name" {
			p.status[key] = []string{value}
		}
	}
	p.stat = strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	for _, name := range []string{"pid", "user", "pid_for_children"} {
		if link, err := os.Readlink(dir + "ns/" + name); err == nil {
			p.links[name] = link
		}
	}
	p.kids = integers(strings.Fields(string(children)))
	// What the tasks of a busy machine change all the time is left out.
	p.raw = fmt.Sprint(p.status["NSpid"], p.status["NStgid"], p.status["NSpgid"], p.status["NSsid"], p.status["PPid"],
		p.status["Uid"], p.status["Gid"], p.status["Name"], p.kids, p.links, p.stat[17], p.stat[19])
	return p
}

// field is a field of /proc/PID/stat as proc_pid_stat(5) counts.
func (p *procTask) field(n int) int {
	v, err := strconv.Atoi(p.stat[n-3])
	if err != nil {
		panic(fmt.Sprintf("/proc/%d/stat: field %d is %q", p.tid, n, p.stat[n-3]))
	}
	return v
}

// readAllProc reads every task that /proc shows. threads has the tasks of each
// process in the kernel's order.
func readAllProc(t *testing.T) (tasks map[int]*procTask, threads map[int][]int) {
	t.Helper()
	tasks, threads = map[int]*procTask{}, map[int][]int{}
	for _, pid := range numericNames("/proc") {
		for _, tid := range numericNames(fmt.Sprintf("/proc/%d/task", pid)) {
			if p := readProc(pid, tid); p != nil {
				tasks[tid] = p
				threads[pid] = append(threads[pid], tid)
			}
		}
	}
	return tasks, threads
}

// numericNames are the numbers in a directory, in its own order.
func numericNames(dir string) []int {
	d, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	return integers(names)
}

func integers(words []string) []int {
	var numbers []int
	for _, w := range words {
		if n, err := strconv.Atoi(w); err == nil {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// view looks up a snapshot by address.
type view struct {
	*collector.Snapshot
	level      int // the reader's own
	tasks      map[collector.ID]*collector.Task
	pids       map[collector.ID]*collector.Pid
	namespaces map[collector.ID]*collector.Namespace
	users      map[collector.ID]*collector.UserNamespace
}

func newView(t *testing.T, s *collector.Snapshot, level int) *view {
	t.Helper()
	v := &view{s, level, map[collector.ID]*collector.Task{}, map[collector.ID]*collector.Pid{},
		map[collector.ID]*collector.Namespace{}, map[collector.ID]*collector.UserNamespace{}}
	for i := range s.Tasks {
		if v.tasks[s.Tasks[i].ID] != nil {
			t.Errorf("task %#x is there twice", s.Tasks[i].ID)
		}
		v.tasks[s.Tasks[i].ID] = &s.Tasks[i]
	}
	for i := range s.Pids {
		v.pids[s.Pids[i].ID] = &s.Pids[i]
	}
	for i := range s.Namespaces {
		v.namespaces[s.Namespaces[i].ID] = &s.Namespaces[i]
	}
	for i := range s.UserNamespaces {
		v.users[s.UserNamespaces[i].ID] = &s.UserNamespaces[i]
	}
	return v
}

// number of a task in the reader's namespace.
func (v *view) number(task collector.ID) int {
	t := v.tasks[task]
	if t == nil || v.pids[t.Pid] == nil || v.pids[t.Pid].Level < v.level {
		return 0
	}
	return int(v.pids[t.Pid].Numbers[v.level])
}

// ancestor of a namespace at a level.
func (v *view) ancestor(ns collector.ID, level int) collector.ID {
	for v.namespaces[ns] != nil && v.namespaces[ns].Level > level {
		ns = v.namespaces[ns].Parent
	}
	return ns
}

// chain is what NSpgid and the like print of an object for a task whose own
// object is own: its numbers in the namespaces that own is visible in.
func (v *view) chain(own *collector.Pid, object collector.ID) string {
	var words []string
	o := v.pids[object]
	for level := v.level; level <= own.Level; level++ {
		n := int32(0)
		if o != nil && o.Level >= level && v.ancestor(o.Namespace, level) == v.ancestor(own.Namespace, level) {
			n = o.Numbers[level]
		}
		words = append(words, fmt.Sprint(n))
	}
	return strings.Join(words, " ")
}

// order follows the prev pointers of tasks to the list that they come from.
func (v *view) order(t *testing.T, of string, tasks []collector.ID, prev func(*collector.Task) collector.ID) []int {
	t.Helper()
	next := map[collector.ID]collector.ID{}
	for _, id := range tasks {
		if _, ok := next[prev(v.tasks[id])]; ok {
			t.Errorf("%s: two follow the same task", of)
		}
		next[prev(v.tasks[id])] = id
	}
	var numbers []int
	for id := next[0]; id != 0 && len(numbers) <= len(tasks); id = next[id] {
		numbers = append(numbers, v.number(id))
	}
	return numbers
}

// compareTask holds a task of the snapshot against /proc.
func (v *view) compareTask(t *testing.T, task *collector.Task, p *procTask) {
	t.Helper()
	check := func(what string, got, want any) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("task %d (%s): %s: got %v, /proc has %v", p.tid, p.status["Name"][0], what, got, want)
		}
	}
	own := v.pids[task.Pid]
	joined := func(field string) string { return strings.Join(p.status[field], " ") }
	check("NSpid", v.chain(own, task.Pid), joined("NSpid"))
	check("NStgid", v.chain(own, task.TGID), joined("NStgid"))
	check("NSpgid", v.chain(own, task.PGID), joined("NSpgid"))
	check("NSsid", v.chain(own, task.SID), joined("NSsid"))
	// PPid is where the leader's real parent is now.
	parent := v.pids[task.ParentTGID]
	if parent != nil && len(parent.Numbers) > v.level {
		check("PPid", parent.Numbers[v.level], joined("PPid"))
	}
	check("Uid", fmt.Sprint(task.UID, " ", task.EUID, " ", task.SUID, " ", task.FSUID), joined("Uid"))
	check("Gid", fmt.Sprint(task.GID, " ", task.EGID, " ", task.SGID, " ", task.FSGID), joined("Gid"))
	comm, _, _ := strings.Cut(string(task.Comm[:]), "\x00")
	if task.TaskFlags&0x20 == 0 && task.TaskFlags&0x200000 == 0 { // PF_WQ_WORKER, PF_KTHREAD: /proc says more
		check("Name", escapeName(comm), p.status["Name"][0])
	}
	check("exit_signal", task.ExitSignal, p.field(38))
	check("num_threads", task.NrThreads, p.field(20))
	check("starttime", task.StartTime/1e7, p.field(22))
	code, group := int(task.ExitCode), int(task.GroupExitCode)
	if c := p.field(52); c != code && c != group {
		t.Errorf("task %d: exit code: got %#x, of its group %#x, /proc has %#x", p.tid, code, group, c)
	}
	v.compareState(t, task, p)
	v.compareNamespaces(t, task, p)
}

// escapeName as /proc/PID/status does it.
func escapeName(s string) string {
	return strings.NewReplacer("\n", `\n`, `\`, `\\`).Replace(s)
}

func (v *view) compareState(t *testing.T, task *collector.Task, p *procTask) {
	t.Helper()
	letter := p.stat[0]
	got := "live"
	switch {
	case task.ExitState == 0x20:
		got = "Z"
	case task.ExitState != 0:
		got = "X"
	case task.Ptrace != 0:
		got = "t"
	case task.SignalFlags&1 != 0:
		got = "T"
	}
	want := letter
	if !slices.Contains([]string{"Z", "X", "T", "t"}, want) {
		want = "live"
	}
	if got != want {
		t.Errorf("task %d: state: got %s (exit_state %#x, signal flags %#x), /proc has %s", p.tid, got, task.ExitState, task.SignalFlags, letter)
	}
}

func (v *view) compareNamespaces(t *testing.T, task *collector.Task, p *procTask) {
	t.Helper()
	if u := v.users[task.UserNamespace]; u == nil {
		t.Errorf("task %d: its user namespace is not there", p.tid)
	} else if link, ok := p.links["user"]; ok && link != fmt.Sprintf("user:[%d]", u.Inode) {
		t.Errorf("task %d: user namespace %d, /proc has %s", p.tid, u.Inode, link)
	}
	own := v.namespaces[v.pids[task.Pid].Namespace]
	if own == nil {
		t.Errorf("task %d: its pid namespace is not there", p.tid)
	} else if link, ok := p.links["pid"]; ok && link != fmt.Sprintf("pid:[%d]", own.Inode) {
		t.Errorf("task %d: pid namespace %d, /proc has %s", p.tid, own.Inode, link)
	}
	link, ok := p.links["pid_for_children"]
	switch child := v.namespaces[task.ChildNamespace]; {
	case task.ChildNamespace == 0 && (task.ExitState != 0 || task.TaskFlags&4 != 0): // PF_EXITING: on the way
	case child == nil:
		t.Errorf("task %d: the namespace of its children is not there", p.tid)
	case ok && link != fmt.Sprintf("pid:[%d]", child.Inode):
		t.Errorf("task %d: its children go to namespace %d, /proc has %s", p.tid, child.Inode, link)
	}
}

// nsChain names a namespace and its ancestors, as far as they are visible, as
// the links in /proc/PID/ns do.
func nsChain(t *testing.T, path string) []string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		return nil // it ended
	}
	defer f.Close()
	var chain []string
	for fd := int(f.Fd()); ; {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			t.Fatal(err)
		}
		chain = append(chain, fmt.Sprintf("pid:[%d]", st.Ino))
		parent, err := unix.IoctlRetInt(fd, unix.NS_GET_PARENT)
		if len(chain) > 1 {
			unix.Close(fd)
		}
		if err != nil {
			return chain // EPERM: above the test's own
		}
		fd = parent
	}
}
