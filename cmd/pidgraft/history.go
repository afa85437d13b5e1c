// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/audit"
	"github.com/pidgraft/pidgraft/audit/history"
	"github.com/pidgraft/pidgraft/forest"
)

// bootID is what tells this boot of the machine from others.
func bootID() (id [16]byte, err error) {
	const path = "/proc/sys/kernel/random/boot_id"
	text, err := os.ReadFile(path)
	if err != nil {
		return id, err
	}
	b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(string(text)), "-", ""))
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("%s: %q is no boot id", path, text)
	}
	copy(id[:], b)
	return id, nil
}

func boottime() uint64 {
	var t unix.Timespec
	// It cannot fail for this clock.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &t)
	return uint64(t.Nano())
}

// decodeHistory reads what audit --state wrote.
func decodeHistory(path string) (*history.File, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f, err := history.Decode(b)
	if err != nil {
		return nil, refusedError{fmt.Sprintf("%s: %v", path, err), nil}
	}
	return f, nil
}

// readHistory reads a history to go by. Of another boot it is refused: numbers and
// times mean nothing there.
func readHistory(path string) (*history.File, error) {
	f, err := decodeHistory(path)
	if err != nil {
		return nil, err
	}
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	if boot != f.Boot {
		return nil, refusedError{path + ": it is the history of another boot: what it tells of has ended with that", nil}
	}
	return f, nil
}

// tellHistory tells a forest where its processes were born. What contradicts the
// forest is left out, and said.
func tellHistory(h *history.File, path string, f *forest.Forest) error {
	_, err := h.Tell(f)
	switch {
	case errors.Is(err, history.ErrContradicts):
		slog.Warn(fmt.Sprintf("%s is left out: %v", path, err))
		return nil
	case err != nil:
		return refusedError{fmt.Sprintf("%s: %v", path, err), nil}
	}
	return nil
}

// stateFile keeps the history of an audit on a disk.
type stateFile struct {
	path    string
	every   time.Duration
	header  history.Header
	tracker *history.Tracker

	written time.Time
	writing chan error // nil: nobody writes
}

// open reads what an audit before this one has left. Of another namespace it
// belongs to somebody else; of another boot it is worthless.
func (s *stateFile) open(namespace uint32, level int) error {
	boot, err := bootID()
	if err != nil {
		return err
	}
	s.header = history.Header{Boot: boot, Namespace: namespace, Level: uint32(level)}
	s.tracker = history.NewTracker()
	f, err := decodeHistory(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s.write(s.tracker.Export(s.header).Encode()) // whether it can be written
	case err != nil:
		return err
	case f.Boot != boot:
		slog.Warn(s.path + " is the history of another boot, and is begun anew")
		return nil
	case f.Namespace != namespace || int(f.Level) != level:
		return refusedError{fmt.Sprintf("%s: it is the history of pid namespace %d, not of %d: remove it, or name another file",
			s.path, f.Namespace, namespace), nil}
	}
	s.header.Lost = f.Lost
	s.tracker.Load(f)
	return nil
}

func (s *stateFile) write(b []byte) error {
	return writeFile(s.path, 0o600, true, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
}

// keep writes the history beside everything else when it is time: a disk may take
// long, and the stream does not wait.
func (s *stateFile) keep(a *audit.Auditor, now bool) {
	if s == nil || a.State() == nil {
		return
	}
	select {
	case err := <-s.writing:
		s.writing = nil
		if err != nil {
			slog.Error(fmt.Sprintf("--state: %v", err))
		}
	default:
	}
	if s.writing != nil || !now && time.Since(s.written) < s.every {
		return
	}
	s.written = time.Now()
	b := s.encode(a)
	done := make(chan error, 1)
	s.writing = done
	go func() { done <- s.write(b) }()
}

func (s *stateFile) encode(a *audit.Auditor) []byte {
	h := s.header
	h.Lost += a.Totals().Lost()
	h.Boottime = boottime()
	return s.tracker.Export(h).Encode()
}

// close writes the history for the last time.
func (s *stateFile) close(a *audit.Auditor) error {
	if s == nil || a.State() == nil {
		return nil
	}
	if s.writing != nil {
		<-s.writing
	}
	if err := s.write(s.encode(a)); err != nil {
		return fmt.Errorf("--state: %w", err)
	}
	return nil
}
