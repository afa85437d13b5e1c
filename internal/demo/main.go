// SPDX-License-Identifier: Apache-2.0

// Command demo shows pidgraft at work: it starts a forest, dumps, kills and
// restores it, and holds the two against each other, first with a forest made
// to have one of everything, then with a real container. It leaves nothing
// running.
//
//	usage: demo PIDGRAFT
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/internal/container"
	"github.com/pidgraft/pidgraft/internal/testforest"
	"github.com/pidgraft/pidgraft/internal/witness"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: demo PIDGRAFT")
		os.Exit(2)
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "demo: run as root: it loads BPF programs and makes pid namespaces")
		os.Exit(3)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// stage is what is shown of one forest.
type stage struct {
	pidgraft string // the command
	dir      string // for images, and where the command runs
	root     int    // of the restored forest, 0 if there is none
}

func run(pidgraft string) error {
	pidgraft, err := filepath.Abs(pidgraft)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "pidgraft-demo")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// What is restored becomes a child of this process, which ends it.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return err
	}
	s := &stage{pidgraft: pidgraft, dir: dir}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	done := make(chan error, 1)
	go func() {
		if err := s.sample(); err != nil {
			done <- err
			return
		}
		done <- s.container()
	}()
	select {
	case err = <-done:
	case sig := <-interrupted:
		err = fmt.Errorf("%v", sig)
	}
	return errors.Join(err, s.end())
}

// sample shows the forest that has one of everything.
func (s *stage) sample() error {
	title("A forest with pid namespaces three deep, threads, a zombie, a ghost group and a ghost session")
	f, err := testforest.New()
	if err != nil {
		return err
	}
	defer f.Kill()
	if err := f.Run(testforest.Showpiece); err != nil {
		return err
	}
	return s.roundTrip("forest.img", f.Root(), f.Kill)
}

// container shows a real one.
func (s *stage) container() error {
	title("A runc container: jobs, daemons, and bubblewrap sandboxes with pid namespaces of their own")
	if missing := container.Missing(); len(missing) > 0 {
		say("left out: not installed: %s", strings.Join(missing, ", "))
		return nil
	}
	c, err := container.Start()
	if err != nil {
		return err
	}
	alive := true
	kill := func() error {
		alive = false
		return c.Kill()
	}
	defer func() {
		if alive {
			kill()
		}
	}()
	return s.roundTrip("container.img", c.PID, kill)
}

// roundTrip dumps, kills and restores a forest, and shows it before and after.
func (s *stage) roundTrip(image string, root int, kill func() error) error {
	pid := "pid:" + strconv.Itoa(root)
	if err := s.command("show", pid); err != nil {
		return err
	}
	before, err := witness.Read(root)
	if err != nil {
		return err
	}
	if err := s.command("dump", "-o", image, strconv.Itoa(root)); err != nil {
		return err
	}
	say("# kill it: all %d tasks", len(before.Tasks))
	if err := kill(); err != nil {
		return err
	}
	if unix.Kill(root, 0) == nil {
		return fmt.Errorf("process %d was killed and is still there", root)
	}
	if err := s.command("restore", "-d", "--pidfile", "root.pid", image); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(s.dir, "root.pid"))
	if err != nil {
		return err
	}
	if s.root, err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil {
		return err
	}
	pid = "pid:" + strconv.Itoa(s.root)
	if err := s.command("show", pid); err != nil {
		return err
	}
	if err := s.command("diff", image, pid); err != nil {
		return err
	}
	after, err := witness.Read(s.root)
	if err != nil {
		return err
	}
	say("# and by /proc alone, without pidgraft's own eyes:")
	// Who a task runs as is set when a program is run in it.
	if lines := witness.Compare(before, after, witness.LiveIDs); len(lines) > 0 {
		return errors.New(strings.Join(lines, "\n"))
	}
	fmt.Printf("identical: %d tasks\n", len(after.Tasks))
	return s.end()
}

// command shows a command line and runs it.
func (s *stage) command(args ...string) error {
	say("$ pidgraft %s", strings.Join(args, " "))
	cmd := exec.Command(s.pidgraft, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, os.Stdout, os.Stderr
	start := time.Now()
	err := cmd.Run()
	took := time.Since(start).Round(time.Millisecond)
	switch {
	case err != nil:
		return fmt.Errorf("pidgraft %s: %w", args[0], err)
	case args[0] == "diff": // it says nothing of what is the same
		fmt.Println("identical")
	case args[0] == "dump" || args[0] == "restore":
		fmt.Printf("(%v)\n", took)
	}
	return nil
}

// end kills the restored forest, if there is one.
func (s *stage) end() error {
	if s.root == 0 {
		return nil
	}
	root := s.root
	s.root = 0
	if err := unix.Kill(root, unix.SIGKILL); err != nil {
		return fmt.Errorf("kill the restored forest: %w", err)
	}
	_, err := unix.Wait4(root, nil, 0, nil)
	return err
}

func title(text string) {
	fmt.Printf("\n%s\n%s\n", text, strings.Repeat("=", len(text)))
}

func say(format string, args ...any) {
	fmt.Printf("\n"+format+"\n", args...)
}
