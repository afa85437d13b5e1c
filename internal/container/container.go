// SPDX-License-Identifier: Apache-2.0

package container

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Script is what the shell of the container runs, as a busy one would: jobs
// under job control (for which busybox wants a terminal, and bash does not),
// a daemon, zombies of programs that do not reap, a session and a group that
// have lost their leaders, a sandbox and a sandbox within a sandbox. Every
// program that stays is a sleep, so it is known when all are there.
var Script = strings.Join([]string{
	"bash -c 'set -m; sleep 1000 | sleep 1000 & sleep 1000 & wait' &",
	"setsid sleep 1000 &",
	// Zombies: sleep does not reap what it got from the shell.
	`sh -c 'sh -c "exit 42" & exec sleep 1000' &`,
	`sh -c 'sleep 2000 & kill -TERM $!; exec sleep 1000' &`,
	// A session whose leader has left, a group whose leader has.
	"setsid sh -c 'sleep 1000 & exit 0'",
	`bash -c 'set -m; sh -c "sleep 1000 & exit 0"; true'`,
	sandbox(rootless, "sleep 1000 & setsid sleep 1000 & sleep 1000 & wait") + " &",
	sandbox(rootful, "sleep 1000 & "+sandbox(rootful, "sleep 1000 & wait")+" & wait") + " &",
	// As a browser does it: rootless in rootless, the outer init leads a session.
	sandbox(rootless+" --new-session", "sleep 1000 & "+nested("sleep 1000 & wait")+" & wait") + " &",
	"read line", // until the end of the pipe
}, "\n") + "\n"

// sleeps is how many sleep commands Script ends up with.
const sleeps = 15

// Container is a running container.
type Container struct {
	PID  int // of its init, as this process sees it
	dir  string
	id   string
	cmd  *exec.Cmd
	life io.Closer
	log  bytes.Buffer
}

// Start runs Script in a container and waits until all of it is there.
func Start() (c *Container, err error) {
	if missing := Missing(); len(missing) > 0 {
		return nil, fmt.Errorf("container: not installed: %s", strings.Join(missing, ", "))
	}
	dir, err := os.MkdirTemp("", "pidgraft-container")
	if err != nil {
		return nil, err
	}
	c = &Container{dir: dir, id: filepath.Base(dir)}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("container: %w\n%s", err, c.log.String()), c.Kill())
		}
	}()
	if err := makeBundle(dir, Script); err != nil {
		return nil, err
	}
	c.cmd = c.runc("run", "--bundle", dir, "--pid-file", c.pidFile(), c.id)
	c.cmd.Stdout, c.cmd.Stderr = &c.log, &c.log
	if c.life, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	return c, c.wait()
}

// patience is how long the container may take to have everything running.
const patience = 30 * time.Second

func (c *Container) wait() error {
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if text, err := os.ReadFile(c.pidFile()); err == nil && len(text) > 0 {
			if c.PID, err = strconv.Atoi(string(text)); err != nil {
				return err
			}
			n, err := c.count("sleep", "S")
			if err != nil || n == sleeps {
				return err
			}
		}
		if time.Now().After(deadline) {
			n, _ := c.count("sleep", "S")
			return fmt.Errorf("%d of %d programs run after %v", n, sleeps, patience)
		}
	}
}

// count counts the processes of the container by name and state.
func (c *Container) count(comm, state string) (int, error) {
	own, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", c.PID))
	if err != nil {
		return 0, err
	}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	n := 0
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(stat, []byte("("+comm+") "+state+" ")) {
			continue
		}
		cgroup, err := os.ReadFile(filepath.Join(filepath.Dir(path), "cgroup"))
		if err == nil && bytes.Equal(cgroup, own) {
			n++
		}
	}
	return n, nil
}

func (c *Container) pidFile() string { return filepath.Join(c.dir, "pid") }

func (c *Container) runc(args ...string) *exec.Cmd {
	return exec.Command("runc", append([]string{"--root", filepath.Join(c.dir, "state")}, args...)...)
}

// Kill ends the container and removes what there was of it.
func (c *Container) Kill() error {
	defer os.RemoveAll(c.dir)
	if c.cmd == nil || c.cmd.Process == nil {
		return nil
	}
	// The end of its input is the end of its shell; delete is for the case
	// that it does not get that far.
	err := c.life.Close()
	// At the same time the runc that started it takes it away, and one of the two
	// may find half of it gone: what the second call says counts.
	_ = c.runc("delete", "--force", c.id).Run()
	// What it reports is that it was killed.
	_ = c.cmd.Wait()
	if out, failed := c.runc("delete", "--force", c.id).CombinedOutput(); failed != nil {
		err = errors.Join(err, fmt.Errorf("runc delete: %w: %s", failed, out))
	}
	return err
}
