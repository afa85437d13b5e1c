// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore/model"
	"github.com/pidgraft/pidgraft/restore/plan"
	"github.com/pidgraft/pidgraft/restore/plan/view"
)

var (
	randomN    = flag.Int("random.n", 60, "random histories for each class of TestRandomForests; a tenth with -short")
	randomSeed = flag.Uint64("random.seed", 1, "seed of TestRandomForests")
)

// TestRandomForests restores the end states of random legal histories on the
// kernel, in parallel as the kernel pleases, and compares what /proc shows
// with the forest. A refusal of the planner is its own business here.
func TestRandomForests(t *testing.T) {
	requireRoot(t)
	n := *randomN
	if testing.Short() {
		n = max(n/10, 1)
	}
	each, err := PidMaxEach(nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, kinds := range []model.Kinds{model.Basic, model.Adopting, model.Entering, model.Owning, model.All, model.Stopping} {
		for _, subtree := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d,subtree=%v", i, subtree), func(t *testing.T) {
				restored := 0
				for k := range n {
					r := rand.New(rand.NewPCG(*randomSeed+uint64(i)<<32, uint64(k)))
					h, machine := model.GenerateRand(r, model.Config{Kinds: kinds, Subtree: subtree})
					f, err := machine.Forest(h.Root, h.Mode)
					if err != nil {
						continue
					}
					p, err := Plan(f, plan.Options{OwnPidMax: each, PidMax: 32768})
					if err != nil {
						continue
					}
					restored++
					restoreRandom(t, f, p, Options{Memory: Memory(k % 2)})
					if t.Failed() {
						var b strings.Builder
						_ = view.Text(&b, p, f)
						t.Fatalf("seed %d, history %d (%s memory):\n%s\nplan:\n%s", *randomSeed, k,
							[]string{"shared", "own"}[k%2], h, &b)
					}
				}
				if restored == 0 {
					t.Error("no forest was restored")
				}
				t.Logf("%d restored", restored)
			})
		}
	}
}

func restoreRandom(t *testing.T, f *forest.Forest, p *plan.Plan, opts Options) {
	opts.Stall = 10 * time.Second
	opts.Verify = func(_ context.Context, root int) error {
		want, got := forestLines(f), procLines(t, f, root, wardens(p))
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
		return errSeen
	}
	if _, err := Run(context.Background(), f, p, opts); !errors.Is(err, errSeen) {
		t.Errorf("run: %v", err)
	}
	nothingLeft(t)
}

// seen is what one task looks like: as the forest has it, or as /proc does.
type seen struct {
	pid, pgid, sid []int
	comm, state    string
	status         int // wait status of a zombie
	exitSignal     int // of a leader
}

func (s *seen) String() string {
	return fmt.Sprintf("%s %s %s pgid %s sid %s status %#x exit signal %d",
		join(s.pid), s.comm, s.state, join(s.pgid), join(s.sid), s.status, s.exitSignal)
}

// forestLines walks the forest: a process, then the children of each of its
// threads in order, indented.
func forestLines(f *forest.Forest) []string {
	var list []string
	var walk func(tgid forest.Tag, indent string)
	walk = func(tgid forest.Tag, indent string) {
		for i := range f.Tasks {
			task := &f.Tasks[i]
			if task.TGID != tgid {
				continue
			}
			list = append(list, indent+expected(f, task).String())
			for j := range f.Tasks {
				if c := &f.Tasks[j]; c.IsLeader() && c.ParentThread == task.Pid {
					walk(c.TGID, indent+"  ")
				}
			}
		}
	}
	for i := range f.Tasks {
		if task := &f.Tasks[i]; task.IsLeader() && task.Parent == forest.Outside {
			walk(task.TGID, "")
		}
	}
	return list
}

func expected(f *forest.Forest, task *forest.Task) *seen {
	own := f.Pid(task.Pid)
	chain := make([]int, own.Depth()+1) // namespaces from the root's to its own
	for ns, l := own.Namespace, own.Depth(); l >= 0; l-- {
		chain[l] = ns
		ns = f.Namespaces[ns].Parent
	}
	at := func(tag forest.Tag) []int {
		numbers := make([]int, len(chain))
		for l, ns := range chain {
			numbers[l] = int(f.NumberIn(tag, ns))
		}
		return numbers
	}
	s := &seen{pid: at(task.Pid), pgid: at(task.PGID), sid: at(task.SID), comm: task.Comm, state: "S"}
	switch {
	case task.State.Exited():
		s.state = "Z"
	case task.State == forest.ExitingInit:
		s.state = exiting
	case task.State == forest.Stopped && (task.TGID != f.Root().TGID || f.Pid(f.Root().Pid).Numbers[0] != 1):
		s.state = "T" // but a first task only after the commit
	}
	if task.State == forest.Zombie {
		s.status = int(task.WaitStatus())
	}
	if task.IsLeader() {
		s.exitSignal = int(task.ExitSignal)
	}
	return s
}

// procLines does the same with /proc. Whatever else is in the new namespace
// is listed, too: nothing of a plan's helpers may be left but wardens.
func procLines(t *testing.T, f *forest.Forest, root, wardens int) []string {
	var list []string
	var walk func(tgid int, indent string)
	walk = func(tgid int, indent string) {
		dir := fmt.Sprintf("/proc/%d/task", tgid)
		threads, err := readDirInOrder(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, tid := range threads {
			p, ok := readTask(filepath.Join(dir, tid))
			if !ok {
				t.Fatalf("task %s went away", tid)
			}
			s := shown(t, p)
			if f.Root().Pid > 0 && f.Pid(f.Root().Pid).Numbers[0] != 1 {
				// the holder may lead what is inherited
				inherited(s.pgid)
				inherited(s.sid)
			}
			list = append(list, indent+s.String())
			children, err := os.ReadFile(filepath.Join(dir, tid, "children"))
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range strings.Fields(string(children)) {
				walk(atoi(c), indent+"  ")
			}
		}
	}
	walk(root, "")
	if f.Mode == forest.Container {
		for _, entrant := range entrants(t, root) {
			walk(entrant, "")
		}
	}
	if f.Mode == forest.Subtree {
		p, _ := readTask(fmt.Sprintf("/proc/%d", root))
		// A warden is below the holder or the outsider.
		if more := len(below(t, p.ppid)) - 1 - len(list); more < 0 || more > wardens {
			t.Errorf("%d tasks below the holder, %d of them in the forest, %d wardens", more+len(list), len(list), wardens)
		}
	}
	return list
}

// entrants are the processes in the new namespace whose parent is the
// coordinator, as is the root's, or an outsider, by number.
func entrants(t testing.TB, root int) []int {
	var found []procTask
	var look func(parent int)
	look = func(parent int) {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", parent))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range strings.Fields(string(children)) {
			p, ok := readTask("/proc/" + c)
			switch {
			case !ok || p.host == root:
			case len(p.pid) > 0:
				found = append(found, p)
			case p.state != "Z":
				look(p.host) // an outsider
			}
		}
	}
	p, _ := readTask(fmt.Sprintf("/proc/%d", root))
	look(p.ppid)
	slices.SortFunc(found, func(a, b procTask) int { return a.pid[0] - b.pid[0] })
	hosts := make([]int, len(found))
	for i, p := range found {
		hosts[i] = p.host
	}
	return hosts
}

func inherited(numbers []int) {
	if numbers[0] == 1 {
		numbers[0] = 0
	}
}

// readDirInOrder lists the threads of a process as the kernel has them, which
// os.ReadDir would sort.
func readDirInOrder(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

// exiting is the state of an init that waits in zap_pid_ns_processes: asleep, or
// idle (I), which 6.12.118 and 7.x call it, with PF_EXITING among its flags.
const exiting = "S or I, exiting"

func shown(t *testing.T, p procTask) *seen {
	s := &seen{pid: p.pid, pgid: p.pgid, sid: p.sid, comm: p.comm, state: p.state}
	fields := statFields(t, p.host)
	const flags, pfExiting = 9 - 3, 0x4
	if (p.state == "S" || p.state == "I") && atoi(fields[flags])&pfExiting != 0 {
		s.state = exiting
	}
	if p.state == "Z" && p.threads == "1" {
		s.status = atoi(fields[len(fields)-1])
	}
	if p.host == p.tgid {
		const exitSignal = 38 - 3 // proc(5) counts from 1; the third is first here
		s.exitSignal = atoi(fields[exitSignal])
	}
	return s
}

// wardens is how many stay.
func wardens(p *plan.Plan) int {
	n := 0
	for i := range p.Actors {
		if a := &p.Actors[i]; a.Role == plan.RoleWarden && a.Ops[len(a.Ops)-1].Code == plan.Hold {
			n++
		}
	}
	return n
}
