// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/restore/plan"
)

// Numbers are those in use in this process's pid namespace, as /proc shows
// them: of tasks, and of groups and sessions that have members. A number that
// only somebody outside the namespace holds is not seen.
type Numbers map[int32]user

// user is the process that a number is in use by.
type user struct {
	pid int32
	as  use
}

type use uint8

const (
	asProcess use = iota
	asThread
	asSession // and maybe a group
	asGroup
)

// NumbersInUse looks at all of /proc.
func NumbersInUse() (Numbers, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	used := make(Numbers, 2*len(entries))
	for _, e := range entries {
		pid, err := strconv.ParseInt(e.Name(), 10, 32)
		if err != nil {
			continue
		}
		if err := used.addProcess(int32(pid)); err != nil && !isGone(err) {
			return nil, err
		}
	}
	return used, nil
}

func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH)
}

func (n Numbers) addProcess(pid int32) error {
	dir := fmt.Sprintf("/proc/%d", pid)
	n[pid] = user{pid, asProcess}
	text, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return err
	}
	_, rest, _ := cutLast(string(text), ") ")
	fields := strings.Fields(rest)
	const group, session, threadCount = 2, 3, 17 // from the state on
	if len(fields) <= threadCount {
		return fmt.Errorf("%s/stat: not a stat file", dir)
	}
	n.addLed(fields[session], user{pid, asSession})
	n.addLed(fields[group], user{pid, asGroup})
	if fields[threadCount] == "1" {
		return nil
	}
	threads, err := os.ReadDir(dir + "/task")
	if err != nil {
		return err
	}
	for _, t := range threads {
		if tid, err := strconv.ParseInt(t.Name(), 10, 32); err == nil && int32(tid) != pid {
			n[int32(tid)] = user{pid, asThread}
		}
	}
	return nil
}

// addLed adds the number of a group or session, unless a task has it; 0 and -1
// are none that can be seen here.
func (n Numbers) addLed(field string, u user) {
	number, err := strconv.ParseInt(field, 10, 32)
	if err != nil || number <= 0 {
		return
	}
	if old, ok := n[int32(number)]; !ok || old.as > u.as {
		n[int32(number)] = u
	}
}

// Taken reports whether a number is in use.
func (n Numbers) Taken(number int32) bool {
	_, ok := n[number]
	return ok
}

// describe says who has a number.
func (n Numbers) describe(number int32) string {
	u := n[number]
	who := fmt.Sprintf("process %d (%s)", u.pid, commOf(u.pid))
	if int(u.pid) == os.Getpid() {
		who = fmt.Sprintf("process %d, this restore itself", u.pid)
	}
	switch u.as {
	case asThread:
		return "a thread of " + who
	case asGroup:
		return "the process group of " + who
	case asSession:
		return "the session of " + who
	}
	return who
}

// commOf is the name of a process, whose bytes are anybody's.
func commOf(pid int32) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	name := strconv.QuoteToASCII(strings.TrimSuffix(string(text), "\n"))
	return name[1 : len(name)-1]
}

// TakenError lists the numbers that a plan in place needs and others have.
// Nothing was made.
type TakenError struct {
	Numbers []int32  // in order
	Users   []string // who has each
}

func (e *TakenError) Error() string {
	what := "1 number that the forest needs is taken here:"
	if n := len(e.Numbers); n > 1 {
		what = fmt.Sprintf("%d numbers that the forest needs are taken here:", n)
	}
	lines := []string{what}
	for i, n := range e.Numbers {
		lines = append(lines, fmt.Sprintf("%d by %s", n, e.Users[i]))
	}
	return strings.Join(lines, "\n")
}

// checkFree lists every number that a plan in place names in this namespace
// and that is taken.
func checkFree(p *plan.Plan) error {
	if !inPlace(p) {
		return nil
	}
	used, err := NumbersInUse()
	if err != nil {
		return err
	}
	e := new(TakenError)
	for op := range clones(p) {
		if len(op.Numbers) == 0 {
			continue
		}
		if n := op.Numbers[len(op.Numbers)-1]; used.Taken(n) {
			e.Numbers = append(e.Numbers, n)
		}
	}
	if len(e.Numbers) == 0 {
		return nil
	}
	slices.Sort(e.Numbers)
	for _, n := range e.Numbers {
		e.Users = append(e.Users, used.describe(n))
	}
	return e
}

// nowTakenHint says who came first to a number that was free before.
func nowTakenHint(number int32) string {
	used, err := NumbersInUse()
	switch {
	case err != nil:
		return fmt.Sprintf("number %d has been taken meanwhile (%v)", number, err)
	case !used.Taken(number):
		return fmt.Sprintf("number %d was taken meanwhile, and by now is free again, or held from outside this pid namespace: try again", number)
	}
	return fmt.Sprintf("number %d has been taken meanwhile by %s: try again when it is free", number, used.describe(number))
}
