// SPDX-License-Identifier: Apache-2.0

package record

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// JSON writes a record as a line of JSON.
func JSON(w io.Writer, r *Record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("%s record: %w", r.Type, err)
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// Table writes a record as a line for people: when, what, and whether the state
// is complete. Bytes of others are made harmless.
func Table(w io.Writer, r *Record) error {
	clock := r.Time
	if i := strings.IndexByte(clock, 'T'); i >= 0 && len(clock) >= i+9 {
		clock = clock[i+1 : i+9]
	}
	mark := " "
	if r.State != "complete" {
		mark = "~"
	}
	_, err := fmt.Fprintf(w, "%s %s %-9s %s\n", clock, mark, r.Type, Text(r))
	return err
}

// Text is a record in words, in one line and without anything but text in it.
func Text(r *Record) string { return plain(words(r)) }

// plain replaces what a terminal could take for anything but text.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

func words(r *Record) string {
	switch {
	case r.Header != nil:
		h := r.Header
		what := ""
		for _, c := range h.Chosen {
			what += fmt.Sprintf("pid namespace %d at level %d, ", c.Inode, c.Level)
		}
		if what != "" {
			what += "of "
		}
		return fmt.Sprintf("%spid namespace %d at level %d, seen from %d at level %d; %s, Linux %s",
			what, h.Namespace.Inode, h.Namespace.Level, h.Own.Inode, h.Own.Level, h.Source, h.Release)
	case r.Snapshot != nil:
		s := r.Snapshot
		return fmt.Sprintf("%d objects: %d tasks of %d processes, %d zombies, %d ghosts; %d namespaces (%s)",
			s.Objects, s.Tasks, s.Processes, s.Zombies, s.Ghosts, len(s.Namespaces), s.Cause)
	case r.Event != nil:
		return r.Event.words()
	case r.Loss != nil:
		return fmt.Sprintf("%d events", r.Loss.Count)
	case r.Recovered != nil:
		return fmt.Sprintf("%d changes that no event told, after %d lost events", len(r.Recovered.Changes), r.Recovered.Lost)
	case r.Finding != nil:
		return fmt.Sprintf("%s %s %s: %s", r.Finding.Status, r.Finding.Severity, r.Finding.Kind, r.Finding.Text)
	case r.Summary != nil:
		s := r.Summary
		return fmt.Sprintf("%d events, %d lost, %d snapshots, %d recovered, %d findings",
			s.Events, s.Lost, s.Snapshots, s.Recovered, s.Findings)
	}
	return ""
}

func (e *Event) words() string {
	text := fmt.Sprintf("%s %s %s", e.Kind, chain(e.Task.Numbers), e.Task.Comm)
	if len(e.Changed) > 0 {
		text += ": " + strings.Join(e.Changed, ", ")
	}
	return text
}

func chain(numbers []int32) string {
	if len(numbers) == 0 {
		return "outside"
	}
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(numbers), " ", "/"), "[]")
}
