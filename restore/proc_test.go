// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"
)

// procTask is what /proc says about a task: the independent witness of these
// tests. Numbers are those of the levels below the test's, outermost first.
type procTask struct {
	host      int // number in the test's namespace
	tgid      int
	ppid      int
	comm      string
	state     string
	pid       []int
	pgid, sid []int
	uid, gid  string
	threads   string
}

// below reads every task (threads, too) whose process descends from process
// root, itself included.
func below(t testing.TB, root int) map[string]procTask {
	t.Helper()
	found := make(map[string]procTask)
	for _, p := range family(t, root) {
		found[join(p.pid)] = p
	}
	return found
}

// family are the same tasks in the order of the walk.
func family(t testing.TB, root int) []procTask {
	t.Helper()
	var found []procTask
	for todo := []int{root}; len(todo) > 0; {
		dir := fmt.Sprintf("/proc/%d/task", todo[0])
		todo = todo[1:]
		threads, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, thread := range threads {
			p, ok := readTask(filepath.Join(dir, thread.Name()))
			if !ok {
				t.Fatalf("%s/%s went away", dir, thread.Name())
			}
			found = append(found, p)
			children, err := os.ReadFile(filepath.Join(dir, thread.Name(), "children"))
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range strings.Fields(string(children)) {
				todo = append(todo, atoi(c))
			}
		}
	}
	return found
}

func readTask(dir string) (procTask, bool) {
	text, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return procTask{}, false
	}
	return parseStatus(string(text)), true
}

func parseStatus(text string) procTask {
	var p procTask
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch name {
		case "Name":
			p.comm = value
		case "State":
			p.state, _, _ = strings.Cut(value, " ")
			if p.state == "R" { // on its way to sleep
				p.state = "S"
			}
		case "Tgid":
			p.tgid = atoi(value)
		case "Pid":
			p.host = atoi(value)
		case "PPid":
			p.ppid = atoi(value)
		case "Uid":
			p.uid = value
		case "Gid":
			p.gid = value
		case "Threads":
			p.threads = value
		case "NSpid":
			p.pid = inner(value)
		case "NSpgid":
			p.pgid = inner(value)
		case "NSsid":
			p.sid = inner(value)
		}
	}
	return p
}

// inner drops the number in the test's own namespace.
func inner(value string) []int {
	var list []int
	for i, s := range strings.Fields(value) {
		if i > 0 {
			list = append(list, atoi(s))
		}
	}
	return list
}

func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(fmt.Sprintf("%q in /proc: %v", s, err))
	}
	return n
}

func join(numbers []int) string {
	parts := make([]string, len(numbers))
	for i, n := range numbers {
		parts[i] = strconv.Itoa(n)
	}
	return strings.Join(parts, "/")
}

// exitCode is the raw code in /proc/PID/stat.
func exitCode(t testing.TB, host int) int {
	t.Helper()
	fields := statFields(t, host)
	return atoi(fields[len(fields)-1])
}

// statFields are those of /proc/PID/stat from the third, the state, on.
func statFields(t testing.TB, host int) []string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", host))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := cutLast(string(text), ") ")
	return strings.Fields(rest)
}

// line is one task as the tests write down what they expect: numbers, comm,
// state, parent's numbers, and group and session as the task sees them.
func lines(tasks map[string]procTask) []string {
	byHost := make(map[int]procTask)
	for _, p := range tasks {
		byHost[p.host] = p
	}
	var list []string
	for _, p := range tasks {
		parent := "-"
		if q, ok := byHost[p.ppid]; ok {
			parent = join(q.pid)
		}
		s := fmt.Sprintf("%s %s %s parent %s pgid %s sid %s", join(p.pid), p.comm, p.state,
			parent, last(p.pgid), last(p.sid))
		if p.host != p.tgid {
			s += " thread of " + join(byHost[p.tgid].pid)
		}
		list = append(list, s)
	}
	sort.Strings(list)
	return list
}

func last(numbers []int) string {
	if len(numbers) == 0 {
		return "-"
	}
	return strconv.Itoa(numbers[len(numbers)-1])
}
