// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/audit/record"
	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/internal/schematest"
	"github.com/pidgraft/pidgraft/internal/testforest"
)

// pidgraft is this program as a command.
func pidgraft(args ...string) *exec.Cmd {
	cmd := exec.Command(underTest(), args...)
	cmd.Args[0] = "pidgraft" // as which the test binary is the command
	cmd.Stderr = os.Stderr
	return cmd
}

// auditRun is a running pidgraft audit.
type auditRun struct {
	t       *testing.T
	cmd     *exec.Cmd
	lines   chan string
	records []record.Record
}

func startAudit(t *testing.T, args ...string) *auditRun {
	t.Helper()
	return startCommand(t, pidgraft(append([]string{"audit"}, args...)...))
}

func startCommand(t *testing.T, cmd *exec.Cmd) *auditRun {
	t.Helper()
	a := &auditRun{t: t, cmd: cmd, lines: make(chan string, 1024)}
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if a.cmd.ProcessState == nil {
			_ = a.cmd.Process.Kill()
			_ = a.cmd.Wait()
		}
	})
	go func() {
		defer close(a.lines)
		in := bufio.NewScanner(out)
		in.Buffer(nil, 1<<20)
		for in.Scan() {
			a.lines <- in.Text()
		}
	}()
	return a
}

// read takes the next record, and holds it against the schema.
func (a *auditRun) read(patience <-chan time.Time) (record.Record, bool) {
	a.t.Helper()
	var r record.Record
	select {
	case line, ok := <-a.lines:
		if !ok {
			return r, false
		}
		errs, err := schematest.Check("../../docs/schema/audit.v1.json", []byte(line))
		if err != nil || len(errs) > 0 {
			a.t.Fatalf("%s\n%v\n%s", line, err, strings.Join(errs, "\n"))
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			a.t.Fatal(err)
		}
		a.records = append(a.records, r)
		return r, true
	case <-patience:
		return r, false
	}
}

// until reads up to a record that fits.
func (a *auditRun) until(what string, fits func(record.Record) bool) record.Record {
	a.t.Helper()
	patience := time.After(30 * time.Second)
	for {
		r, ok := a.read(patience)
		if !ok {
			a.t.Fatalf("no record says %s; there were %d", what, len(a.records))
		}
		if fits(r) {
			return r
		}
	}
}

func (a *auditRun) signal(s os.Signal) {
	a.t.Helper()
	if err := a.cmd.Process.Signal(s); err != nil {
		a.t.Fatal(err)
	}
}

// end reads to the end, and gives the exit code.
func (a *auditRun) end() int {
	a.t.Helper()
	for patience := time.After(30 * time.Second); ; {
		if _, ok := a.read(patience); !ok {
			break
		}
	}
	_ = a.cmd.Wait()
	return a.cmd.ProcessState.ExitCode()
}

// happened fits an event of a task with this number in the container.
func happened(kind string, number int32) func(record.Record) bool {
	return func(r record.Record) bool {
		return r.Event != nil && r.Event.Kind == kind && len(r.Event.Task.Numbers) > 1 && r.Event.Task.Numbers[1] == number
	}
}

func found(kind, status string) func(record.Record) bool {
	return func(r record.Record) bool {
		return r.Finding != nil && r.Finding.Kind == kind && r.Finding.Status == status
	}
}

func do(t *testing.T, f *testforest.Forest, script string) {
	t.Helper()
	if err := f.Run(script); err != nil {
		t.Fatal(err)
	}
}

// What happens in a container is told as it happens, and in the end summed up.
func TestAudit(t *testing.T) {
	require.Root(t)
	require.Feature(t, require.BTF)
	f := testforest.Start(t, `
		outside fork init newpid
		init fork a
		a fork b`)
	allow := filepath.Join(t.TempDir(), "allow")
	if err := os.WriteFile(allow, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	a := startAudit(t, "--pid", fmt.Sprint(f.Root()), "--zombie-after", "1s", "--allow", allow, "--hidden-every", "2s")
	h := a.until("what is audited", func(r record.Record) bool { return r.Header != nil })
	if h.Header.Namespace.Level != h.Header.Own.Level+1 || h.Header.Namespace.Inode == h.Header.Own.Inode || !h.Header.Walked {
		t.Errorf("header %+v", h.Header)
	}
	s := a.until("what there is", func(r record.Record) bool { return r.Snapshot != nil })
	if s.State != "complete" || s.Snapshot.Tasks != 3 || s.Snapshot.Objects < 3 || len(s.Snapshot.Namespaces) != 1 {
		t.Errorf("state %s, snapshot %+v", s.State, s.Snapshot)
	}
	if b := s.Snapshot.Namespaces[0]; b.Allocated != 3 || b.Cursor != 4 || b.Left <= 0 || b.Level != h.Header.Namespace.Level {
		t.Errorf("budget %+v", b)
	}

	do(t, f, "b fork c\nc setsid\nc fork d")
	e := a.until("that c was born", happened("birth", 4)).Event
	if e.Task.Comm == "" || int(e.Creator.Host) != f.PID("b") || e.Creator.Number != 3 {
		t.Errorf("birth %+v by %+v", e.Task, e.Creator)
	}
	e = a.until("that c has a name", happened("change", 4)).Event
	if e.Task.Comm != "c" || !slices.Equal(e.Changed, []string{`name "c", was "b"`}) {
		t.Errorf("name %+v: %q", e.Task, e.Changed)
	}
	// One source tells of both at once, the other of one after the other.
	a.until("that c made a session and a group", func(r record.Record) bool {
		return happened("change", 4)(r) && slices.Equal(r.Event.Task.Session, r.Event.Task.Numbers) &&
			slices.Equal(r.Event.Task.Group, r.Event.Task.Numbers)
	})

	// Its parent does not reap it.
	do(t, f, "c exit 3")
	z := a.until("that c is a zombie", found("zombie", "raised")).Finding
	if z.Culprit == nil || int(z.Culprit.Numbers[0]) != f.PID("b") || z.Subject[1] != 4 {
		t.Errorf("zombie %+v, culprit %+v", z, z.Culprit)
	}
	do(t, f, "b reap c")
	a.until("that c is reaped", found("zombie", "cleared"))
	l := a.until("that d has a session without leader", found("leaderless-session", "raised")).Finding
	if l.Subject[1] != 4 {
		t.Errorf("leaderless session %+v", l)
	}

	// The test's process enters, and is expected to the second time.
	do(t, f, "outside setns init pid\noutside fork entrant")
	in := a.until("that somebody entered", found("entry", "raised")).Finding
	if int(in.Creator.Host) != f.PID("outside") || in.Creator.Namespace == in.Namespace || int(in.Task.Numbers[0]) != f.PID("entrant") {
		t.Errorf("entry %+v by %+v", in, in.Creator)
	}
	if err := os.WriteFile(allow, fmt.Appendf(nil, "comm=%s uid=0 # the test\n", in.Creator.Comm), 0o600); err != nil {
		t.Fatal(err)
	}
	a.signal(syscall.SIGHUP)
	a.signal(syscall.SIGUSR1)
	a.until("the snapshot asked for", func(r record.Record) bool { return r.Snapshot != nil && r.Snapshot.Cause == "signal" })
	do(t, f, "outside fork expected")
	a.until("that the other was born", func(r record.Record) bool {
		return r.Event != nil && r.Event.Kind == "birth" && int(r.Event.Task.Numbers[0]) == f.PID("expected")
	})
	a.signal(syscall.SIGTERM)
	if code := a.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	last := a.records[len(a.records)-1]
	if last.Summary == nil || last.Summary.Lost != 0 || last.Summary.Recovered != 0 || last.Summary.Events == 0 {
		t.Errorf("the last record is %+v", last)
	}
	entries := 0
	for _, r := range a.records {
		if found("entry", "raised")(r) {
			entries++
		}
		if found("hidden", "raised")(r) || found("invariant", "raised")(r) || r.Recovered != nil {
			t.Errorf("%+v %+v", r.Finding, r.Recovered)
		}
	}
	if entries != 1 {
		t.Errorf("%d entries, want 1", entries)
	}
}

// Of several namespaces there are records, each with its budget, and of no others;
// when the last has ended, so does the audit.
func TestAuditSeveral(t *testing.T) {
	require.Root(t)
	require.Feature(t, require.BTF)
	const script = "outside fork init newpid\ninit fork a"
	one, two, other := testforest.Start(t, script), testforest.Start(t, script), testforest.Start(t, script)
	a := startAudit(t, "--pid", fmt.Sprint(one.Root()), "--ns", fmt.Sprintf("/proc/%d/ns/pid", two.PID("a")))
	h := a.until("what is audited", func(r record.Record) bool { return r.Header != nil }).Header
	if len(h.Chosen) != 2 || h.Namespace != h.Own || h.Chosen[0].Level != h.Own.Level+1 || h.Chosen[0] == h.Chosen[1] {
		t.Errorf("header %+v", h)
	}
	s := a.until("what there is", func(r record.Record) bool { return r.Snapshot != nil }).Snapshot
	if len(s.Namespaces) != 2 || s.Tasks != 4 || s.Processes != 4 {
		t.Errorf("snapshot %+v", s)
	}
	for _, b := range s.Namespaces {
		if b.Allocated != 2 || b.Tasks != 2 || !slices.Contains(h.Chosen, b.Namespace) {
			t.Errorf("budget %+v", b)
		}
	}
	// What is seen of the third comes before what is seen of the others.
	do(t, other, "a fork b\noutside setns init pid\noutside fork entrant")
	do(t, one, "a fork b")
	do(t, two, "a fork b\nb fork inner newpid\noutside setns init pid\noutside fork entrant")
	seen := make(map[int32]bool)
	in := a.until("the one that entered", func(r record.Record) bool {
		if r.Event != nil {
			seen[r.Event.Task.Numbers[0]] = true
		}
		return found("entry", "raised")(r)
	}).Finding
	if in.Namespace != h.Chosen[0].Inode {
		t.Errorf("entry %+v", in)
	}
	for _, pid := range []int{one.PID("b"), two.PID("b"), two.PID("inner"), two.PID("entrant")} {
		if !seen[int32(pid)] {
			t.Errorf("process %d was not seen", pid)
		}
	}
	for _, pid := range []int{other.PID("b"), other.PID("entrant")} {
		if seen[int32(pid)] {
			t.Errorf("process %d of another namespace was seen", pid)
		}
	}
	do(t, one, "init exit 0")
	reapAtLast(t, one, "outside reap init")
	a.until("the end of the first init", func(r record.Record) bool {
		return r.Event != nil && r.Event.Kind == "free" && int(r.Event.Task.Numbers[0]) == one.Root()
	})
	do(t, two, "outside kill init 9\noutside reap entrant")
	reapAtLast(t, two, "outside reap init") // which has waited for the entrant
	if code := a.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if last := a.records[len(a.records)-1]; last.Summary == nil {
		t.Errorf("the last record is %+v", last)
	}
}

// reapAtLast runs a line that reaps an init, which ends only after all of its
// namespace.
func reapAtLast(t *testing.T, f *testforest.Forest, line string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		err := f.Run(line)
		if err == nil {
			return
		}
		if !errors.Is(err, testforest.ErrNothing) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// When the container ends, so does its audit.
func TestAuditEndsWithContainer(t *testing.T) {
	require.Root(t)
	require.Feature(t, require.BTF)
	f := testforest.Start(t, "outside fork init newpid\ninit fork a")
	a := startAudit(t, "--pid", fmt.Sprint(f.PID("a")))
	a.until("what there is", func(r record.Record) bool { return r.Snapshot != nil })
	do(t, f, "init exit 0")
	// It rests, too, while it waits for the end of its own.
	err := f.Run("outside reap init")
	for deadline := time.Now().Add(time.Minute); errors.Is(err, testforest.ErrNothing) && time.Now().Before(deadline); err = f.Run("outside reap init") {
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	if code := a.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if last := a.records[len(a.records)-1]; last.Summary == nil {
		t.Errorf("the last record is %+v", last)
	}
}

// Losses are told and, unless it is to end, made good.
func TestAuditLoss(t *testing.T) {
	require.Root(t)
	require.Feature(t, require.BTF)
	ways := []string{"resync", "log", "exit"}
	if testing.Short() {
		ways = ways[:1] // the others ask less of the kernel
	}
	for _, onLoss := range ways {
		t.Run(onLoss, func(t *testing.T) {
			f := testforest.Start(t, "outside fork init newpid\ninit fork a")
			a := startAudit(t, "--pid", fmt.Sprint(f.Root()), "--simulate-loss", "2", "--on-loss", onLoss, "--reconcile", "0", "--hidden-every", "0")
			a.until("that it has begun", func(r record.Record) bool { return r.Snapshot != nil || onLoss == "exit" })
			do(t, f, "a sleepers 40")
			a.until("that events were lost", func(r record.Record) bool { return r.Loss != nil })
			want := 0
			switch onLoss {
			case "exit":
				want = exitIncomplete
			case "resync":
				a.until("a snapshot for that", func(r record.Record) bool {
					return r.Snapshot != nil && r.Snapshot.Cause == "loss" && r.Snapshot.Tasks == 42
				})
				a.until("what was missed", func(r record.Record) bool { return r.Recovered != nil && r.Recovered.Lost > 0 })
			}
			if onLoss != "exit" {
				a.signal(syscall.SIGINT)
			}
			if code := a.end(); code != want {
				t.Errorf("exit code %d, want %d", code, want)
			}
			lost := uint64(0)
			for _, r := range a.records {
				switch {
				case r.Loss != nil:
					lost += r.Loss.Count
				case r.Summary != nil && r.Summary.Lost != lost:
					t.Errorf("%d events were lost, and the records say %d", r.Summary.Lost, lost)
				}
			}
		})
	}
}

// A second INT does not wait for anything.
func TestAuditInterruptedTwice(t *testing.T) {
	require.Root(t)
	require.Feature(t, require.BTF)
	f := testforest.Start(t, "outside fork init newpid")
	// Nobody reads, so that the end cannot be written.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 4096); err != nil {
		t.Fatal(err)
	}
	cmd := pidgraft("audit", "--pid", fmt.Sprint(f.Root()))
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	for text, buf := "", make([]byte, 1); !strings.Contains(text, `"type":"snapshot"`); text += string(buf) {
		if _, err := r.Read(buf); err != nil {
			t.Fatal(err)
		}
	}
	do(t, f, "init sleepers 200")
	time.Sleep(time.Second)
	for range 2 {
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond)
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		_ = cmd.Process.Kill()
		<-done
	}
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("exit code %d, want %d", code, exitInterrupted)
	}
}

func TestCheck(t *testing.T) {
	require.Root(t)
	require.Feature(t, require.BTF)
	for _, test := range []struct {
		name, script string
		args         []string
		want         int
		policy       bool // the kernel says the same as in another
	}{
		{"incomplete is not clean", "", []string{"--simulate-loss", "1"}, exitIncomplete, true},
		{"nor is it a finding", "a exit 0", []string{"--simulate-loss", "1"}, exitIncomplete, false},
		{"clean", "", nil, exitDone, false},
		{"zombie", "a exit 0", nil, exitDifference, false},
		{"zombie is no crisis", "a exit 0", []string{"--fail-on", "critical"}, exitDone, true},
		{"ghost", "a setsid\na fork b\na exit 0\ninit reap a", nil, exitDone, true},
		{"entrant", "outside setns init pid\noutside fork entrant", []string{"--fail-on", "info"}, exitDifference, false},
		{"ghost matters", "a setsid\na fork b\na exit 0\ninit reap a", []string{"--fail-on", "info"}, exitDifference, false},
	} {
		if testing.Short() && test.policy {
			continue
		}
		t.Run(test.name, func(t *testing.T) {
			f := testforest.Start(t, "outside fork init newpid\ninit setsid\ninit fork a")
			do(t, f, test.script)
			cmd := pidgraft(append([]string{"check", "--for", "1s", "-o", "jsonl", "--pid", fmt.Sprint(f.Root())}, test.args...)...)
			out, err := cmd.Output()
			if code := cmd.ProcessState.ExitCode(); code != test.want {
				t.Errorf("exit code %d, want %d (%v)\n%s", code, test.want, err, out)
			}
			const why = "its session is led from outside the container"
			if refused := strings.Contains(string(out), "checkpoint-refused") && strings.Contains(string(out), why); refused != (test.name == "entrant") {
				t.Errorf("a checkpoint would be refused: %v\n%s", refused, out)
			}
			for line := range strings.Lines(string(out)) {
				if errs, err := schematest.Check("../../docs/schema/audit.v1.json", []byte(line)); err != nil || len(errs) > 0 {
					t.Errorf("%s: %v %q", line, err, errs)
				}
			}
		})
	}
}
