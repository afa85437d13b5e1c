// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pidgraft/pidgraft/internal/require"
)

// The program that dumps and restores has nothing in it of what serves and sends,
// and says what that takes.
func TestLean(t *testing.T) {
	require.Feature(t, require.Program("go", "golang"))
	out, err := exec.Command("go", "list", "-tags", "lean", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for path := range strings.Lines(string(out)) {
		for _, heavy := range []string{"net/http", "google.golang.org/grpc", "github.com/prometheus/", "go.opentelemetry.io/"} {
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
}
