// SPDX-License-Identifier: Apache-2.0

package witness

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/internal/procfile"
)

// Read reads the forest of a task: all of its pid namespace if it is the init
// of one below the reader's, else the task and its descendants. The root is
// the task's number in the reader's namespace. It reads until two passes
// agree.
func Read(root int) (*Forest, error) {
	var last *Forest
	var err error
	for range 100 {
		var next *Forest
		if next, err = pass(root); err == nil {
			if last != nil && len(Compare(last, next)) == 0 {
				return next, nil
			}
			last = next
		}
		time.Sleep(time.Millisecond)
	}
	if err != nil {
		return nil, fmt.Errorf("witness: task %d: %w", root, err)
	}
	return nil, fmt.Errorf("witness: the forest of task %d does not stay the same", root)
}

// Look is Read in a single pass, for who knows that the forest is at rest, or
// looks again if it is not as expected.
func Look(root int) (*Forest, error) {
	f, err := pass(root)
	if err != nil {
		return nil, fmt.Errorf("witness: task %d: %w", root, err)
	}
	return f, nil
}

// reader is one pass.
type reader struct {
	level   int           // of the root namespace among the numbers of NSpid
	seen    map[int]*seen // by tid
	order   []*seen       // by number, for stable names
	chains  map[uint64][]uint64
	owners  map[uint64]uint64
	root    *seen
	subtree bool
}

func pass(root int) (*Forest, error) {
	r := &reader{
		seen:   map[int]*seen{},
		chains: map[uint64][]uint64{},
		owners: map[uint64]uint64{},
	}
	var err error
	if r.root, err = look(root, root); err != nil {
		return nil, err
	}
	numbers := r.root.numbers("NSpid")
	r.level = len(numbers) - 1
	r.subtree = r.level == 0 || numbers[r.level] != 1
	if r.subtree {
		err = r.descend(root)
	} else {
		err = r.scan()
	}
	if err != nil {
		return nil, err
	}
	return r.forest()
}

// descend reads a process and all below it.
func (r *reader) descend(tgid int) error {
	if err := r.process(tgid); err != nil {
		return err
	}
	for _, tid := range r.seen[tgid].threads {
		for _, child := range r.seen[tid].children {
			if err := r.descend(child); err != nil {
				return err
			}
		}
	}
	return nil
}

// scan reads every process that has a number in the root namespace.
func (r *reader) scan() error {
	all, err := tasks("/proc")
	if err != nil {
		return err
	}
	for _, tgid := range all {
		inside, err := r.inside(tgid)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // ended meanwhile; the other pass will tell if it matters
		}
		if err == nil && inside {
			err = r.process(tgid)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) inside(tgid int) (bool, error) {
	text, err := procfile.Read(fmt.Sprintf("/proc/%d/status", tgid))
	if err != nil {
		return false, err
	}
	_, rest, _ := strings.Cut(string(text), "NSpid:")
	line, _, _ := strings.Cut(rest, "\n")
	if len(strings.Fields(line)) <= r.level {
		return false, nil
	}
	path := fmt.Sprintf("/proc/%d/ns/pid", tgid)
	own, err := inode(path)
	if err != nil {
		return false, err
	}
	chain, err := r.chain(path, own)
	return slices.Contains(chain, r.root.pid), err
}

// process reads all threads of a process.
func (r *reader) process(tgid int) error {
	threads, err := tasks(fmt.Sprintf("/proc/%d/task", tgid))
	if err != nil {
		return err
	}
	for _, tid := range threads {
		if r.seen[tid], err = look(tgid, tid); err != nil {
			return err
		}
	}
	leader := r.seen[tgid]
	if leader == nil {
		return fmt.Errorf("process %d is not among its threads: %w", tgid, fs.ErrNotExist)
	}
	leader.threads = threads
	return nil
}

// chain is the namespace at path and those above it.
func (r *reader) chain(path string, own uint64) ([]uint64, error) {
	if chain, ok := r.chains[own]; ok {
		return chain, nil
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	r.chains[own], err = climb(fd)
	return r.chains[own], err
}

// forest puts what was seen into words that do not depend on the machine.
func (r *reader) forest() (*Forest, error) {
	for _, s := range r.seen {
		r.order = append(r.order, s)
	}
	slices.SortFunc(r.order, func(a, b *seen) int {
		return slices.Compare(r.below(a, "NSpid"), r.below(b, "NSpid"))
	})
	f := &Forest{Root: r.key(r.root.tid), Tasks: map[Key]Task{}}
	for _, s := range r.order {
		if err := r.lookAbove(s); err != nil {
			return nil, err
		}
	}
	for _, s := range r.order {
		t, err := r.task(s)
		if err != nil {
			return nil, err
		}
		f.Tasks[r.key(s.tid)] = t
	}
	return f, nil
}

// lookAbove learns the ancestors and the owner of the namespaces of a task.
func (r *reader) lookAbove(s *seen) error {
	dir := fmt.Sprintf("/proc/%d/task/%d/ns/", s.tgid, s.tid)
	if _, err := r.chain(dir+"user", s.user); err != nil {
		return err
	}
	if _, err := r.chain(dir+"pid", s.pid); err != nil {
		return err
	}
	if _, ok := r.owners[s.pid]; ok {
		return nil
	}
	owner, err := ownerOf(dir + "pid")
	if err != nil {
		return err
	}
	r.owners[s.pid], r.chains[owner[0]] = owner[0], owner
	return nil
}

// below are numbers from the root namespace down.
func (r *reader) below(s *seen, name string) []int {
	numbers := s.numbers(name)
	return numbers[min(r.level, len(numbers)):]
}

func join(numbers []int) string {
	var words []string
	for _, n := range numbers {
		words = append(words, strconv.Itoa(n))
	}
	return strings.Join(words, "/")
}

// key names a task of the forest; others are outside.
func (r *reader) key(tid int) Key {
	s := r.seen[tid]
	if s == nil {
		return outside
	}
	return Key(join(r.below(s, "NSpid")))
}

func (r *reader) keys(tids []int) string {
	var words []string
	for _, tid := range tids {
		words = append(words, string(r.key(tid)))
	}
	return strings.Join(words, " ")
}

func (r *reader) task(s *seen) (Task, error) {
	parent, err := strconv.Atoi(s.status["PPid"])
	if err != nil {
		return nil, err
	}
	t := Task{
		Process:    string(r.key(s.tgid)),
		Group:      r.relation(s, "NSpgid"),
		Session:    r.relation(s, "NSsid"),
		Children:   r.keys(s.children),
		ExitSignal: s.field(statExitSignal),
		Comm:       s.comm,
		Users:      r.users(s.user),
		Owner:      r.users(r.owners[s.pid]),
	}
	if s != r.root {
		t[Parent] = string(r.key(parent))
	}
	if s.leads() {
		t[Threads] = r.keys(s.threads)
		if err := t.readMaps(s.tgid); err != nil {
			return nil, err
		}
	}
	ids := "uid " + s.status["Uid"] + " gid " + s.status["Gid"]
	switch s.field(statState) {
	case "Z", "X":
		t[State], t[OwnCode], t[IDs] = "zombie", s.field(statExitCode), ids
		if s.leads() && len(s.threads) == 1 {
			t[ExitCode] = s.code
		}
	case "T", "t":
		t[State], t[LiveIDs] = "stopped", ids
		if s.leads() {
			t[StopCode] = s.code
		}
	default:
		t[State], t[LiveIDs] = "live", ids
	}
	if t[State] != "zombie" {
		t[Born] = r.born(s)
	}
	return t, nil
}

func (t Task) readMaps(tgid int) error {
	for field, file := range map[Field]string{UIDMap: "uid_map", GIDMap: "gid_map", Setgroups: "setgroups"} {
		text, err := procfile.Read(fmt.Sprintf("/proc/%d/%s", tgid, file))
		if err != nil {
			return err
		}
		t[field] = strings.Join(strings.Fields(string(text)), " ")
	}
	return nil
}

// relation is a group or session of a task. In a subtree its leader may be a
// task outside, with a number in the root namespace, which a restore keeps as
// that of a ghost, or without.
func (r *reader) relation(s *seen, name string) string {
	numbers := r.below(s, name)
	if len(numbers) == 0 || !r.subtree {
		return join(numbers)
	}
	place, leader := "", numbers[0]
	switch {
	case r.leads(leader):
		return join(numbers)
	case r.below(r.root, name)[0] == leader:
		place = inherited
	case r.below(r.root, "NSsid")[0] == leader:
		place = ofSession // a restore leads it from where it is not seen
	case leader == 0:
		place = outside
	default:
		return join(numbers) // a ghost, or a task outside
	}
	if len(numbers) == 1 {
		return place
	}
	return place + "/" + join(numbers[1:])
}

// leads reports whether a task of the forest has a number in the root
// namespace.
func (r *reader) leads(number int) bool {
	return slices.ContainsFunc(r.order, func(s *seen) bool {
		return r.below(s, "NSpid")[0] == number
	})
}

// born names the namespace of a task's next child by its first task.
func (r *reader) born(s *seen) string {
	switch s.forChild {
	case s.pid:
		return "own"
	case 0:
		return "empty"
	}
	for _, other := range r.order {
		if other.pid == s.forChild {
			return string(r.key(other.tid))
		}
	}
	return "dead"
}

// users names a user namespace and those above it, each by the first task that
// is in it or below it.
func (r *reader) users(own uint64) string {
	var words []string
	for _, ns := range r.chains[own] {
		for _, s := range r.order {
			if slices.Contains(r.chains[s.user], ns) {
				words = append(words, string(r.key(s.tid)))
				break
			}
		}
	}
	return strings.Join(words, " in ")
}
