// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/image"
	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/internal/testforest"
	"github.com/pidgraft/pidgraft/loader"
)

// Two dumps of an unchanged forest are the same bytes but for the time, and
// each is the image of a forest that can be. With -short it is one sample in
// eight; internal/e2e has all of them there and back.
func TestDumpTwice(t *testing.T) {
	require.Root(t)
	for n, s := range testforest.Samples() {
		if testing.Short() && n%8 != 0 {
			continue
		}
		t.Run(s.Name, func(t *testing.T) {
			f := testforest.Start(t, s.Script)
			k := look{pid: f.Root(), scope: loader.Auto, retries: retries}
			if s.Subtree {
				k.scope = loader.Subtree
			}
			images := make([]bytes.Buffer, 2)
			for i := range images {
				g, err := k.take(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				if (g.Mode == forest.Subtree) != s.Subtree {
					t.Errorf("taken as a %v", g.Mode)
				}
				g.Producer.Time = 0
				if err := image.Write(&images[i], g); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(images[0].Bytes(), images[len(images)-1].Bytes()) {
				t.Error("two dumps differ")
			}
		})
	}
}

// Whenever it is told to stop, a dump leaves a whole image or nothing at all.
func TestInterruptedDump(t *testing.T) {
	require.Root(t)
	f := testforest.Start(t, `
		outside fork init newpid
		init fork a
		a fork b newpid`)
	path := filepath.Join(t.TempDir(), "x.img")
	start := func() *exec.Cmd {
		cmd := exec.Command(underTest(), "dump", "-o", path, strconv.Itoa(f.Root()))
		cmd.Args[0] = "pidgraft"
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	begun := time.Now()
	if err := start().Wait(); err != nil {
		t.Fatal(err)
	}
	whole := time.Since(begun)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	n := 40
	if testing.Short() {
		n = 10
	}
	ends := map[int]int{}
	for i := range n {
		cmd := start()
		time.Sleep((time.Duration(i)*whole + rand.N(whole)) / time.Duration(n))
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		code := cmd.ProcessState.ExitCode()
		ends[code]++
		entries, err := os.ReadDir(filepath.Dir(path))
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case len(entries) == 0 && code != exitDone:
		case len(entries) == 1 && entries[0].Name() == "x.img":
			if _, err := source(path).readImage(); err != nil {
				t.Fatal(err)
			}
			_ = os.Remove(path)
		default:
			t.Fatalf("exit code %d, and there is %v", code, entries)
		}
	}
	t.Logf("exit codes (-1: killed before it could catch the signal): %v", ends)
}

// A dump that is told to stop while it looks says so, and leaves nothing.
func TestCancelledDump(t *testing.T) {
	require.Root(t)
	f := testforest.Start(t, "outside fork init newpid")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	d := &dump{out: output{path: filepath.Join(t.TempDir(), "x.img")}}
	err := d.run(ctx, f.Root())
	if exitCode(err) != exitIncomplete {
		t.Errorf("exit code %d: %v", exitCode(err), err)
	}
	if _, err := os.Lstat(d.out.path); !os.IsNotExist(err) {
		t.Errorf("after it: %v", err)
	}
}
