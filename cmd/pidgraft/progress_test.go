// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/collector"
	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/forest/foresttest"
	"github.com/pidgraft/pidgraft/image"
	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/internal/schematest"
	"github.com/pidgraft/pidgraft/internal/testforest"
	"github.com/pidgraft/pidgraft/loader"
)

// onTerminal runs a command with standard error at a terminal of some columns, and
// is what it wrote there.
func onTerminal(t *testing.T, cmd *exec.Cmd, columns uint16, during func()) string {
	t.Helper()
	ptmx, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer ptmx.Close()
	// O_NONBLOCK is not asked for, so it stays a plain descriptor.
	n, err := unix.IoctlGetInt(int(ptmx.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(ptmx.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(int(ptmx.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns})
	}
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = tty
	cmd.Env = append(os.Environ(), "TERM=xterm")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tty.Close()
	said := make(chan string)
	go func() {
		// It ends with EIO when nobody has the terminal open any more.
		b, _ := io.ReadAll(ptmx)
		said <- string(b)
	}()
	during()
	if err := cmd.Wait(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Errorf("%q: %v", cmd.Args, err)
	}
	return <-said
}

// lines are what a terminal showed in its last line, one after the other, and
// what stayed.
func footLines(t *testing.T, said string) (lines []string, stayed string) {
	t.Helper()
	for _, part := range strings.Split(said, eraseLine) {
		if part != "" {
			lines = append(lines, part)
		}
	}
	if len(lines) > 0 && !strings.HasSuffix(said, eraseLine) {
		// What is written after the line was erased is another's.
		stayed = lines[len(lines)-1]
		lines = lines[:len(lines)-1]
	}
	return lines, stayed
}

// slowly writes an image to a pipe, all but its end, and that after some time.
func slowly(t *testing.T, cmd *exec.Cmd, text []byte, during time.Duration) func() {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		_, err := in.Write(text[:len(text)-1])
		time.Sleep(during)
		if err == nil {
			_, err = in.Write(text[len(text)-1:])
		}
		if err != nil {
			t.Error(err)
		}
		in.Close()
	}
}

func encodedLarge(t *testing.T) []byte {
	var b bytes.Buffer
	if err := image.Write(&b, foresttest.Wide(2000)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// What takes long says so on a terminal, a few times a second, in a line that is
// gone when it is done; and nothing to what is no terminal, or when told to be
// quiet.
func TestProgressLine(t *testing.T) {
	text := encodedLarge(t)
	const during = 1500 * time.Millisecond
	show := func(args ...string) *exec.Cmd {
		return pidgraft(append(append([]string{"show"}, args...), "-")...)
	}
	cmd := show()
	lines, stayed := footLines(t, onTerminal(t, cmd, 40, slowly(t, cmd, text, during)))
	if stayed != "" {
		t.Errorf("it left %q", stayed)
	}
	most := int((during-progressAfter)/progressEvery) + 3
	if len(lines) == 0 || len(lines) > most {
		t.Errorf("%d lines in %v: %q", len(lines), during, lines)
	}
	for _, l := range lines {
		if !strings.HasPrefix(l, "pidgraft show: read: 0 MiB") || len([]rune(l)) > 39 {
			t.Errorf("it said %q", l)
		}
	}
	if last := lines[len(lines)-1]; !strings.HasSuffix(last, "…") {
		t.Errorf("%q is not cut", last)
	}

	for _, args := range [][]string{{"-q"}, {"--log-format=json"}} {
		cmd := show(args...)
		if said := onTerminal(t, cmd, 80, slowly(t, cmd, text, 2*progressAfter)); said != "" {
			t.Errorf("%q: it said %q", args, said)
		}
	}
	cmd = show("-v")
	lines, stayed = footLines(t, onTerminal(t, cmd, 80, slowly(t, cmd, text, 2*progressAfter)))
	if len(lines) == 0 || !regexp.MustCompile(`^pidgraft show: read took=\d.* tasks=2000\r\n$`).MatchString(stayed) {
		t.Errorf("with -v it showed %q and left %q", lines, stayed)
	}

	var said bytes.Buffer
	cmd = show()
	cmd.Stderr = &said
	write := slowly(t, cmd, text, 2*progressAfter)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	write()
	if err := cmd.Wait(); err != nil || said.Len() > 0 {
		t.Errorf("%v; to a pipe it said %q", err, said.String())
	}
}

// A dump says what it does when asked; a restore how many tasks are in place.
func TestProgressOfDumpAndRestore(t *testing.T) {
	require.Root(t)
	require.Feature(t, require.BTF)
	require.Feature(t, require.ProbeReads)
	dir := t.TempDir()
	path := filepath.Join(dir, "forest.img")
	small := testforest.Start(t, "outside fork init newpid\ninit fork a")
	said := onTerminal(t, pidgraft("dump", "-v", "-o", path, strconv.Itoa(small.Root())), 80, func() {})
	for _, step := range []string{"open took=", `look took=\S+ pass=1 tasks=2 pids=`, `look took=\S+ pass=2 tasks=2 pids=`, "write took=", `plan took=\S+ tasks=2 reasons=0`} {
		if !regexp.MustCompile("pidgraft dump: " + step).MatchString(said) {
			t.Errorf("a dump with -v does not say %q: %q", step, said)
		}
	}

	// How fast the machine is is not known.
	for tasks := 4000; ; tasks *= 3 {
		f := foresttest.Wide(tasks)
		held := 0 // zombies are not in place, but at their end
		for i := range f.Tasks {
			if f.Tasks[i].State != forest.Zombie {
				held++
			}
		}
		lines := progressOfRestore(t, dir, f)
		making := regexp.MustCompile(fmt.Sprintf(`^pidgraft restore: make tasks: \d+ of %d tasks, \d+/s`, held))
		if slices.ContainsFunc(lines, making.MatchString) {
			break
		}
		if tasks > 20000 {
			t.Errorf("a restore of %d tasks says no more than %q", tasks, lines)
			break
		}
	}
}

// progressOfRestore is what a restore of a forest says, which is then ended.
func progressOfRestore(t *testing.T, dir string, f *forest.Forest) []string {
	t.Helper()
	var b bytes.Buffer
	err := image.Write(&b, f)
	path, pidfile := filepath.Join(dir, "forest.img"), filepath.Join(dir, "pid")
	if err == nil {
		err = os.WriteFile(path, b.Bytes(), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	lines, stayed := footLines(t, onTerminal(t, pidgraft("restore", "-d", "--memory=own", "--pidfile", pidfile, path), 80, func() {}))
	if stayed != "" {
		t.Errorf("a restore left %q", stayed)
	}
	text, err := os.ReadFile(pidfile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err == nil {
		err = unix.Kill(pid, unix.SIGKILL)
	}
	if err != nil {
		t.Fatal(err)
	}
	// It is this process's, if that adopts orphans.
	if _, err := unix.Wait4(pid, nil, 0, nil); err != nil && !errors.Is(err, unix.ECHILD) {
		t.Error(err)
	}
	return lines
}

// A look at what never rests says what it waits for.
func TestLookWatch(t *testing.T) {
	var opts collector.Options
	w := watchLook(&loader.Loader{}, &opts)
	defer w.step.stop()
	opts.Looked(collector.Look{Pass: 3, Most: 12, Tasks: 20, Changed: "2 forks"})
	if is, want := w.step.text(w.step.begun), "look: 0 tasks, waits: for rest, pass 4 of 12, changed: 2 forks"; is != want {
		t.Errorf("%q, want %q", is, want)
	}
	opts.Looked(collector.Look{Pass: 4, Most: 12, Tasks: 20})
	if is, want := w.step.text(w.step.begun), "look: 0 tasks"; is != want {
		t.Errorf("%q, want %q", is, want)
	}
}

// What a step says, and that nothing in it moves the cursor.
func TestStepText(t *testing.T) {
	begun := time.Now()
	now := begun.Add(2 * time.Second)
	for want, is := range map[string]*standing{
		"x: 2 s":                               nil,
		"x: 10 tasks, 5/s":                     {done: 10, unit: "tasks"},
		"x: 10 of 20 tasks, 5/s, waits: for y": {done: 10, of: 20, unit: "tasks", waits: "for y"},
		"x: 1 of 5 s":                          {done: 1, of: 5, unit: "s"},
	} {
		s := &step{name: "x", begun: begun}
		if is != nil {
			s.how = func() standing { return *is }
		}
		if got := s.text(now); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := oneLine("a\x1b[31m\nb", 80); got != "a?[31m?b" {
		t.Errorf("%q", got)
	}
	for width, want := range map[int]string{5: "tasks", 4: "tas…", 1: "…", 0: "…"} {
		if got := oneLine("tasks", width); got != want {
			t.Errorf("%d: %q, want %q", width, got, want)
		}
	}
}

// With --log-format=json all that is said is an object a line by the schema.
func TestLogJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "forest.img")
	if err := os.WriteFile(path, encodedLarge(t), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"plan", "-v", path}, exitDone, `"msg":"plan"`},
		{[]string{"show", "-v", path}, exitDone, `"tasks":2000`},
		{[]string{"show", path + ".not"}, exitUsage, `"exit":2`},
		{[]string{"show", "--no-flag", path}, exitUsage, `"hint":"See `},
		{[]string{"diff", path}, exitUsage, `"level":"ERROR"`},
	} {
		cmd := pidgraft(append([]string{"--log-format=json"}, c.args...)...)
		var said bytes.Buffer
		cmd.Stderr = &said
		_ = cmd.Run()
		if cmd.ProcessState.ExitCode() != c.code || !strings.Contains(said.String(), c.want) {
			t.Errorf("%q: exit code %d, want %d; %q is not in %s", c.args, cmd.ProcessState.ExitCode(), c.code, c.want, said.String())
		}
		for line := range strings.Lines(said.String()) {
			if errs, err := schematest.Check("../../docs/schema/log.v1.json", []byte(line)); err != nil || len(errs) > 0 {
				t.Errorf("%q: %v %q\n%s", c.args, err, errs, line)
			}
		}
	}
}
