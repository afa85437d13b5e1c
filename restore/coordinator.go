// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/restore/stub"
)

// coordinator is the stub's first process, parent of the new forest.
type coordinator struct {
	cmd   *exec.Cmd
	life  *os.File      // write end; closing it kills the forest
	bell  *os.File      // eventfd
	rings chan struct{} // the bell was rung
	ended chan struct{} // the process was reaped

	closing atomic.Bool
}

// startCoordinator runs the stub on the plan in m.
func startCoordinator(m *shared, opts *Options, pidfile *pidfile) (*coordinator, error) {
	binary, err := stubFile()
	if err != nil {
		return nil, err
	}
	defer binary.Close()
	bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		unix.Close(bell)
		return nil, fmt.Errorf("pipe: %w", err)
	}
	read := os.NewFile(uintptr(pipe[0]), "life")
	defer read.Close()
	c := &coordinator{
		bell:  os.NewFile(uintptr(bell), "bell"),
		life:  os.NewFile(uintptr(pipe[1]), "life"),
		rings: make(chan struct{}, 1),
		ended: make(chan struct{}),
	}
	c.cmd = stubCommand(binary, m.file, read, c.bell)
	if pidfile != nil {
		c.cmd.ExtraFiles = append(c.cmd.ExtraFiles, pidfile.file)
	}
	stdin := opts.Stdin
	if opts.nullStdio() { // standard output and error become what it is
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			c.life.Close()
			c.bell.Close()
			return nil, err
		}
		defer null.Close()
		stdin = null
	}
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = input(stdin), output(opts.Stdout), output(opts.Stderr)
	if err := startStub(c.cmd); err != nil {
		c.life.Close()
		c.bell.Close()
		return nil, fmt.Errorf("start the stub: %w", err)
	}
	go c.listen()
	go func() {
		_ = c.cmd.Wait() // its status is in the plan
		close(c.ended)
	}()
	return c, nil
}

// A nil *os.File in an interface is not nil to os/exec.
func input(f *os.File) interface{ Read([]byte) (int, error) } {
	if f == nil {
		return nil
	}
	return f
}

func output(f *os.File) interface{ Write([]byte) (int, error) } {
	if f == nil {
		return nil
	}
	return f
}

// listen turns counts of the eventfd into rings, until close.
func (c *coordinator) listen() {
	var count [8]byte
	for {
		if _, err := c.bell.Read(count[:]); err != nil || c.closing.Load() {
			return
		}
		select {
		case c.rings <- struct{}{}:
		default: // one is waiting already
		}
	}
}

// commit tells the coordinator that the forest is to live.
func (c *coordinator) commit() error {
	_, err := c.life.Write([]byte{1})
	return err
}

// abandon lets the coordinator kill the forest, if there was no commit.
func (c *coordinator) abandon() { _ = c.life.Close() }

func (c *coordinator) close() {
	c.abandon()
	c.closing.Store(true)
	one := [8]byte{1, 1, 1, 1, 1, 1, 1, 0} // not zero in either byte order
	_, _ = c.bell.Write(one[:])            // wakes listen, should it be blocked
	_ = c.bell.Close()
}

// hostPid is the number, in this process's namespace, of the task that a
// pidfd of the coordinator is of.
func (c *coordinator) hostPid(pidfd int) (int, error) {
	path := fmt.Sprintf("/proc/%d/fdinfo/%d", c.cmd.Process.Pid, pidfd)
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	pid, err := pidOfFdinfo(string(text))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return pid, nil
}

// stubFile is the stub in a sealed memfd: nobody can change what is run.
func stubFile() (*os.File, error) {
	if len(stub.Binary) == 0 {
		return nil, &CannotRunError{"a stub for this architecture", "pidgraft restores on amd64 and arm64"}
	}
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("pidgraft-stub", flags|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3 all are executable
		fd, err = unix.MemfdCreate("pidgraft-stub", flags)
	}
	if errors.Is(err, unix.EACCES) {
		return nil, &CannotRunError{"executable memfds", "set sysctl vm.memfd_noexec below 2"}
	}
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, stub.Binary); err != nil {
		return nil, fmt.Errorf("write the stub: %w", err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS,
		unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL); err != nil {
		return nil, fmt.Errorf("seal the stub: %w", err)
	}
	// A number that is out of the way of those the child is given.
	high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 64)
	if err != nil {
		return nil, fmt.Errorf("dup the stub: %w", err)
	}
	return os.NewFile(uintptr(high), "stub"), nil
}

// stubCommand runs the stub with files as descriptors 3, 4 and so on. It runs
// as root: plans say how the ids of a task differ from that.
func stubCommand(binary *os.File, files ...*os.File) *exec.Cmd {
	cmd := &exec.Cmd{
		Path:       fmt.Sprintf("/proc/self/fd/%d", binary.Fd()),
		Args:       []string{"pidgraft-restore"},
		Env:        []string{},
		ExtraFiles: files,
	}
	if !isRoot() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{}}
	}
	return cmd
}

// startStub starts a stubCommand. Until the child execs it has this process's
// memory, which its change of ids makes undumpable (commit_creds, kernel/cred.c):
// what /proc shows of this process would be root's, and before 5.14 not for it
// to read.
func startStub(cmd *exec.Cmd) error {
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil {
		return fmt.Errorf("prctl PR_GET_DUMPABLE: %w", err)
	}
	if err := cmd.Start(); err != nil || dumpable != 1 {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
		return errors.Join(fmt.Errorf("prctl PR_SET_DUMPABLE: %w", err), cmd.Process.Kill(), cmd.Wait())
	}
	return nil
}

// undoLimit is how long the kernel may take to end a namespace; each task has a
// millisecond more.
const undoLimit = 30 * time.Second
