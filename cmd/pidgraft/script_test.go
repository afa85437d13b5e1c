// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/image"
	"github.com/pidgraft/pidgraft/internal/churn"
	"github.com/pidgraft/pidgraft/internal/leak"
	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/internal/schematest"
	"github.com/pidgraft/pidgraft/internal/testforest"
	"github.com/pidgraft/pidgraft/restore"
)

// auditName is auditProgram, which only the lean program knows.
const auditName = "pidgraft-audit"

// installed is the program under test with auditName beside it, as guests have
// them; without it, this test binary is both. It takes three times as long to
// start as the lean one.
var installed = os.Getenv("PIDGRAFT")

// underTest is what to run, under the name pidgraft.
func underTest() string {
	if installed != "" {
		return installed
	}
	return "/proc/self/exe"
}

func TestMain(m *testing.M) {
	if installed != "" {
		if err := os.Setenv("PATH", filepath.Dir(installed)+string(filepath.ListSeparator)+os.Getenv("PATH")); err != nil {
			log.Fatal(err)
		}
		testscript.Main(leak.Checked(m, churn.Close, testforest.Close), nil)
	}
	testscript.Main(leak.Checked(m, churn.Close, testforest.Close), map[string]func(){"pidgraft": main, auditName: main})
}

// scripts are all of them, with -short only those that ask something of the machine.
func scripts(t *testing.T) []string {
	all, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	if !testing.Short() {
		return all
	}
	return slices.DeleteFunc(all, func(path string) bool {
		text, err := os.ReadFile(path)
		return err == nil && !strings.Contains(string(text), "\n[!root] skip") && !strings.HasPrefix(string(text), "[!root] skip")
	})
}

// The scripts read as the manual: each shows what a command does and how it
// fails. Those that need privileges begin with [!root] skip.
func TestScripts(t *testing.T) {
	images, err := filepath.Abs("../../image/testdata/golden")
	if err != nil {
		t.Fatal(err)
	}
	checkpoints, err := filepath.Abs("../../image/criu/testdata/golden")
	if err != nil {
		t.Fatal(err)
	}
	schemas, err := filepath.Abs("../../docs/schema")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Files:               scripts(t),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(e *testscript.Env) error {
			e.Setenv("IMAGES", images)
			e.Setenv("CHECKPOINTS", checkpoints)
			e.Setenv("SCHEMAS", schemas)
			e.Setenv("TERM", "xterm")
			e.Values[forestsKey{}] = map[string]*testforest.Forest{}
			return nil
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "root":
				return os.Geteuid() == 0, nil
			case "probe-reads":
				return require.Has(require.ProbeReads)
			case "cgroup-kill":
				return require.Has(require.CgroupKill)
			}
			return false, fmt.Errorf("no condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"forest": cmdForest, "code": cmdCode, "kill-pid": cmdKillPID, "chop": cmdChop,
			"same-but-time": cmdSameButTime, "mode": cmdMode, "only": cmdOnly, "cgroup": cmdCgroup,
			"free": cmdFree, "end": cmdEnd, "schema": cmdSchema,
		},
	})
}

// forestsKey is where a script keeps its forests, by name.
type forestsKey struct{}

func forests(ts *testscript.TestScript) map[string]*testforest.Forest {
	return ts.Value(forestsKey{}).(map[string]*testforest.Forest)
}

// forest NAME FILE builds the forest that FILE describes, with the script's
// variables in it, and sets NAME to the number of its root. It dies with the
// script.
func cmdForest(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: forest NAME FILE")
	}
	f, err := testforest.New()
	ts.Check(err)
	ts.Defer(func() {
		if err := f.Kill(); err != nil {
			ts.Logf("%v", err)
		}
	})
	ts.Check(f.Run(os.Expand(ts.ReadFile(args[1]), ts.Getenv)))
	ts.Setenv(args[0], strconv.Itoa(f.Root()))
	forests(ts)[args[0]] = f
}

// end NAME ends the forest that was built as NAME: its numbers are free.
func cmdEnd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 || forests(ts)[args[0]] == nil {
		ts.Fatalf("usage: end NAME")
	}
	ts.Check(forests(ts)[args[0]].Kill())
}

// free NAME... sets each name to a number that nobody has here, nor will get:
// one below 300 (kernel-rules 3). They are taken from above, since the tests of
// package restore take theirs from below.
func cmdFree(ts *testscript.TestScript, neg bool, args []string) {
	used, err := restore.NumbersInUse()
	ts.Check(err)
	for n := int32(299); n > 1 && len(args) > 0; n-- {
		if !used.Taken(n) {
			ts.Setenv(args[0], strconv.Itoa(int(n)))
			args = args[1:]
		}
	}
	if neg || len(args) > 0 {
		ts.Fatalf("no number is free for %q", args)
	}
}

// schema NAME FILE holds a file against docs/schema/NAME.
func cmdSchema(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: schema NAME FILE")
	}
	errs, err := schematest.Check(filepath.Join(ts.Getenv("SCHEMAS"), args[0]), []byte(ts.ReadFile(args[1])))
	ts.Check(err)
	if len(errs) > 0 {
		ts.Fatalf("%s", strings.Join(errs, "\n"))
	}
}

// cgroup PID puts a process and its children into a new cgroup, until the
// script is over.
func cmdCgroup(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: cgroup PID")
	}
	_, undo, err := ownCgroup(args[0])
	ts.Check(err)
	ts.Defer(func() {
		if err := undo(); err != nil {
			ts.Logf("%v", err)
		}
	})
}

// ownCgroup moves a process and its children into a new cgroup, and back.
func ownCgroup(pid string) (dir string, undo func() error, err error) {
	root := ""
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/freezer"} {
		if _, err := os.Stat(dir + "/cgroup.procs"); err == nil {
			root = dir
			break
		}
	}
	if root == "" {
		return "", nil, errors.New("no cgroup hierarchy with a freezer is mounted")
	}
	own, err := os.MkdirTemp(root, "pidgraft-test-")
	if err == nil {
		err = os.Chmod(own, 0o755) // as those that others make
	}
	if err != nil {
		return "", nil, err
	}
	move := func(dir string) error {
		children, err := os.ReadFile("/proc/" + pid + "/task/" + pid + "/children")
		if err != nil {
			return err
		}
		for _, pid := range append(strings.Fields(string(children)), pid) {
			if err := os.WriteFile(dir+"/cgroup.procs", []byte(pid), 0); err != nil {
				return err
			}
		}
		return nil
	}
	undo = func() error { return errors.Join(move(root), os.Remove(own)) }
	if err := move(own); err != nil {
		return "", nil, errors.Join(err, undo())
	}
	return own, undo, nil
}

// code N COMMAND... runs a command that must end with exit code N.
func cmdCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := err.(interface{ ExitCode() int })
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// kill-pid FILE kills the process whose number FILE holds.
func cmdKillPID(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: kill-pid FILE")
	}
	pid, err := strconv.Atoi(strings.TrimSpace(ts.ReadFile(args[0])))
	ts.Check(err)
	ts.Check(unix.Kill(pid, unix.SIGKILL))
}

// chop FROM TO N writes the first N bytes of FROM to TO.
func cmdChop(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: chop FROM TO N")
	}
	n, err := strconv.Atoi(args[2])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(ts.ReadFile(args[0])[:n]), 0o600))
}

// same-but-time A B compares two images without the time of the dump.
func cmdSameButTime(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: same-but-time A B")
	}
	var encoded [2]bytes.Buffer
	for i, name := range args {
		f, err := image.Read(strings.NewReader(ts.ReadFile(name)))
		ts.Check(err)
		f.Producer.Time = 0
		ts.Check(image.Write(&encoded[i], f))
	}
	if !bytes.Equal(encoded[0].Bytes(), encoded[1].Bytes()) {
		ts.Fatalf("%s and %s differ", args[0], args[1])
	}
}

// mode FILE OCTAL checks the permissions of a file.
func cmdMode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mode FILE OCTAL")
	}
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := strconv.FormatUint(uint64(info.Mode().Perm()), 8); got != args[1] {
		ts.Fatalf("%s has mode %s, want %s", args[0], got, args[1])
	}
}

// only DIR FILE... checks that a directory holds these files and no others,
// hidden ones included.
func cmdOnly(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: only DIR FILE...")
	}
	entries, err := os.ReadDir(ts.MkAbs(args[0]))
	ts.Check(err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if got, want := strings.Join(names, " "), strings.Join(args[1:], " "); got != want {
		ts.Fatalf("%s holds %q, want %q", args[0], got, want)
	}
}
