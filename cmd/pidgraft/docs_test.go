// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pidgraft/pidgraft/internal/alone"
	"github.com/pidgraft/pidgraft/internal/require"
)

var updateDocs = flag.Bool("docs.update", false, "write what the commands in the documentation print")

// documents are those whose commands are run.
var documents = []string{"tutorial.md", "convert.md"}

// shell is a block of a document: text before it, then commands with what they
// print.
type shell struct {
	before string
	steps  []shellStep
}

type shellStep struct{ command, output string }

// parseDocument finds the blocks; after is what follows the last.
func parseDocument(text string) (blocks []shell, after string) {
	const begin, end = "```console\n", "```\n"
	for {
		before, rest, found := strings.Cut(text, begin)
		if !found {
			return blocks, text
		}
		body, rest, _ := strings.Cut(rest, end)
		b := shell{before: before}
		for line := range strings.Lines(body) {
			command, is := strings.CutPrefix(line, "$ ")
			last := len(b.steps) - 1
			switch {
			case is:
				b.steps = append(b.steps, shellStep{command: command})
			case last >= 0 && b.steps[last].output == "" && strings.HasPrefix(line, "> "):
				b.steps[last].command += strings.TrimPrefix(line, "> ")
			case last >= 0:
				b.steps[last].output += line
			}
		}
		blocks = append(blocks, b)
		text = rest
	}
}

// mark divides what commands print.
const mark = "=-=-=-="

// play runs all commands of a document in one shell and sets what they print.
func play(t *testing.T, blocks []shell) {
	var script strings.Builder
	for _, b := range blocks {
		for _, s := range b.steps {
			fmt.Fprintf(&script, "{ %s} 2>&1\necho %s\n", s.command, mark)
		}
	}
	cmd := exec.Command("bash", "--norc", "-c", script.String())
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "NO_COLOR=1")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("bash: %v\n%s", err, out)
	}
	outputs := strings.SplitAfter(string(out), mark+"\n")
	for i, n := 0, 0; i < len(blocks); i++ {
		for j := range blocks[i].steps {
			if n >= len(outputs)-1 {
				t.Fatalf("the shell ended before %q:\n%s", blocks[i].steps[j].command, out)
			}
			blocks[i].steps[j].output = strings.TrimSuffix(outputs[n], mark+"\n")
			n++
		}
	}
}

// What is another every time: numbers of more than two digits (see the test), times,
// the kernel.
var varies = []struct {
	what *regexp.Regexp
	by   string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:]+Z`), "TIME"},
	{regexp.MustCompile(`\d\d:\d\d:\d\d`), "TIME"},
	{regexp.MustCompile(`Linux \S+( \(\S+\))?`), "LINUX"},
	{regexp.MustCompile(`\d{3,}`), "N"},
	{regexp.MustCompile(`[ \t]+`), " "},
}

func same(s string) string {
	for _, v := range varies {
		s = v.what.ReplaceAllString(s, v.by)
	}
	return s
}

// TestDocs: what the documentation says that a command prints is what it prints.
func TestDocs(t *testing.T) {
	require.Root(t)
	require.Feature(t, require.BTF)
	require.Feature(t, require.Program("pgrep", "procps"))
	require.Feature(t, require.Program("crit", "criu"))
	if !alone.Inside() {
		var args []string
		if *updateDocs {
			args = append(args, "-docs.update")
		}
		var done bool
		if log, err := alone.Run("TestDocs", &done, args...); err != nil {
			t.Errorf("%v\n%s", err, log)
		}
		return
	}
	alone.Enter(t)
	// Numbers out here have four digits, those in new namespaces do not.
	if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte("4000"), 0); err != nil {
		t.Fatal(err)
	}
	for _, name := range documents {
		path := filepath.Join("..", "..", "docs", name)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		want, after := parseDocument(string(text))
		is, _ := parseDocument(string(text))
		play(t, is)
		if *updateDocs {
			var b strings.Builder
			for _, block := range is {
				b.WriteString(block.before + "```console\n")
				for _, s := range block.steps {
					lines := strings.SplitAfter(s.command, "\n")
					b.WriteString("$ " + strings.Join(lines[:len(lines)-1], "> ") + s.output)
				}
				b.WriteString("```\n")
			}
			if err := os.WriteFile(path, []byte(b.String()+after), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		for i := range want {
			for j := range want[i].steps {
				w, g := want[i].steps[j], is[i].steps[j]
				if d := cmp.Diff(same(w.output), same(g.output)); d != "" {
					t.Errorf("%s: $ %s(-documented +printed)\n%s", name, w.command, d)
				}
			}
		}
	}
	alone.Report(t, true)
}
