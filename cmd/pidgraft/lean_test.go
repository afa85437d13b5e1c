// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pidgraft/pidgraft/internal/require"
)

// The program that dumps and restores has nothing in it of what serves and sends
// and reads CRIU's images, and says what that takes; with that beside it, it does
// what that does.
func TestLean(t *testing.T) {
	require.Feature(t, require.Program("go", "golang"))
	out, err := exec.Command("go", "list", "-tags", "lean", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for path := range strings.Lines(string(out)) {
		for _, heavy := range []string{"net/http", "google.golang.org/grpc", "github.com/prometheus/", "go.opentelemetry.io/", "google.golang.org/protobuf", "github.com/checkpoint-restore/"} {
			if strings.HasPrefix(path, heavy) {
				t.Errorf("it has %s", path)
			}
		}
	}
	program := filepath.Join(t.TempDir(), "pidgraft")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-tags", "lean", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, flag := range []string{"--listen=0", "--otlp=http://127.0.0.1:4318"} {
		var said bytes.Buffer
		cmd := exec.Command(program, "audit", flag)
		cmd.Stderr = &said
		err := cmd.Run()
		if !errors.As(err, new(*exec.ExitError)) || cmd.ProcessState.ExitCode() != exitCannotRun || !strings.Contains(said.String(), program+"-audit") {
			t.Errorf("%s: %v, %q", flag, err, said.String())
		}
	}
	leanCheckpoints(t, program)
}

// leanCheckpoints compares what both programs make of checkpoints. This test is
// the other one.
func leanCheckpoints(t *testing.T, program string) {
	dir, err := filepath.Abs("../../image/criu/testdata/golden/small")
	if err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(t.TempDir(), "checkpoint.tar")
	if out, err := exec.Command("tar", "-C", dir, "-cf", archive, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	whole, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	type answer struct {
		code         int
		stdout, said string
	}
	ask := func(name string, stdin []byte, args ...string) answer {
		var out, said bytes.Buffer
		cmd := exec.Command(name, args...)
		cmd.Stdout, cmd.Stderr = &out, &said
		if stdin != nil {
			cmd.Stdin = bytes.NewReader(stdin) // a pipe
		}
		if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return answer{cmd.ProcessState.ExitCode(), out.String(), said.String()}
	}
	if got := ask(program, nil, "show", archive); got.code != exitCannotRun || !strings.Contains(got.said, program+"-audit") {
		t.Errorf("without the other program: %+v", got)
	}
	full, err := exec.LookPath(auditName) // as testscript has it
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(full, program+"-audit"); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		stdin []byte
		args  []string
		code  int
	}{
		"a directory":          {nil, []string{"show", dir}, exitDone},
		"an archive":           {nil, []string{"show", archive}, exitDone},
		"a stream":             {whole, []string{"show", "-o", "json", "-"}, exitDone},
		"a part of one":        {whole[:len(whole)/2], []string{"show", "-"}, exitIncomplete},
		"a directory of other": {nil, []string{"show", t.TempDir()}, exitRefused},
		"two":                  {whole, []string{"diff", dir, "-"}, exitDone},
		"a conversion":         {whole, []string{"convert", "--from=criu", "--lossy", "-"}, exitDone},
		"an exact one":         {whole, []string{"convert", "--from=criu", "-"}, exitDone},
		"an unclear one":       {nil, []string{"convert", archive}, exitUsage},
	} {
		want, got := ask(full, c.stdin, c.args...), ask(program, c.stdin, c.args...)
		if want != got || want.code != c.code {
			t.Errorf("%s: %+v, of the other program %+v", what, got, want)
		}
	}
}
