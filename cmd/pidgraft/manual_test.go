// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pidgraft/pidgraft/internal/require"
)

var updateManual = flag.Bool("manual.update", false, "write docs/man anew")

// TestManual: the pages in docs/man are those of the commands as they are. Each
// command says what it costs.
func TestManual(t *testing.T) {
	require.Feature(t, require.Sources)
	dir := filepath.Join("..", "..", "docs", "man")
	root := rootCommand()
	pages := map[string][]byte{"pidgraft.1": md2man.Render([]byte(rootPage(root)))}
	for _, c := range root.Commands() {
		if c.Annotations[overheadKey] == "" {
			t.Errorf("%s does not say what it costs", c.CommandPath())
		}
		pages["pidgraft-"+c.Name()+".1"] = md2man.Render([]byte(page(c)))
	}
	if *updateManual {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range pages {
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	there, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range there {
		if pages[e.Name()] == nil {
			t.Errorf("%s is the page of no command", e.Name())
		}
	}
	for name, want := range pages {
		is, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, section := range []string{"SYNOPSIS", "OPTIONS", "EXIT STATUS", "OVERHEAD", "EXAMPLES"} {
			_, rest, there := strings.Cut(string(is), "\n.SH "+section+"\n")
			if body, _, _ := strings.Cut(rest, "\n.SH "); !there || len(body) < 10 {
				t.Errorf("%s has nothing in %s", name, section)
			}
		}
		if !bytes.Equal(is, want) {
			t.Errorf("%s is not up to date; run: go test ./cmd/pidgraft -run TestManual -manual.update\n%s", name, cmp.Diff(string(is), string(want)))
		}
	}
}

// markdown is plain text as Markdown: paragraphs, and what is indented as it is.
func markdown(text string) string {
	escaped := strings.NewReplacer(`\`, `\\`, "*", `\*`, "_", `\_`, "`", "\\`", "<", `\<`, "[", `\[`, "]", `\]`, "|", `\|`)
	var b strings.Builder
	indented := false
	for line := range strings.Lines(text + "\n") {
		if in := strings.HasPrefix(line, "  "); in != indented {
			b.WriteByte('\n')
			indented = in
		}
		if indented {
			b.WriteString("    " + strings.TrimPrefix(line, "  "))
		} else {
			b.WriteString(escaped.Replace(line))
		}
	}
	return b.String() + "\n"
}

func heading(name, short string) string {
	return fmt.Sprintf("%% %s 1 \"\" \"pidgraft\" \"pidgraft\"\n\n# NAME\n\n%s - %s\n\n", strings.ToUpper(name), name, lowerFirst(short))
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }

// page is the page of a command.
func page(c *cobra.Command) string {
	name := strings.ReplaceAll(c.CommandPath(), " ", "-")
	var b strings.Builder
	b.WriteString(heading(name, c.Short))
	b.WriteString("# SYNOPSIS\n\n**" + c.CommandPath() + "** " + markdown(strings.TrimPrefix(c.UseLine(), c.CommandPath())))
	b.WriteString("# DESCRIPTION\n\n")
	if c.Long != "" {
		b.WriteString(markdown(c.Long))
	} else {
		b.WriteString(markdown(c.Short + "."))
	}
	b.WriteString(options(c))
	b.WriteString(exitStatus())
	b.WriteString("# OVERHEAD\n\n" + markdown(c.Annotations[overheadKey]))
	b.WriteString(examples(c))
	b.WriteString("# SEE ALSO\n\n**pidgraft**(1)")
	for _, other := range c.Parent().Commands() {
		if other != c {
			fmt.Fprintf(&b, ", **pidgraft-%s**(1)", other.Name())
		}
	}
	b.WriteString("\n")
	return b.String()
}

func rootPage(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString(heading(root.Name(), root.Short))
	b.WriteString("# SYNOPSIS\n\n**pidgraft** *COMMAND* [*ARGUMENT*...]\n\n# DESCRIPTION\n\n" + markdown(root.Long) + "# COMMANDS\n\n")
	for _, c := range root.Commands() {
		fmt.Fprintf(&b, "**pidgraft-%s**(1)\n:   %s.\n\n", c.Name(), c.Short)
	}
	b.WriteString(options(root))
	b.WriteString(exitStatus())
	b.WriteString(`# ENVIRONMENT

**NO\_COLOR**
:   If it is not empty nothing is coloured.

**TERM**
:   If it is dumb, likewise, and no progress is shown.

`)
	b.WriteString("# OVERHEAD\n\nThat of each command is in its page. What nobody calls costs nothing: no daemon, no module, no change of the kernel.\n\n")
	b.WriteString(examples(root))
	return b.String()
}

func options(c *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# OPTIONS\n\n")
	option := func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		b.WriteString("**")
		if f.Shorthand != "" {
			fmt.Fprintf(&b, "-%s**, **", f.Shorthand)
		}
		fmt.Fprintf(&b, "--%s**", f.Name)
		if value != "" {
			fmt.Fprintf(&b, "=*%s*", value)
		}
		fmt.Fprintf(&b, "\n:   %s", strings.TrimSpace(markdown(usage)))
		switch f.DefValue {
		case "", "false", "0", "[]":
		default:
			fmt.Fprintf(&b, " (default: %s)", strings.TrimSpace(markdown(strings.Trim(f.DefValue, "[]"))))
		}
		b.WriteString("\n\n")
	}
	own := c.LocalNonPersistentFlags()
	own.SortFlags = false
	own.VisitAll(option)
	rootFlags := c.InheritedFlags()
	if !c.HasParent() {
		rootFlags = c.PersistentFlags()
	}
	rootFlags.SortFlags = false
	rootFlags.VisitAll(option)
	return b.String() + "**-h**, **--help**\n:   say how it is used\n\n"
}

func exitStatus() string {
	var b strings.Builder
	b.WriteString("# EXIT STATUS\n\n")
	for line := range strings.Lines(exitCodes) {
		code, what, ok := strings.Cut(strings.TrimSpace(line), "  ")
		if ok {
			fmt.Fprintf(&b, "**%s**\n:   %s\n\n", code, what)
		}
	}
	return b.String()
}

func examples(c *cobra.Command) string {
	if c.Example == "" {
		return ""
	}
	var b strings.Builder
	b.WriteString("# EXAMPLES\n\n")
	for line := range strings.Lines(c.Example + "\n") {
		b.WriteString("    " + strings.TrimPrefix(line, "  "))
	}
	return b.String() + "\n"
}
