// SPDX-License-Identifier: Apache-2.0

package testforest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	outsideName = "outside" // the first process of every forest
	hostName    = "host"    // the test itself
	targetName  = "init"    // the target, unless the script names another
)

// Forest is a forest of running puppets.
type Forest struct {
	slots  *slots
	life   *os.File // write end: the puppets end when it closes
	mark   *os.File // read end, shared with the puppets: see hostNumber
	cmd    *exec.Cmd
	actors map[string]*actor
	order  []*actor
	used   int // slots given out
	crowd  int // sleepers, which have none
	target string
}

// actor is a task that a script made.
type actor struct {
	name   string
	slot   *slot
	number int   // its slot
	tid    int   // of the task, in the test's namespace
	tgid   int   // of its process, in the test's namespace
	pidfd  int   // of its process; -1 for a thread
	levels []int // its numbers, from the test's namespace down (NSpid)
}

// New makes a forest that has nothing but its first process, outside.
func New() (*Forest, error) {
	f := &Forest{actors: map[string]*actor{}, target: targetName}
	if err := f.start(); err != nil {
		f.release()
		return nil, fmt.Errorf("testforest: %w", err)
	}
	return f, nil
}

// Start builds the forest of a script and kills it when the test is over.
func Start(t testing.TB, script string) *Forest {
	t.Helper()
	f, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Kill(); err != nil {
			t.Error(err)
		}
	})
	if err := f.Run(script); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *Forest) start() (err error) {
	program, err := puppet()
	if err != nil {
		return err
	}
	if f.slots, err = newSlots(); err != nil {
		return err
	}
	if f.mark, f.life, err = os.Pipe(); err != nil {
		return err
	}
	a := f.addSlot(outsideName)
	a.slot.posted.Add(1) // starting counts as a call
	f.cmd = &exec.Cmd{
		Path:       "/proc/self/fd/5",
		Args:       []string{"puppet", "0"},
		ExtraFiles: []*os.File{f.slots.file, f.mark, program}, // 3, 4 and 5
		Stderr:     os.Stderr,
	}
	if err := f.cmd.Start(); err != nil {
		return fmt.Errorf("start a puppet: %w", err)
	}
	a.tid, a.tgid = f.cmd.Process.Pid, f.cmd.Process.Pid
	if _, err := a.slot.wait(a.alive); err != nil {
		return fmt.Errorf("start a puppet: %w", err)
	}
	if err := f.enlist(a, false); err != nil {
		return err
	}
	// A test in the background of a shell, or under nohup, ignores some.
	for _, sig := range []string{"HUP", "INT", "QUIT"} {
		if err := f.Do(outsideName + " ignore " + sig + " dfl"); err != nil {
			return err
		}
	}
	return f.Do(outsideName + " subreaper 1")
}

// Run does every line of a script, up to the first that fails.
func (f *Forest) Run(script string) error {
	for i, line := range strings.Split(script, "\n") {
		if err := f.Do(line); err != nil {
			return fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	return nil
}

// PID is the number of a task in the namespace of the test. It panics for a
// name that the script does not have.
func (f *Forest) PID(name string) int {
	a, ok := f.actors[name]
	if !ok {
		panic("testforest: no task is called " + name)
	}
	return a.tid
}

// Root is the number of the target's root task, in the namespace of the test.
func (f *Forest) Root() int { return f.PID(f.target) }

// Kill ends every task of the forest and reaps what is left of it.
func (f *Forest) Kill() error {
	if f.life == nil {
		return nil
	}
	defer f.release()
	for _, a := range f.order {
		if a.pidfd >= 0 && a.name != outsideName {
			// ESRCH: it is gone already.
			err := unix.PidfdSendSignal(a.pidfd, unix.SIGKILL, nil, 0)
			if err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("testforest: kill %s: %w", a.name, err)
			}
		}
	}
	if err := f.reapAll(); err != nil {
		return fmt.Errorf("testforest: %w", err)
	}
	outside := f.actors[outsideName]
	outside.slot.post(unix.SYS_EXIT_GROUP, 0)
	if err := f.cmd.Wait(); err != nil {
		return fmt.Errorf("testforest: outside: %w", err)
	}
	return nil
}

// reapAll has outside, the reaper of everything here, collect its children
// until it has none.
func (f *Forest) reapAll() error {
	outside := f.actors[outsideName]
	for w := f.waitForAll(); ; {
		n, err := outside.call(unix.SYS_WAIT4, -1, 0, unix.WNOHANG|unix.WALL)
		switch {
		case err == nil && n > 0:
			w = f.waitForAll()
		case errors.Is(err, unix.ECHILD):
			return nil
		case err != nil:
			return fmt.Errorf("reap: %w", err)
		case n == 0 && !w.pause():
			return fmt.Errorf("a child of task %d does not end though it was killed", outside.tid)
		}
	}
}

// perSleeper is how much longer the end of a namespace may take for each of its
// sleepers: its init kills and reaps them one after the other.
const perSleeper = 2 * time.Millisecond

// waitForAll has patience for as many as there are.
func (f *Forest) waitForAll() *waiting {
	w := newWaiting()
	w.deadline = w.deadline.Add(time.Duration(f.crowd) * perSleeper)
	return w
}

// release closes what is open; the puppets that are left end within seconds.
func (f *Forest) release() {
	for _, a := range f.order {
		if a.pidfd >= 0 {
			unix.Close(a.pidfd)
		}
	}
	f.order = nil
	if f.life != nil {
		f.life.Close()
		f.mark.Close()
		f.life = nil
	}
	if f.slots != nil {
		f.slots.close()
		f.slots = nil
	}
}

// addSlot gives the next free slot to a new actor.
func (f *Forest) addSlot(name string) *actor {
	a := &actor{name: name, slot: f.slots.slot(f.used), number: f.used, pidfd: -1}
	f.used++
	return a
}

// enlist makes a new task known under its name.
func (f *Forest) enlist(a *actor, thread bool) error {
	tid, err := f.hostNumber(a)
	if err != nil {
		return fmt.Errorf("find the number of %s: %w", a.name, err)
	}
	a.tid = tid
	if err := a.readLevels(); err != nil {
		return err
	}
	if !thread {
		if a.pidfd, err = unix.PidfdOpen(tid, 0); err != nil {
			return fmt.Errorf("pidfd_open %s: %w", a.name, err)
		}
	}
	f.actors[a.name] = a
	f.order = append(f.order, a)
	return a.setComm(a.name)
}

// fOwner is struct f_owner_ex.
type fOwner struct{ Type, PID int32 }

const ownerTID = 0 // F_OWNER_TID

// hostNumber asks the kernel which number a task that only knows its own
// number has in the test's namespace: the task makes itself the owner of a
// file that both have open, and F_GETOWN_EX translates.
func (f *Forest) hostNumber(a *actor) (int, error) {
	own, err := a.call(unix.SYS_GETTID)
	if err != nil {
		return 0, err
	}
	*(*fOwner)(unsafe.Pointer(&a.slot.data)) = fOwner{ownerTID, int32(own)}
	if _, err := a.call(unix.SYS_FCNTL, 4, unix.F_SETOWN_EX, dataAddr(a.number)); err != nil {
		return 0, err
	}
	var owner fOwner
	if _, _, e := unix.Syscall(unix.SYS_FCNTL, f.mark.Fd(), unix.F_GETOWN_EX, uintptr(unsafe.Pointer(&owner))); e != 0 {
		return 0, e
	}
	// The file must not keep the pid object.
	if _, err := unix.FcntlInt(f.mark.Fd(), unix.F_SETOWN, 0); err != nil {
		return 0, err
	}
	return int(owner.PID), nil
}

// Exists reports whether there is a pid object with this number in the test's
// namespace: that of a task, or a ghost. A number is free only some time after
// its task is gone from /proc.
func (f *Forest) Exists(number int) (bool, error) {
	// f_setown looks for the object alone; the file must not keep it.
	_, err := unix.FcntlInt(f.mark.Fd(), unix.F_SETOWN, number)
	if errors.Is(err, unix.ESRCH) {
		return false, nil
	}
	if err == nil {
		_, err = unix.FcntlInt(f.mark.Fd(), unix.F_SETOWN, 0)
	}
	return true, err
}

// call has the task make a system call.
func (a *actor) call(nr int64, args ...int64) (int64, error) {
	a.slot.post(nr, args...)
	return a.slot.wait(a.alive)
}

func (a *actor) setComm(comm string) error {
	n := copy(a.slot.data[:15], comm)
	a.slot.data[n] = 0
	_, err := a.call(unix.SYS_PRCTL, unix.PR_SET_NAME, dataAddr(a.number))
	return err
}
