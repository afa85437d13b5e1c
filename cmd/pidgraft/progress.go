// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/restore"
)

// When a line about work that goes on appears, and how often it is written anew.
const (
	progressAfter = 400 * time.Millisecond
	progressEvery = 250 * time.Millisecond
)

// standing is how far a step is.
type standing struct {
	done, of int64  // of 0: not known
	unit     string // what is counted; "": nothing is
	waits    string // what it waits for, if that is known
}

// step is something that a command does and that may take long.
type step struct {
	foot  *foot
	name  string
	how   func() standing // or nil; called by another goroutine, until the end
	begun time.Time
}

// foot is the last line of a terminal, where it says what goes on: one line that
// is written again and again, and gone when there is something else to say. What
// else is written to standard error goes through it.
type foot struct {
	terminal *os.File
	command  string
	wanted   bool

	mu     sync.Mutex
	steps  []*step // what goes on, the innermost last
	timer  *time.Timer
	shown  bool
	usable *bool // nil: not asked yet
}

// begin is the begin of a step. how, if not nil, must not log.
func (f *foot) begin(name string, how func() standing) *step {
	s := &step{f, name, how, time.Now()}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.steps = append(f.steps, s)
	if f.timer == nil && f.canShow() {
		f.timer = time.AfterFunc(progressAfter, f.draw)
	}
	return s
}

// beginStep begins a step of this command.
func beginStep(name string, how func() standing) *step { return says.foot.begin(name, how) }

// end is its end; args are what came of it, as slog has them.
func (s *step) end(args ...any) {
	took := time.Since(s.begun)
	s.stop()
	logStep(s.name, took, args...)
}

// stop is its end if nothing is to be said of it, as when it failed. It may
// come after the end, and be about no step.
func (s *step) stop() {
	if s == nil {
		return
	}
	f := s.foot
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, other := range f.steps {
		if other == s {
			f.steps = append(f.steps[:i], f.steps[i+1:]...)
			break
		}
	}
	if len(f.steps) > 0 {
		return
	}
	if f.timer != nil {
		f.timer.Stop()
		f.timer = nil
	}
	f.clear()
}

// logStep says with -v what was done.
func logStep(name string, took time.Duration, args ...any) {
	slog.Debug(name, append([]any{"took", took.Round(time.Microsecond)}, args...)...)
}

// Write writes something else than progress.
func (f *foot) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.clear()
	return f.terminal.Write(b)
}

// aside lets write have the terminal for a moment, for standard output may be the
// same.
func (f *foot) aside(write func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.clear()
	return write()
}

// canShow: on a terminal that can go back to the begin of a line.
func (f *foot) canShow() bool {
	if f.usable == nil {
		usable := f.wanted && os.Getenv("TERM") != "dumb" && isTerminal(f.terminal)
		f.usable = &usable
	}
	return *f.usable
}

// inForeground: what a shell has put into the background does not write.
func (f *foot) inForeground() bool {
	group, err := unix.IoctlGetInt(int(f.terminal.Fd()), unix.TIOCGPGRP)
	return err != nil || group == unix.Getpgrp()
}

const eraseLine = "\r\x1b[K"

func (f *foot) clear() {
	if f.shown {
		_, _ = io.WriteString(f.terminal, eraseLine)
		f.shown = false
	}
}

func (f *foot) draw() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.steps) == 0 || f.timer == nil {
		return
	}
	if f.inForeground() {
		width := 80
		if w, err := unix.IoctlGetWinsize(int(f.terminal.Fd()), unix.TIOCGWINSZ); err == nil && w.Col > 0 {
			width = int(w.Col)
		}
		_, _ = io.WriteString(f.terminal, eraseLine+oneLine(f.command+": "+f.steps[len(f.steps)-1].text(time.Now()), width-1))
		f.shown = true
	}
	f.timer.Reset(progressEvery)
}

// text is what is said of a step.
func (s *step) text(now time.Time) string {
	took := now.Sub(s.begun)
	var is standing
	if s.how != nil {
		is = s.how()
	}
	var b strings.Builder
	b.WriteString(s.name)
	switch {
	case is.unit == "":
		fmt.Fprintf(&b, ": %d s", int(took.Seconds()))
	case is.of > 0:
		fmt.Fprintf(&b, ": %d of %d %s", is.done, is.of, is.unit)
	default:
		fmt.Fprintf(&b, ": %d %s", is.done, is.unit)
	}
	if is.unit != "" && is.unit != "s" && took > 0 {
		fmt.Fprintf(&b, ", %.0f/s", float64(is.done)/took.Seconds())
	}
	if is.waits != "" {
		b.WriteString(", waits: " + is.waits)
	}
	return b.String()
}

// oneLine cuts text to a width, and lets nothing through that moves the cursor.
func oneLine(text string, width int) string {
	runes := []rune(text)
	if len(runes) > max(width, 1) {
		runes = append(runes[:max(width-1, 0)], '…')
	}
	for i, r := range runes {
		if !unicode.IsPrint(r) {
			runes[i] = '?'
		}
	}
	return string(runes)
}

// beginReading begins a step that reads in through the reader that it returns, or
// from in itself.
func beginReading(in *os.File) (*step, io.Reader) {
	const mega = 1 << 20
	info, err := in.Stat()
	if err == nil && info.IsDir() {
		return beginStep("read", nil), in
	}
	if err == nil && info.Mode().IsRegular() {
		return beginStep("read", func() standing {
			at, _ := in.Seek(0, io.SeekCurrent)
			return standing{done: at / mega, of: info.Size() / mega, unit: "MiB"}
		}), in
	}
	c := &counter{Reader: in}
	return beginStep("read", func() standing {
		s := standing{done: c.n.Load() / mega, unit: "MiB"}
		if n := c.n.Load(); n == c.last {
			s.waits = "for more to read"
		} else {
			c.last = n
		}
		return s
	}), c
}

// counter counts what is read through it.
type counter struct {
	io.Reader
	n    atomic.Int64
	last int64 // as last said
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.n.Add(int64(n))
	return n, err
}

// stages tells of a restore at work.
type stages struct {
	restore.Progress
	step   *step
	begun  time.Time // of the commit
	held   int       // tasks in place, as last looked at
	heldAt time.Time // since when it is as many
}

// next begins a stage. From the commit on the terminal may be that of programs.
func (g *stages) next(s restore.Stage) {
	if g.step != nil {
		g.step.end()
		g.step = nil
	}
	switch s {
	case restore.StageMake:
		g.step = beginStep(string(s), g.standing)
	case restore.StageCommit:
		g.begun = time.Now()
	case restore.StageLive:
		logStep(string(restore.StageCommit), time.Since(g.begun))
	default:
		g.step = beginStep(string(s), nil)
	}
}

func (g *stages) standing() standing {
	const patience = time.Second // before it is asked who keeps it waiting
	now := g.Now(false)
	if g.heldAt.IsZero() || now.Held != g.held {
		g.held, g.heldAt = now.Held, time.Now()
	}
	is := standing{done: int64(now.Held), of: int64(now.Holds), unit: "tasks"}
	if time.Since(g.heldAt) < patience {
		return is
	}
	if waiting := g.Now(true).Waiting; len(waiting) > 0 {
		is.waits = waiting[0]
		if more := len(waiting) - 1; more > 0 {
			is.waits += fmt.Sprintf(" and %d more", more)
		}
	}
	return is
}
