// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// guardName is argv[0] of a guard. The program that freezes runs itself again
// under it (see init); no program calls itself that.
const guardName = "pidgraft-thaw-guard"

// Descriptors that a guard inherits.
const (
	guardLife    = 3 // a pipe that ends when the program that froze does
	guardControl = 4 // the control file of the cgroup, open for writing
	guardReady   = 5 // a pipe to say that it watches
)

// guard is a process that thaws a cgroup when a pipe ends: because thaw was
// called, or because this process died, however it died. So thawing has one way
// only, and it is in use every time.
//
// It is its own session and ignores signals, or what ends this process could
// end both. Only who kills the guard itself, or everything (the pid namespace,
// or the cgroup that both are in) leaves the target frozen.
type guard struct {
	cmd  *exec.Cmd
	life *os.File
	// thawSelf does without the guard, if that was killed.
	thawSelf func() error
	once     sync.Once
	err      error
}

// startGuard starts a guard that writes word to control, and returns when it
// watches.
func startGuard(control *os.File, word string) (*guard, error) {
	lifeR, lifeW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer lifeR.Close()
	readyR, readyW, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, lifeW.Close())
	}
	defer readyR.Close()
	path := control.Name()
	g := &guard{
		cmd: &exec.Cmd{
			Path:        "/proc/self/exe",
			Args:        []string{guardName, word},
			Env:         []string{},
			Dir:         "/",
			ExtraFiles:  []*os.File{lifeR, control, readyW},
			SysProcAttr: &syscall.SysProcAttr{Setsid: true},
		},
		life:     lifeW,
		thawSelf: func() error { return os.WriteFile(path, []byte(word), 0) },
	}
	err = g.cmd.Start()
	readyW.Close()
	if err != nil {
		return nil, errors.Join(err, lifeW.Close())
	}
	if _, err := io.ReadFull(readyR, make([]byte, 1)); err != nil {
		return nil, errors.Join(fmt.Errorf("it did not start: %w", err), lifeW.Close(), g.cmd.Wait())
	}
	return g, nil
}

// thaw has the guard thaw, and waits for it.
func (g *guard) thaw() error {
	g.once.Do(func() {
		g.life.Close()
		if err := g.cmd.Wait(); err != nil {
			if g.err = g.thawSelf(); g.err != nil {
				g.err = fmt.Errorf("thaw: %w (the guard: %w)", g.err, err)
			}
		}
	})
	return g.err
}

// init is where a guard begins, in place of the program's main.
func init() {
	if len(os.Args) == 2 && os.Args[0] == guardName {
		os.Exit(beGuard(os.Args[1]))
	}
}

func beGuard(word string) int {
	signal.Ignore()
	life, control, ready := os.NewFile(guardLife, "life"), os.NewFile(guardControl, "control"), os.NewFile(guardReady, "ready")
	if _, err := ready.Write([]byte{1}); err != nil {
		return 1 // nothing is frozen yet
	}
	ready.Close()
	// Nothing is ever written to it: this returns when it ends.
	io.Copy(io.Discard, life)
	for range 100 {
		_, err := control.WriteString(word)
		if err == nil || errors.Is(err, syscall.ENODEV) {
			return 0 // the latter: the cgroup is gone, so nothing is frozen
		}
		time.Sleep(10 * time.Millisecond)
	}
	return 1
}
