// SPDX-License-Identifier: Apache-2.0

package testforest

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/internal/procfile"
)

// What /proc says about the tasks of a forest, as far as building it needs.

func (a *actor) proc(file string) string {
	return fmt.Sprintf("/proc/%d/task/%d/%s", a.tgid, a.tid, file)
}

// readLevels learns the process and the numbers of a task.
func (a *actor) readLevels() error {
	// A thread is found by its own number too, though not listed.
	text, err := procfile.Read(fmt.Sprintf("/proc/%d/status", a.tid))
	if err != nil {
		return err
	}
	if a.tgid, err = strconv.Atoi(statusField(text, "Tgid")); err != nil {
		return fmt.Errorf("read Tgid of %s: %w", a.name, err)
	}
	a.levels = a.levels[:0]
	for _, s := range strings.Fields(statusField(text, "NSpid")) {
		n, err := strconv.Atoi(s)
		if err != nil {
			return fmt.Errorf("read NSpid of %s: %w", a.name, err)
		}
		a.levels = append(a.levels, n)
	}
	return nil
}

func statusField(text []byte, name string) string {
	for line := range bytes.Lines(text) {
		if value, ok := bytes.CutPrefix(line, []byte(name+":")); ok {
			return string(bytes.TrimSpace(value))
		}
	}
	return ""
}

// phase is how far a task is in its life, as the test can see it.
type phase int

const (
	busy   phase = iota // running, or with a signal to take
	waits               // for its next call
	stops               // by a signal
	leaves              // an init that waits for its namespace to empty
	zombie              // ended, not reaped
	gone                // reaped
)

func (p phase) String() string {
	return [...]string{"is busy", "waits", "is stopped", "is leaving", "is a zombie", "is gone"}[p]
}

func (a *actor) phase() phase {
	text, err := procfile.Read(a.proc("status"))
	if err != nil {
		return gone
	}
	switch state := statusField(text, "State"); {
	case strings.HasPrefix(state, "Z"), strings.HasPrefix(state, "X"):
		return zombie
	case strings.HasPrefix(state, "T"):
		return stops
	}
	wchan, _ := procfile.Read(a.proc("wchan"))
	switch {
	// It waits for numbers to go, or for children: no puppet blocks in wait4.
	case string(wchan) == "zap_pid_ns_processes", string(wchan) == "do_wait":
		return leaves
	// Where it sleeps, wchan does not say on 5.10, and the stack does.
	case string(wchan) == "0" && a.exiting() && a.inStack("zap_pid_ns_processes"):
		return leaves
	case statusField(text, "SigPnd") != noSignals, statusField(text, "ShdPnd") != noSignals,
		!strings.HasPrefix(statusField(text, "State"), "S"), !a.inFutex(), a.exiting():
		return busy
	}
	return waits
}

// inFutex tells whether the task sleeps in futex(2), by its system call: where
// in the kernel it sleeps, wchan does not say on 5.10.
func (a *actor) inFutex() bool {
	// "running", -1 outside of a call, or the number and the arguments.
	text, _ := procfile.Read(a.proc("syscall"))
	number, _, _ := bytes.Cut(text, []byte(" "))
	return string(number) == strconv.Itoa(unix.SYS_FUTEX)
}

// inStack tells whether the task sleeps in a function of the kernel, or in one that
// it calls.
func (a *actor) inStack(function string) bool {
	text, _ := procfile.Read(a.proc("stack"))
	return bytes.Contains(text, []byte(" "+function+"+"))
}

// exiting tells whether the task is on its way out (PF_EXITING): it may sleep
// there for a lock, and the system call is still the one before its end.
func (a *actor) exiting() bool {
	text, _ := procfile.Read(a.proc("stat"))
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 7 {
		return true
	}
	const pfExiting = 0x4
	flags, err := strconv.ParseUint(string(fields[6]), 10, 32)
	return err != nil || flags&pfExiting != 0
}

const noSignals = "0000000000000000"

func (a *actor) alive() bool {
	p := a.phase()
	return p != zombie && p != gone
}

// rest waits until the task has done all that the kernel asked of it, so that
// what a test reads next does not change under it.
func (a *actor) rest() (phase, error) {
	for w := newWaiting(); ; {
		if p := a.phase(); p != busy {
			return p, nil
		}
		if !w.pause() {
			return busy, fmt.Errorf("%s (task %d) does not come to rest", a.name, a.tid)
		}
	}
}

// waiting looks again and again, ever less often: on a busy machine the looks
// would take the time that the task needs.
type waiting struct {
	deadline time.Time
	next     time.Duration
}

func newWaiting() *waiting {
	return &waiting{time.Now().Add(patience), 20 * time.Microsecond}
}

// pause sleeps, or reports false when patience is over.
func (w *waiting) pause() bool {
	if time.Now().After(w.deadline) {
		return false
	}
	time.Sleep(w.next)
	w.next = min(2*w.next, 2*time.Millisecond)
	return true
}

// Ended reports whether a task has come to its end: it is a zombie, or gone.
func (f *Forest) Ended(name string) bool {
	a := f.actors[name]
	return a.tid == 0 || a.phase() >= zombie
}

func (f *Forest) settle() error {
	for _, a := range f.order {
		if a.tid == 0 {
			continue
		}
		p, err := a.rest()
		if err != nil {
			return err
		}
		if p == gone {
			a.tid = 0 // its number may come back as another's
		}
	}
	return nil
}
