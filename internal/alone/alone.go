// SPDX-License-Identifier: Apache-2.0

// Package alone runs a test of the calling program once more, as the init of a
// pid namespace with a /proc of its own. There is nothing in it but what the
// test makes: reading /proc is quick whatever else the machine does, whatever
// is left shows, and nothing outlives the test. Several can run at a time.
//
//	func TestX(t *testing.T) {
//		require.Root(t)
//		if !alone.Inside() {
//			var r report
//			log, err := alone.Run("TestX", &r)
//			…
//		}
//		alone.Enter(t)
//		…
//		alone.Report(t, r)
//	}
package alone

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// env tells the program that it is the second.
const env = "PIDGRAFT_ALONE"

const reportFD = 3

// Inside reports whether this is the program in the namespace.
func Inside() bool { return os.Getenv(env) != "" && os.Getpid() == 1 }

// Run runs a test in a namespace of its own, with -short if this one has it and
// more arguments for the program, and reads into report what it gave to Report. It
// returns what the test printed. The error is nil if the test passed.
func Run(test string, report any, args ...string) (log string, err error) {
	program, err := os.Executable()
	if err != nil {
		return "", err
	}
	in, life, err := os.Pipe() // it ends when life is closed
	if err != nil {
		return "", err
	}
	defer in.Close()
	defer life.Close()
	results, out, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer results.Close()
	defer out.Close()
	var output bytes.Buffer
	cmd := exec.Command(program, append([]string{
		"-test.run=^" + test + "$", "-test.v", "-test.timeout=" + timeout().String(), fmt.Sprintf("-test.short=%v", testing.Short()),
	}, args...)...)
	cmd.Env = append(os.Environ(), env+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &output, &output
	cmd.ExtraFiles = []*os.File{out} // reportFD
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	out.Close()
	decoded := json.NewDecoder(results).Decode(report)
	if errors.Is(decoded, io.EOF) {
		decoded = errors.New("it reported nothing")
	}
	err = errors.Join(cmd.Wait(), decoded) // now all output is there
	return output.String(), err
}

// began is when this program started, to a few milliseconds.
var began = time.Now()

// timeout is for the program inside: nine tenths of what is left of this one's,
// so that what hangs is shown where it hangs, by whoever does. 0: for ever.
func timeout() time.Duration {
	own := flag.Lookup("test.timeout").Value.(flag.Getter).Get().(time.Duration)
	if own == 0 {
		return 0
	}
	return max((own-time.Since(began))*9/10, time.Second)
}

// Enter makes the namespace usable: with its own /proc, without core dumps.
func Enter(t testing.TB) {
	t.Helper()
	if err := enter(); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with who started it
		_, err := io.Copy(io.Discard, os.Stdin)
		fmt.Fprintln(os.Stderr, "alone: the program outside has ended:", err)
		os.Exit(1)
	}()
}

func enter() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
}

// Report hands x to the program outside. Once; also when the test failed.
func Report(t testing.TB, x any) {
	t.Helper()
	out := os.NewFile(reportFD, "report")
	defer out.Close()
	if err := json.NewEncoder(out).Encode(x); err != nil {
		t.Error(err)
	}
}
