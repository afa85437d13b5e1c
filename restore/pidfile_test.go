// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// listed is what a directory holds: names, and what the pidfile says.
func listed(t *testing.T, dir string) string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	text, _ := os.ReadFile(filepath.Join(dir, "root.pid"))
	return fmt.Sprintf("%v %s", names, text)
}

// A pidfile is there with the forest, in the place of an older one, which a
// restore that fails leaves alone.
func TestPidfile(t *testing.T) {
	eachMemory(t, func(t *testing.T, opts Options) {
		s := newScript(t)
		s.hold("init")
		p := s.finished()
		dir := t.TempDir()
		path := filepath.Join(dir, "root.pid")
		out, in := pipe(t, 10*time.Second)
		opts.Detach, opts.Stdout, opts.Success, opts.Pidfile = true, in, report, path
		for range 2 {
			res, err := Run(context.Background(), s.forest, p, opts)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := listed(t, dir), fmt.Sprintf("[root.pid] %d\n", res.PID); got != want {
				t.Errorf("there is %q, want %q", got, want)
			}
			if info, err := os.Stat(path); err != nil || info.Mode() != 0o644 {
				t.Errorf("%v, %v", info, err)
			}
			killRoot(t, res.PID)
		}
		before := listed(t, dir)
		broken := errors.New("broken")
		opts.Verify = func(context.Context, int) error { return broken }
		if _, err := Run(context.Background(), s.forest, p, opts); !errors.Is(err, broken) || listed(t, dir) != before {
			t.Errorf("%v; there is %q, not %q", err, listed(t, dir), before)
		}
		nothingLeft(t)
		opts.Verify = nil

		// A report that nobody reads undoes the restore, and the pidfile.
		out.Close()
		if _, err := Run(context.Background(), s.forest, p, opts); err == nil || listed(t, dir) != "[] " {
			t.Errorf("%v; there is %q", err, listed(t, dir))
		}
		nothingLeft(t)
		opts.Pidfile = filepath.Join(dir, "none", "root.pid")
		if _, err := Run(context.Background(), s.forest, p, opts); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("no such directory: %v", err)
		}
		opts.Pidfile = dir
		if _, err := Run(context.Background(), s.forest, p, opts); err == nil {
			t.Error("the pidfile is a directory")
		}
		nothingLeft(t)
	})
}

// Without files that have no name it has another until it has its own.
func TestRenamedPidfile(t *testing.T) {
	dir := t.TempDir()
	made := func() *pidfile {
		file, err := os.CreateTemp(dir, ".root.pid.*")
		if err != nil {
			t.Fatal(err)
		}
		return &pidfile{path: filepath.Join(dir, "root.pid"), file: file, named: true}
	}
	p := made()
	if err := errors.Join(p.write(7), p.publish(), p.close()); err != nil || listed(t, dir) != "[root.pid] 7\n" {
		t.Errorf("%v; there is %q", err, listed(t, dir))
	}
	if err := p.remove(); err != nil || listed(t, dir) != "[] " {
		t.Errorf("%v; there is %q", err, listed(t, dir))
	}
	p = made()
	if err := errors.Join(p.write(7), p.close(), p.remove()); err != nil || listed(t, dir) != "[] " {
		t.Errorf("given up: %v; there is %q", err, listed(t, dir))
	}
}
