// SPDX-License-Identifier: Apache-2.0

package leak

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/internal/require"
)

// leakVariable makes the test binary tests that leave something behind.
const leakVariable = "PIDGRAFT_TEST_LEAK"

func TestMain(m *testing.M) {
	if name := os.Getenv(leakVariable); name != "" {
		c := checked{culprits[name].tests, culprits[name].atEnd, 500 * time.Millisecond}
		os.Exit(c.Run())
	}
	os.Exit(Checked(m).Run())
}

// culprit stands for the tests of a package.
type culprit struct {
	tests testsFunc
	atEnd []func() error
	want  string // what is said of them; nothing of the innocent
}

type testsFunc func() error

func (f testsFunc) Run() int {
	if err := f(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	return 0
}

var kept *os.File

var culprits = map[string]culprit{
	"nothing": {tests: func() error { return exec.Command("true").Run() }},
	"reaped late": {tests: func() error {
		return exec.Command("sh", "-c", "sleep 0.1 &").Run()
	}},
	"kept for all": {
		tests: openNull,
		atEnd: []func() error{func() error { return kept.Close() }},
	},
	"failed": {
		tests: openNull,
		atEnd: []func() error{func() error { return errors.Join(kept.Close(), errors.New("it does not close")) }},
		want:  "it does not close",
	},
	"descriptor": {tests: openNull, want: `-> "/dev/null"`},
	"memfd": {tests: func() error {
		_, err := unix.MemfdCreate("forgotten", 0)
		return err
	}, want: "memfd:forgotten"},
	"mapped memfd": {tests: func() error {
		fd, err := unix.MemfdCreate("mapped", 0)
		if err != nil {
			return err
		}
		if err := unix.Ftruncate(fd, 4096); err != nil {
			return err
		}
		if _, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ, unix.MAP_SHARED); err != nil {
			return err
		}
		return unix.Close(fd)
	}, want: `mapped memfd `},
	"child": {tests: func() error {
		return exec.Command("sleep", "60").Start()
	}, want: `("sleep", command line "sleep\x0060\x00")`},
	// Its parent ends, so it is the child of who tests.
	"orphan": {tests: func() error {
		return exec.Command("sh", "-c", "sleep 60 &").Run()
	}, want: `("sleep", command line "sleep\x0060\x00")`},
}

func openNull() (err error) {
	kept, err = os.Open(os.DevNull)
	return err
}

func TestChecked(t *testing.T) {
	require.Root(t)
	for name, c := range culprits {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("/proc/self/exe")
			// The machine is not this test's alone.
			cmd.Env = append(os.Environ(), leakVariable+"="+name, require.Guest+"=")
			out, err := cmd.CombinedOutput()
			if c.want == "" && err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			if c.want != "" && (cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), c.want)) {
				t.Errorf("%v, and what is said has no %q:\n%s", err, c.want, out)
			}
		})
	}
}

// Every kind of thing that is the machine's is seen when it comes, and no more
// when it is gone.
func TestMachine(t *testing.T) {
	require.Root(t)
	for kind, start := range map[string]func(t *testing.T) (stop func() error){
		"process":       startSleep,
		"pid namespace": startSleep,
		"BPF program":   func(t *testing.T) func() error { return program(t).Close },
		"BPF map": func(t *testing.T) func() error {
			m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "forgotten", Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
			if err != nil {
				t.Fatal(err)
			}
			return m.Close
		},
		"BPF link": func(t *testing.T) func() error {
			p := program(t)
			l, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: "sched_process_exec", Program: p})
			if err != nil {
				t.Fatal(err)
			}
			return func() error { return errors.Join(l.Close(), p.Close()) }
		},
		"mount": func(t *testing.T) func() error {
			dir := t.TempDir()
			if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
				t.Fatal(err)
			}
			return func() error { return unix.Unmount(dir, 0) }
		},
		"cgroup": func(t *testing.T) func() error {
			for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
				if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err == nil {
					dir, err := os.MkdirTemp(root, "pidgraft-leak-")
					if err != nil {
						t.Fatal(err)
					}
					return func() error { return os.Remove(dir) }
				}
			}
			t.Fatal("no cgroup v2 is mounted")
			return nil
		},
	} {
		t.Run(kind, func(t *testing.T) {
			see := machineKinds[kind]
			before := seen(t, see)
			stop := start(t)
			own := state{"": before}.added(state{"": seen(t, see)})
			if len(own) == 0 {
				t.Error("it is not seen")
			}
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			// What others made meanwhile may stay.
			for deadline := time.Now().Add(patience); len(own) > 0; time.Sleep(time.Millisecond) {
				still := state{"": before}.added(state{"": seen(t, see)})
				if len(still) < len(own) || !contains(still, own) {
					break
				}
				if time.Now().After(deadline) {
					t.Errorf("seen still: %q", still)
					break
				}
			}
		})
	}
	if len(machineKinds) != 7 {
		t.Errorf("%d kinds of things, and this test knows 7", len(machineKinds))
	}
}

// What others make and close meanwhile is no error, and hides nothing that
// comes after it.
func TestObjectsThatComeAndGo(t *testing.T) {
	next := func(id uint32) (uint32, error) {
		if id == 5 {
			return 0, unix.ENOENT
		}
		return id + 1, nil
	}
	for _, c := range []struct {
		err  error
		want string
	}{
		{unix.ENOENT, "map[2:it 3:it 4:it 5:it]"},
		{fmt.Errorf("get link: %w", unix.EAGAIN), "map[2:it 3:it 4:it 5:it]"},
		{unix.EPERM, "map[]"},
	} {
		found, err := bpfObjects(next, func(id uint32) (string, error) {
			if id == 1 {
				return "", c.err
			}
			return "it", nil
		})
		if fmt.Sprint(found) != c.want || (err != nil) != (c.want == "map[]") {
			t.Errorf("%v of the first: %v, %v", c.err, found, err)
		}
	}
}

// A link that is being attached has an id and cannot be opened yet.
func TestLinksBeingAttached(t *testing.T) {
	require.Root(t)
	p := program(t)
	defer p.Close()
	stop, stopped := make(chan struct{}), make(chan error)
	go func() {
		for {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			l, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: "sched_process_exec", Program: p})
			if errors.Is(err, unix.EEXIST) {
				continue // the one before: who looks at it has it open yet
			}
			if err != nil {
				stopped <- err
				return
			}
			if err := l.Close(); err != nil {
				stopped <- err
				return
			}
		}
	}()
	for range 1000 {
		seen(t, bpfLinks)
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
}

func contains(all, some []string) bool {
	for _, s := range some {
		if !strings.Contains(strings.Join(all, "\n"), s) {
			return false
		}
	}
	return true
}

func seen(t *testing.T, see func() (map[string]string, error)) map[string]string {
	t.Helper()
	found, err := see()
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// startSleep starts a process in a pid namespace of its own.
func startSleep(t *testing.T) (stop func() error) {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWPID, Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() error {
		if err := cmd.Process.Kill(); err != nil {
			return err
		}
		_, err := cmd.Process.Wait()
		return err
	}
}

func program(t *testing.T) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "forgotten", Type: ebpf.RawTracepoint, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}
