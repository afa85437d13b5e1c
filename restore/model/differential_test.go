// SPDX-License-Identifier: Apache-2.0

package model

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/internal/testforest"
	"github.com/pidgraft/pidgraft/internal/witness"
	"golang.org/x/sys/unix"
)

var (
	kernelN    = flag.Int("kernel.n", 8, "histories of TestKernel")
	kernelSeed = flag.Uint64("kernel.seed", 1, "seed of TestKernel")
)

// What TestKernel can have real tasks do: nothing that the testforest has no
// operation for, and nothing that changes the machine.
var kernelKinds = All &^ Of(ForkFail, IgnoreChildren, ChangeIDs, WriteCursor, WriteMax, DieInit)

// TestKernel makes random histories in the model and, call by call, with real
// tasks. After every call errno and forest, as /proc shows it, must be the
// model's. A history ends early at a call whose outcome is the scheduler's.
func TestKernel(t *testing.T) {
	require.Root(t)
	calls := 0
	for seed := range uint64(*kernelN) {
		h, _ := GenerateRand(rand.New(rand.NewPCG(*kernelSeed, seed)), Config{
			Kinds: kernelKinds, MinSteps: 30, MaxSteps: 60, MaxTasks: 16, Failing: true, FromOutside: true,
		})
		n, err := compareWithKernel(t, h)
		calls += n
		if err != nil {
			h.Steps = h.Steps[:n+1]
			t.Errorf("seed %d,%d: %v\n%s", *kernelSeed, seed, err, h)
			break
		}
	}
	t.Logf("%d histories, %d calls without a difference", *kernelN, calls)
}

// compareWithKernel returns how many calls were made without a difference.
func compareWithKernel(t *testing.T, h *History) (int, error) {
	real, err := testforest.New()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		// A stopped member would have the first process hung up with its
		// group when the others are killed. Some are gone: no matter.
		for i := range h.Steps {
			_ = real.Do("host kill " + nameOf(h.Steps[i].Child) + " CONT")
		}
		if err := real.Kill(); err != nil {
			t.Error(err)
		}
	}()
	if err := real.Do("outside setsid"); err != nil { // as the Outsider did
		t.Fatal(err)
	}
	k := New()
	root := h.Steps[0].Child
	for i := range h.Steps {
		s := h.Steps[i]
		want := k.Apply(&s)
		if k.Racy() != "" || k.beyondTest() {
			return i, nil
		}
		made, err := doReal(real, &s)
		if err != nil {
			return i, err
		}
		if made != want && made != ENOTRUN {
			return i, fmt.Errorf("%s: the kernel says %v, the model %v (%s)", s.String(), made, want, k.Why())
		}
		root = k.tasks[root].proc.leader.id
		if err := patiently(func() error { return compareForests(k, root, real) }); err != nil {
			return i, fmt.Errorf("after %s: %w", s.String(), err)
		}
	}
	return len(h.Steps), nil
}

// beyondTest reports whether the model has come to where the testforest cannot
// follow: its first process was hung up with its group (rule 22), or an init
// waits for children rather than for numbers, which it does not take for rest.
func (k *Kernel) beyondTest() bool {
	return k.tasks[Outsider].exiting || slices.ContainsFunc(k.tasks[Outsider:], func(t *task) bool {
		return t.zapping && t.firstChild != nil
	})
}

// patiently tries again for a while: on a busy machine an init that ends is
// seen on its way.
func patiently(compare func() error) error {
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if err := compare(); err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

func compareForests(k *Kernel, root TaskID, real *testforest.Forest) error {
	f, err := k.Forest(root, forest.Container)
	if err != nil {
		return nil // an entrant before its setsid; the next call comes soon
	}
	got, err := witness.Read(real.PID(nameOf(root)))
	if err != nil {
		return err
	}
	ignored := []witness.Field{witness.StopCode, witness.Comm, witness.LiveIDs, witness.IDs, witness.UIDMap, witness.GIDMap, witness.Setgroups}
	if d := witness.Compare(got, asWitness(f), ignored...); d != nil {
		return errors.New("the kernel, then the model: " + strings.Join(d, "; "))
	}
	return compareCodes(k, real)
}

// compareCodes compares what wait would report of zombies and of stopped
// processes: the files of single tasks, which the witness reads, do not show
// the signal of a stop.
func compareCodes(k *Kernel, real *testforest.Forest) error {
	for _, t := range k.tasks[Outsider+1:] {
		p := t.proc
		want := p.waitStatus()
		switch {
		case t.state == released || t != p.leader:
			continue
		case p.stopped && p.stopReported:
			want = 0
		case p.stopped:
			want = p.stopSignal
		case !p.reapable():
			continue
		}
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", real.PID(nameOf(t.id))))
		if err != nil {
			return err
		}
		fields := strings.Fields(string(text))
		if got := fields[len(fields)-1]; got != strconv.Itoa(int(want)) {
			return fmt.Errorf("exit_code of task %d is %s, in the model %d", t.id, got, want)
		}
	}
	return nil
}

func nameOf(id TaskID) string {
	if id == Outsider {
		return "outside"
	}
	return fmt.Sprintf("t%d", id)
}

// doReal makes a step with real tasks. ENOTRUN: the testforest cannot express
// it, and in the model it failed.
func doReal(real *testforest.Forest, s *Step) (Errno, error) {
	for _, line := range script(s) {
		err := real.Do(line)
		var errno unix.Errno
		switch {
		case errors.As(err, &errno):
			return Errno(errno), nil
		case err != nil && s.Errno != 0:
			return ENOTRUN, nil
		case err != nil:
			return 0, err
		}
	}
	return 0, nil
}

// script is a step in the testforest's words.
func script(s *Step) []string {
	a, target := nameOf(s.Actor), nameOf(s.Target)
	switch s.Kind {
	case Fork, ForkSignal, ForkParent, ForkNamed, ForkPID, ForkUser, Enter, ForkThread:
		return []string{a + " " + forkWords(s)}
	case ExitOne:
		return []string{fmt.Sprintf("%s exit-thread %d", a, s.Number)}
	case ExitAll:
		return []string{fmt.Sprintf("%s exit %d", a, s.Number)}
	case KillOne, Stop, Continue:
		return []string{fmt.Sprintf("host kill %s %d", target, s.Number)}
	case Reap:
		return []string{a + " reap " + target}
	case NewSession:
		return []string{a + " setsid"}
	case JoinGroup, MoveChild:
		return []string{fmt.Sprintf("%s setpgid %s %s", a, selfOr(s.Target), selfOr(s.Group))}
	case Reaper:
		return []string{fmt.Sprintf("%s subreaper %d", a, s.Number)}
	case UnsharePID:
		return []string{a + " unshare pid"}
	case UnshareUser:
		return []string{a + " unshare user"}
	case JoinPID:
		return []string{a + " setns " + target + " pid"}
	case JoinUser:
		return []string{a + " setns " + target + " user"}
	case Execve:
		return []string{a + " exec"}
	case TellStop:
		return []string{a + " wait-stop " + target}
	case ParentDeath:
		return []string{fmt.Sprintf("%s pdeath %d", a, s.Number)}
	case MapUsers:
		return []string{"host maps " + target + " uid 0 0 65536", "host maps " + target + " gid 0 0 65536"}
	}
	panic("no words for " + s.String())
}

func selfOr(id TaskID) string {
	if id == 0 {
		return "self"
	}
	return nameOf(id)
}

func forkWords(s *Step) string {
	name := "failed"
	if s.Errno == 0 {
		name = nameOf(s.Child)
	}
	words := []string{"fork", name}
	switch {
	case s.Flags&Thread != 0:
		words[0] = "thread"
	case s.Flags&Parent != 0:
		words = append(words, "parent")
	default:
		words = append(words, fmt.Sprintf("sig=%d", s.Number))
	}
	if s.Flags&NewPID != 0 {
		words = append(words, "newpid")
	}
	if s.Flags&NewUser != 0 {
		words = append(words, "newuser")
	}
	if s.SetTID != nil {
		var numbers []string
		for _, n := range slices.Backward(s.SetTID) {
			numbers = append(numbers, strconv.Itoa(int(n)))
		}
		words = append(words, "num="+strings.Join(numbers, "/"))
	}
	return strings.Join(words, " ")
}

// asWitness says what /proc would show of f.
func asWitness(f *forest.Forest) *witness.Forest {
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
		}
		addState(f, order, t, out)
		w.Tasks[witness.Key(f.TagName(t.Pid))] = out
	}
	return w
}

func addState(f *forest.Forest, order []int, t *forest.Task, out witness.Task) {
	switch t.State {
	case forest.Zombie, forest.DeadLeader:
		out[witness.State], out[witness.ExitCode] = "zombie", strconv.Itoa(int(t.ExitCode))
		return
	case forest.Stopped:
		out[witness.State] = "stopped"
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
