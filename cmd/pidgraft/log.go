// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"

	"github.com/spf13/cobra"
)

// logSchema names the form of a line with --log-format=json:
// docs/schema/log.v1.json.
const logSchema = "pidgraft.log.v1"

// speech is how a command talks on standard error. What it was asked for is not
// part of it, and goes to standard output.
type speech struct {
	quiet, verbose bool
	format         *choice
	foot           *foot
}

// says is that of this process, which has one standard error.
var says = newSpeech()

func newSpeech() *speech {
	return &speech{format: &choice{"text", []string{"text", "json"}}, foot: &foot{terminal: os.Stderr}}
}

func (s *speech) flags(root *cobra.Command) {
	fs := root.PersistentFlags()
	fs.SortFlags = false
	fs.BoolVarP(&s.quiet, "quiet", "q", false, "on standard error say nothing but errors")
	fs.BoolVarP(&s.verbose, "verbose", "v", false, "on standard error say what is done, step by step, and how long it took")
	fs.Var(s.format, "log-format", "on standard error write `text`, or json: an object a line")
}

// begin is called when a command begins.
func (s *speech) begin(cmd *cobra.Command) error {
	if s.quiet && s.verbose {
		return usageError{fmt.Errorf("--quiet and --verbose exclude each other")}
	}
	s.foot.command = cmd.CommandPath()
	s.foot.wanted = !s.quiet && s.format.value == "text"
	slog.SetDefault(slog.New(s.handler(cmd)))
	return nil
}

func (s *speech) level() slog.Level {
	switch {
	case s.quiet:
		return slog.LevelError
	case s.verbose:
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

func (s *speech) handler(cmd *cobra.Command) slog.Handler {
	if s.format.value == "json" {
		h := slog.NewJSONHandler(s.foot, &slog.HandlerOptions{Level: s.level()})
		return h.WithAttrs([]slog.Attr{slog.String("schema", logSchema), slog.String("command", cmd.CommandPath())})
	}
	return &textHandler{out: s.foot, level: s.level(), command: cmd.CommandPath(), mu: new(sync.Mutex)}
}

// textHandler writes lines for people, in the form that errors have.
type textHandler struct {
	out     *foot
	level   slog.Level
	command string
	attrs   string
	mu      *sync.Mutex
}

func (h *textHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level }

func (h *textHandler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(h.command + ": ")
	if r.Level == slog.LevelWarn {
		b.WriteString("warning: ")
	}
	b.WriteString(r.Message + h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		b.WriteString(attrText(a))
		return true
	})
	b.WriteByte('\n')
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := h.out.Write([]byte(b.String()))
	return err
}

func attrText(a slog.Attr) string {
	value := a.Value.String()
	if value == "" || strings.ContainsAny(value, " \"\n") {
		value = fmt.Sprintf("%q", value)
	}
	return " " + a.Key + "=" + value
}

func (h *textHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	for _, a := range attrs {
		with.attrs += attrText(a)
	}
	return &with
}

// WithGroup: nothing here groups.
func (h *textHandler) WithGroup(string) slog.Handler { return h }
