// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/bpf"
	"github.com/pidgraft/pidgraft/collector"
	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/forest/foresttest"
	"github.com/pidgraft/pidgraft/image"
	"github.com/pidgraft/pidgraft/internal/leak"
	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/internal/testforest"
	"github.com/pidgraft/pidgraft/loader"
	"github.com/pidgraft/pidgraft/restore/model"
	"github.com/pidgraft/pidgraft/restore/plan"
)

func TestMain(m *testing.M) { os.Exit(leak.Checked(m, testforest.Close).Run()) }

// few and many are the sizes of which the difference is a task's. An image is
// packed from 1001 tasks on.
const (
	few  = 1200
	many = 3200
)

// cost is what one thing costs for n tasks.
type cost struct {
	what  string
	limit float64 // of a task
	of    func(n int) (float64, error)
}

// pure are costs that are the same everywhere.
var pure = []cost{
	{"bytes of an image", 43, func(n int) (float64, error) {
		var b bytes.Buffer
		err := image.Write(&b, flat(n))
		return float64(b.Len()), err
	}},
	{"bytes of an image, compressed", 5, func(n int) (float64, error) {
		var b bytes.Buffer
		err := image.WriteCompressed(&b, flat(n))
		return float64(b.Len()), err
	}},
	{"bytes of an image of all kinds of tasks", 44, func(n int) (float64, error) {
		var b bytes.Buffer
		err := image.Write(&b, foresttest.Wide(n))
		return float64(b.Len()), err
	}},
	{"allocations to write an image", 0.01, allocations(func(f *forest.Forest) error { return image.Write(io.Discard, f) })},
	{"allocations to read an image", 0.02, func(n int) (float64, error) {
		var b bytes.Buffer
		if err := image.Write(&b, foresttest.Wide(n)); err != nil {
			return 0, err
		}
		return allocations(func(*forest.Forest) error {
			_, err := image.Read(bytes.NewReader(b.Bytes()))
			return err
		})(n)
	}},
	{"bytes of memory of a forest", 200, func(n int) (float64, error) {
		var b bytes.Buffer
		if err := image.Write(&b, flat(n)); err != nil {
			return 0, err
		}
		// Twice: what was in a pool goes the second time.
		runtime.GC()
		runtime.GC()
		before := stats()
		f, err := image.Read(bytes.NewReader(b.Bytes()))
		runtime.GC()
		runtime.GC()
		kept := float64(stats().HeapAlloc) - float64(before.HeapAlloc)
		runtime.KeepAlive(f)
		runtime.KeepAlive(&b)
		return kept, err
	}},
	{"allocations to plan", 5, allocations(makePlan)},
	{"bytes allocated to plan", 1900, allocated(makePlan)},
	{"allocations to check a plan in the model", 0.5, func(n int) (float64, error) {
		p, err := plan.Make(foresttest.Wide(n), planOptions)
		if err != nil {
			return 0, err
		}
		return allocations(func(f *forest.Forest) error {
			_, err := model.Execute(p, f, nil)
			return err
		})(n)
	}},
}

// live are costs on this machine's kernel, of the command or of its parts.
func live(pidgraft, dir string) []cost {
	dumped := filepath.Join(dir, "dump.img")
	return []cost{
		{"system calls of a dump", 0.5, func(n int) (float64, error) {
			return withForest(n, func(root int) (float64, error) {
				return leastOf(func() (uint64, error) {
					return systemCalls(pidgraft, "dump", "-f", "-o", dumped, strconv.Itoa(root))
				})
			})
		}},
		{"system calls of a restore, of all its processes", 3.8, func(n int) (float64, error) {
			img := filepath.Join(dir, fmt.Sprintf("%d.img", n))
			if err := writeImage(img, flat(n)); err != nil {
				return 0, err
			}
			pidfile := img + ".pid"
			return leastOf(func() (uint64, error) {
				calls, err := systemCalls(pidgraft, "restore", "-d", "--verify=false", "--pidfile", pidfile, img)
				if err != nil {
					return 0, err
				}
				return calls, end(pidfile)
			})
		}},
		{"allocations to collect, both passes", 0.1, collecting(func(m *runtime.MemStats) uint64 { return m.Mallocs })},
		{"bytes allocated to collect, both passes", 310, collecting(func(m *runtime.MemStats) uint64 { return m.TotalAlloc })},
	}
}

// collecting is of looking at a live forest until it is in memory.
func collecting(of func(*runtime.MemStats) uint64) func(n int) (float64, error) {
	return func(n int) (float64, error) {
		return withForest(n, func(root int) (float64, error) {
			l, err := loader.Open(loader.Target{PID: root, Scope: loader.Container, Unwatched: true})
			if err != nil {
				return 0, err
			}
			defer l.Close()
			return leastOf(func() (uint64, error) {
				before := stats()
				_, err := collector.Cut(context.Background(), l, l.Mode(), collector.Options{Method: forest.Frozen})
				return of(stats()) - of(before), err
			})
		})
	}
}

func judge(t *testing.T, costs []cost) {
	for _, c := range costs {
		t.Run(strings.ReplaceAll(c.what, " ", "-"), func(t *testing.T) {
			a, err := c.of(few)
			if err != nil {
				t.Fatal(err)
			}
			b, err := c.of(many)
			if err != nil {
				t.Fatal(err)
			}
			each := (b - a) / (many - few)
			t.Logf("%.2f a task of at most %v", each, c.limit)
			if each > c.limit {
				t.Errorf("%s: %.2f a task, where at most %v are allowed: %.0f for %d tasks, %.0f for %d. "+
					"See package guard on what a limit is", c.what, each, c.limit, a, few, b, many)
			}
		})
	}
}

func TestPure(t *testing.T) { judge(t, pure) }

func TestLive(t *testing.T) {
	require.Root(t)
	require.Feature(t, require.Sources)
	require.Feature(t, require.Program("go", "golang"))
	require.Feature(t, require.ProbeReads)
	// A restored forest becomes a child of this process.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	pidgraft := filepath.Join(dir, "pidgraft")
	build := exec.Command("go", "build", "-buildvcs=false", "-tags", "lean", "-o", pidgraft, "../../cmd/pidgraft")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	judge(t, live(pidgraft, dir))
}

// programs are the BPF programs that run once or twice for a task, with how many
// instructions and how many calls of helpers they have. A task of one level takes
// most of them; a loop counts once.
var programs = map[string]struct{ instructions, helpers int }{
	bpf.PidsProgTasks:        {2440, 119},
	bpf.PidsProgWalkIdr:      {2540, 105},
	bpf.PidsProgWatchSyscall: {255, 10},
}

func TestPrograms(t *testing.T) {
	spec, err := bpf.LoadPids()
	if err != nil {
		t.Fatal(err)
	}
	for name, limit := range programs {
		p := spec.Programs[name]
		if p == nil {
			t.Errorf("there is no program %s", name)
			continue
		}
		helpers := 0
		for _, ins := range p.Instructions {
			if ins.OpCode.JumpOp() == asm.Call && ins.Src != asm.PseudoCall {
				helpers++
			}
		}
		t.Logf("%s: %d instructions, %d calls of helpers", name, len(p.Instructions), helpers)
		if len(p.Instructions) > limit.instructions || helpers > limit.helpers {
			t.Errorf("%s: %d instructions and %d calls of helpers, where at most %d and %d are allowed. See package guard on what a limit is",
				name, len(p.Instructions), helpers, limit.instructions, limit.helpers)
		}
	}
}

// A system call too many for each task is seen.
func TestCountsAreReal(t *testing.T) {
	require.Root(t)
	require.Feature(t, require.Sources)
	calls := func(n int) float64 {
		c, err := systemCalls("/bin/sh", "-c", fmt.Sprintf("i=0; while [ $i -lt %d ]; do i=$((i+1)); (:); done", n))
		if err != nil {
			t.Fatal(err)
		}
		return float64(c)
	}
	// A subshell is a clone, a wait and an exit at least.
	if each := (calls(120) - calls(20)) / 100; each < 3 {
		t.Errorf("%v system calls for a subshell", each)
	}
	each, err := allocations(func(f *forest.Forest) error {
		for range f.Tasks {
			sink = new(int)
		}
		return nil
	})(1000)
	if err != nil || each < 1000 {
		t.Errorf("%v allocations of 1000, %v", each, err)
	}
}

var sink *int

var planOptions = plan.Options{PidMax: 4 << 20, OwnPidMax: true}

func makePlan(f *forest.Forest) error {
	_, err := plan.Make(f, planOptions)
	return err
}

// flat is an init with children, as a dump of sleepers has them.
func flat(n int) *forest.Forest {
	f := &forest.Forest{
		UserNamespaces: []forest.UserNamespace{{Parent: -1, Setgroups: true}},
		Namespaces:     []forest.Namespace{{Parent: -1, Cursor: uint32(n) + 1}},
		Cut:            forest.Cut{Walked: true},
	}
	for i := range n {
		tag := forest.Tag(i + 1)
		f.Pids = append(f.Pids, forest.Pid{Numbers: []int32{int32(tag)}})
		t := forest.Task{
			Pid: tag, TGID: tag, PGID: 1, SID: 1, Parent: 1, ParentThread: 1, ExitSignal: forest.SIGCHLD, ChildNamespace: forest.SameNamespace,
			Comm: "sleeper", StartTime: uint64(tag) * 123_457,
		}
		if i == 0 {
			t.Parent, t.ParentThread = forest.Outside, forest.Outside
		}
		f.Tasks = append(f.Tasks, t)
	}
	return f
}

func writeImage(path string, f *forest.Forest) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(image.Write(file, f), file.Close())
}

// withForest does something with a live flat forest of n tasks.
func withForest(n int, do func(root int) (float64, error)) (v float64, err error) {
	f, err := testforest.New()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Kill()) }()
	if err := f.Run(fmt.Sprintf("outside fork init newpid\ninit sleepers %d", n-1)); err != nil {
		return 0, err
	}
	return do(f.Root())
}

// end ends what was restored.
func end(pidfile string) error {
	text, err := os.ReadFile(pidfile)
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		return err
	}
	_, err = unix.Wait4(pid, nil, 0, nil)
	return err
}

func stats() *runtime.MemStats {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return &m
}

// leastOf is the least of three times: what the runtime does for itself comes
// and goes, and there is more of it on a busy machine.
func leastOf(count func() (uint64, error)) (float64, error) {
	var best uint64
	for i := range 3 {
		v, err := count()
		if err != nil {
			return 0, err
		}
		if i == 0 || v < best {
			best = v
		}
	}
	return float64(best), nil
}

// allocations counts those of doing something with a forest of n tasks.
func allocations(do func(*forest.Forest) error) func(n int) (float64, error) {
	return grown(do, func(m *runtime.MemStats) uint64 { return m.Mallocs })
}

func allocated(do func(*forest.Forest) error) func(n int) (float64, error) {
	return grown(do, func(m *runtime.MemStats) uint64 { return m.TotalAlloc })
}

func grown(do func(*forest.Forest) error, of func(*runtime.MemStats) uint64) func(n int) (float64, error) {
	return func(n int) (float64, error) {
		f := foresttest.Wide(n)
		return leastOf(func() (uint64, error) {
			before := stats()
			err := do(f)
			return of(stats()) - of(before), err
		})
	}
}
