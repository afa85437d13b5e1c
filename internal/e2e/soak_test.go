// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/internal/alone"
	"github.com/pidgraft/pidgraft/internal/reenact"
	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/internal/testforest"
	"github.com/pidgraft/pidgraft/internal/witness"
	"github.com/pidgraft/pidgraft/restore/model"
)

var (
	soakN      = flag.Int("soak.n", 12, "forests of TestSoak; a third with -short")
	soakSeed   = flag.Uint64("soak.seed", 1, "seed of TestSoak")
	soakFor    = flag.Duration("soak.for", 0, "how long TestSoak goes on at most (0: to the end)")
	soakScript = flag.String("soak.script", "", "a script of one forest for TestSoak, as a failure prints it")
	soakMode   = flag.String("soak.mode", "container", "what that forest is: container or subtree")
)

// TestSoak makes random forests with real processes, as random legal histories
// have it, dumps, kills and restores them, and holds what /proc says before and
// after against each other. What is refused is counted; a difference, or a task
// that is left when the forest has been killed, is a failure. It becomes smaller,
// and prints as a script.
func TestSoak(t *testing.T) {
	require.Root(t)
	if !alone.Inside() {
		soakWorkers(t)
		return
	}
	alone.Enter(t)
	s := newSoak()
	defer func() { alone.Report(t, s) }()
	dir := t.TempDir()
	if *soakScript != "" {
		s.script(t, dir)
		return
	}
	rapid.Check(t, func(t *rapid.T) {
		mode := forest.Mode(rapid.IntRange(0, 1).Draw(t, "subtree"))
		h := reenact.Draw(t, rapid.IntRange(10, 70).Draw(t, "slots"), model.Config{
			Kinds: reenact.Kinds(), MaxTasks: 20, Version: reenact.Version(), Subtree: mode == forest.Subtree,
		})
		if err := s.one(dir, h); err != nil {
			t.Fatalf("%v\nscript (go test ./internal/e2e -run TestSoak -soak.mode %s -soak.script FILE):\n%s", err, h.Mode, reenact.Script(h))
		}
	})
}

// soak is what came of many forests.
type soak struct {
	Exact    int            // came back
	Tasks    int            // of those
	Attached int            // of those, with a restorer that stayed
	Refused  map[string]int // by reason
}

func newSoak() *soak { return &soak{Refused: map[string]int{}} }

func (s *soak) script(t *testing.T, dir string) {
	text, err := os.ReadFile(*soakScript)
	if err != nil {
		t.Fatal(err)
	}
	h, err := reenact.Parse(string(text), reenact.Version())
	if err != nil {
		t.Fatal(err)
	}
	if *soakMode == forest.Subtree.String() {
		h.Mode = forest.Subtree
	}
	if err := s.one(dir, h); err != nil {
		t.Fatal(err)
	}
}

// unkeptOfHistory: in a history a process may end otherwise than its leader
// did. Before 5.17 /proc shows the code of the leader, which a restore does not
// bring back; what wait reports is then left to what the command compares.
func unkeptOfHistory() []witness.Field {
	if testforest.Release() < 517 {
		return append(slices.Clone(unkept), witness.ExitCode)
	}
	return unkept
}

// one makes the forest of a history, and takes it there and back.
func (s *soak) one(dir string, h *model.History) error {
	image := filepath.Join(dir, "forest.img")
	if err := os.RemoveAll(image); err != nil {
		return err
	}
	before, err := s.dumped(h, image)
	if err := errors.Join(err, nobodyLeft()); err != nil || before == nil {
		return err
	}
	root, attached, err := restoreAny(image)
	if err != nil {
		return errors.Join(fmt.Errorf("what was dumped is not restored: %w", err), nobodyLeft())
	}
	after, err := witness.Read(root)
	if err == nil {
		if d := witness.Compare(before, after, unkeptOfHistory()...); len(d) > 0 {
			err = fmt.Errorf("it is not the same: %s", strings.Join(d, "; "))
		}
	}
	k, replayed := h.Replay()
	err = errors.Join(err, replayed)
	if err == nil && (k.Leaving(h.Root) || before.Tasks[before.Root][witness.State] == "zombie") {
		root = -1 // who keeps it would keep it for ever
	}
	if err := errors.Join(err, unix.Kill(root, unix.SIGKILL), nobodyLeft()); err != nil {
		return err
	}
	s.Exact++
	s.Tasks += len(before.Tasks)
	if attached {
		s.Attached++
	}
	return nil
}

// restoreAny restores an image, detached if it can be: not a root that would
// hear of it. It returns the root's number.
func restoreAny(image string) (root int, attached bool, err error) {
	o, err := limited("restore", "-d", image)
	if err != nil {
		return 0, false, err
	}
	if o.code == 0 {
		root, err := strconv.Atoi(strings.TrimSpace(o.stdout))
		return root, false, err
	}
	if o.code != 3 || !strings.Contains(o.stderr, "restore without detaching") {
		return 0, false, fmt.Errorf("exit code %d: %s", o.code, o.stderr)
	}
	var stderr bytes.Buffer
	cmd := exec.Command(pidgraft, "restore", "-o", "json", image)
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return 0, true, err
	}
	if err := cmd.Start(); err != nil {
		return 0, true, err
	}
	var report struct{ Pid int }
	if err := json.NewDecoder(stdout).Decode(&report); err != nil {
		return 0, true, fmt.Errorf("attached, it reported nothing: %w: %s", errors.Join(err, cmd.Wait()), stderr.String())
	}
	return report.Pid, true, nil // nobodyLeft waits for it
}

// limited runs pidgraft, which has to end some day.
func limited(args ...string) (outcome, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	o, err := run(exec.CommandContext(ctx, pidgraft, args...))
	if ctx.Err() != nil {
		err = errors.Join(fmt.Errorf("pidgraft %s does not end", strings.Join(args, " ")), err)
	}
	return o, err
}

// dumped makes the forest of a history, dumps it, and kills it. It returns what
// /proc said of it, or nil if the dump was refused.
func (s *soak) dumped(h *model.History, image string) (before *witness.Forest, err error) {
	stage, err := reenact.NewStage()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stage.Close()) }()
	k := model.NewVersion(h.Version)
	root := h.First()
	for i := range h.Steps {
		step := h.Steps[i]
		if more, err := stage.Step(k, &step); err != nil {
			return nil, err
		} else if !more { // the model has made this step, the tasks have not
			if k, err = (&model.History{Version: h.Version, Steps: h.Steps[:i]}).Replay(); err != nil {
				return nil, err
			}
			break
		}
		if leader := k.Leader(root); leader != 0 {
			root = leader
		}
	}
	if k.Leader(root) == 0 {
		return nil, nil // its root was not born
	}
	pid := stage.Forest.PID(reenact.Name(root))
	if before, err = witness.Read(pid); err != nil {
		return nil, err
	}
	o, err := limited("dump", "--"+h.Mode.String(), "-o", image, strconv.Itoa(pid))
	if err != nil {
		return nil, err
	}
	again, err := witness.Read(pid)
	if err != nil {
		return nil, err
	}
	if d := witness.Compare(before, again); len(d) > 0 {
		return nil, fmt.Errorf("the dump changed its target: %s", strings.Join(d, "; "))
	}
	const refused = 5
	switch o.code {
	case 0:
		return before, nil
	case refused:
		s.Refused[reason(o.stderr)]++
		return nil, nil
	}
	return nil, fmt.Errorf("dump: exit code %d: %s", o.code, o.stderr)
}

var particular = regexp.MustCompile(`[0-9]+(/[0-9]+)*( \([^)]*\))?`)

// reason is the first reason of a refusal, without what is particular to it.
func reason(stderr string) string {
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	return particular.ReplaceAllString(strings.TrimSpace(lines[min(1, len(lines)-1)]), "N")
}

// nobodyLeft waits until there is nobody but this process, the init here.
func nobodyLeft() error {
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		for {
			if n, err := unix.Wait4(-1, nil, unix.WNOHANG|unix.WALL, nil); n <= 0 || err != nil {
				break
			}
		}
		others, err := filepath.Glob("/proc/[0-9]*")
		if err != nil {
			return err
		}
		others = slices.DeleteFunc(others, func(dir string) bool { return dir == "/proc/1" })
		if len(others) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			var left []string
			for _, dir := range others {
				pid, _ := strconv.Atoi(filepath.Base(dir))
				left = append(left, fmt.Sprintf("%d (%s)", pid, comm(pid)))
				unix.Kill(pid, unix.SIGKILL)
			}
			return fmt.Errorf("left behind: %s", strings.Join(left, ", "))
		}
	}
}

// soakWorkers spreads the forests over the processors.
func soakWorkers(t *testing.T) {
	if os.Getenv(testforest.PuppetEnv) == "" {
		puppet := filepath.Join(t.TempDir(), "puppet")
		if err := testforest.CompilePuppet(puppet, ""); err != nil {
			t.Fatal(err)
		}
		t.Setenv(testforest.PuppetEnv, puppet)
	}
	t.Setenv("PIDGRAFT", pidgraft)
	b := alone.Batches{
		Test: "TestSoak", N: *soakN, Size: 20, Workers: runtime.GOMAXPROCS(0), Seed: *soakSeed, For: *soakFor,
		Args: []string{"-soak.script=" + *soakScript, "-soak.mode=" + *soakMode},
	}
	if testing.Short() {
		b.N = max(b.N/3, 1)
	}
	if *soakScript != "" {
		b.N = 1
	}
	total := newSoak()
	alone.RunBatches(t, b, newSoak, total.add, total)
	if total.Exact == 0 {
		t.Error("no forest was restored")
	}
}

func (s *soak) add(b *soak) {
	s.Exact += b.Exact
	s.Tasks += b.Tasks
	s.Attached += b.Attached
	for r, n := range b.Refused {
		s.Refused[r] += n
	}
}

// String is a summary, with the reasons of refusals.
func (s *soak) String() string {
	var b strings.Builder
	refused := 0
	for _, n := range s.Refused {
		refused += n
	}
	fmt.Fprintf(&b, "%d forests of %d tasks came back exactly (%d with a restorer that had to stay), %d were refused", s.Exact, s.Tasks, s.Attached, refused)
	for _, r := range slices.SortedFunc(maps.Keys(s.Refused), func(a, b string) int { return s.Refused[b] - s.Refused[a] }) {
		fmt.Fprintf(&b, "\n%6d %s", s.Refused[r], r)
	}
	return b.String()
}
