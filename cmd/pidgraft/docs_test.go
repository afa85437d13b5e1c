// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/pidgraft/pidgraft/forest/foresttest"
	"github.com/pidgraft/pidgraft/forest/view"
	"github.com/pidgraft/pidgraft/internal/alone"
	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/internal/testforest"
)

var updateDocs = flag.Bool("docs.update", false, "write what the commands in the documentation print")

// documents are those whose commands are run. Their commands may name the root of
// testforest.Showpiece by the number that root is.
var documents = []struct{ path, root string }{
	{"README.md", "16176"},
	{"docs/tutorial.md", ""},
	{"docs/convert.md", ""},
	{"docs/comparison.md", ""},
}

// shell is a block of a document: text before it, then commands with what they
// print.
type shell struct {
	before string
	steps  []shellStep
}

// shellStep is a command; after it there may be an empty line before the next.
type shellStep struct {
	command, output string
	gap             bool
}

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
		for i := range len(b.steps) - 1 {
			if s := &b.steps[i]; s.output == "\n" || strings.HasSuffix(s.output, "\n\n") {
				s.output, s.gap = strings.TrimSuffix(s.output, "\n"), true
			}
		}
		blocks = append(blocks, b)
		text = rest
	}
}

// mark divides what commands print.
const mark = "=-=-=-="

// onlyNumber is a number that is all that a command prints: that of a process, for later
// commands.
var onlyNumber = regexp.MustCompile(`^\d+\n$`)

// play runs all commands of a document in one shell and sets what they print.
// numbers are those that the document has for others.
func play(t *testing.T, blocks []shell, numbers map[string]string) {
	var script strings.Builder
	for _, b := range blocks {
		for _, s := range b.steps {
			command := s.command
			for is, by := range numbers {
				command = strings.ReplaceAll(command, is, by)
			}
			if onlyNumber.MatchString(s.output) {
				command = "number=$(" + strings.TrimSpace(command) + "); echo $number\n"
				numbers[strings.TrimSpace(s.output)] = "$number"
			}
			fmt.Fprintf(&script, "{ %s} 2>&1\necho %s\n", command, mark)
		}
	}
	script.WriteString("[ -z \"$number\" ] || kill -KILL $number\n")
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
			is := strings.TrimSuffix(outputs[n], mark+"\n")
			if !onlyNumber.MatchString(is) || !onlyNumber.MatchString(blocks[i].steps[j].output) {
				blocks[i].steps[j].output = is
			}
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
	for _, d := range documents {
		name, path := d.path, filepath.Join("..", "..", d.path)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		want, after := parseDocument(string(text))
		is, _ := parseDocument(string(text))
		numbers := map[string]string{}
		if d.root != "" {
			f, err := testforest.New()
			if err == nil {
				err = f.Run(testforest.Showpiece)
			}
			if err != nil {
				t.Fatal(err)
			}
			numbers[d.root] = strconv.Itoa(f.Root())
			// A command may have ended it.
			defer func() { _ = f.Kill() }()
		}
		play(t, is, numbers)
		if *updateDocs {
			var b strings.Builder
			for _, block := range is {
				b.WriteString(block.before + "```console\n")
				for _, s := range block.steps {
					lines := strings.SplitAfter(s.command, "\n")
					b.WriteString("$ " + strings.Join(lines[:len(lines)-1], "> ") + s.output)
					if s.gap {
						b.WriteByte('\n')
					}
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

// pagesOf are all documents, by their path from the top.
func pagesOf(t *testing.T) map[string]string {
	t.Helper()
	pages := map[string]string{}
	for _, pattern := range []string{"README.md", "docs/*.md", "docs/design/*.md"} {
		found, err := filepath.Glob(filepath.Join("..", "..", pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			name, _ := filepath.Rel(filepath.Join("..", ".."), path)
			pages[name] = string(text)
		}
	}
	return pages
}

// unrun are the lines that begin a block of commands that no test runs, and for
// which no reason is given in the line before: <!-- not run: REASON -->.
func unrun(page string) (lines []int) {
	shells := regexp.MustCompile("^```(console|sh|bash|shell)$")
	indented := regexp.MustCompile(`^    (make|go|pidgraft|podman|docker|apt|apt-get|sudo|\$|#) `)
	reason := regexp.MustCompile(`^<!-- not run: \S.* -->$`)
	before, fenced := "", false
	for i, line := range strings.Split(page, "\n") {
		begins := !fenced && (shells.MatchString(line) || indented.MatchString(line) && !strings.HasPrefix(before, "    "))
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		}
		if begins && !reason.MatchString(before) {
			lines = append(lines, i+1)
		}
		before = line
	}
	return lines
}

// Every command that is shown is run by TestDocs, or the document says why not.
func TestDocsAreRun(t *testing.T) {
	require.Feature(t, require.Sources)
	for name, page := range pagesOf(t) {
		lines := unrun(page)
		if slices.ContainsFunc(documents, func(d struct{ path, root string }) bool { return d.path == name }) {
			// What is indented is not run there either.
			lines = slices.DeleteFunc(lines, func(n int) bool { return strings.HasPrefix(strings.Split(page, "\n")[n-1], "```console") })
		}
		for _, n := range lines {
			t.Errorf("%s:%d: no test runs this, and it does not say why not", name, n)
		}
	}
	if got := unrun("x\n```console\n$ ls\n```\n<!-- not run: y -->\n```sh\nls\n```\n    make x\n<!-- not run:  -->\n    make y\n"); !slices.Equal(got, []int{2, 9, 11}) {
		t.Errorf("the test itself finds %v", got)
	}
}

// What documents say to give to pidgraft, it takes: the command is one, and has the
// flags.
func TestDocsFlags(t *testing.T) {
	require.Feature(t, require.Sources)
	root := rootCommand()
	root.InitDefaultCompletionCmd()
	call := regexp.MustCompile("pidgraft (?:-[qv]+ )?([a-z]+)((?: [^`|;&)\n]*)?)")
	flag := regexp.MustCompile(`(?:^|[ \[(])--([a-z][a-z-]*)`)
	seen := 0
	for name, page := range pagesOf(t) {
		code := regexp.MustCompile("(?s)```console\n.*?```|`[^`\n]+`").FindAllString(page, -1)
		for _, c := range code {
			for _, m := range call.FindAllStringSubmatch(c, -1) {
				at := slices.IndexFunc(root.Commands(), func(c *cobra.Command) bool { return c.Name() == m[1] })
				if at < 0 {
					if strings.HasPrefix(c, "`pidgraft ") {
						t.Errorf("%s: there is no command %s in %q", name, m[1], m[0])
					}
					continue
				}
				seen++
				for _, f := range flag.FindAllStringSubmatch(m[2], -1) {
					if command := root.Commands()[at]; f[1] != "help" && command.Flags().Lookup(f[1]) == nil && root.PersistentFlags().Lookup(f[1]) == nil {
						t.Errorf("%s: %s has no --%s: %q", name, command.CommandPath(), f[1], m[0])
					}
				}
			}
		}
	}
	if seen < 50 {
		t.Errorf("only %d calls of pidgraft were found", seen)
	}
}

// The drawing of a forest in docs/concepts.md is the one that show -o svg makes.
func TestDocsPicture(t *testing.T) {
	require.Feature(t, require.Sources)
	path := filepath.Join("..", "..", "docs", "pictures", "forest.svg")
	var b bytes.Buffer
	if err := view.SVG(&b, foresttest.Sample()); err != nil {
		t.Fatal(err)
	}
	if *updateDocs {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if is, err := os.ReadFile(path); err != nil || !bytes.Equal(is, b.Bytes()) {
		t.Errorf("%s is another (%v); run: go test ./cmd/pidgraft -run TestDocsPicture -docs.update", path, err)
	}
}

// Links between documents lead somewhere.
func TestDocsLinks(t *testing.T) {
	require.Feature(t, require.Sources)
	link := regexp.MustCompile(`\]\(([^)#:]+)\)`)
	for name, page := range pagesOf(t) {
		for _, m := range link.FindAllStringSubmatch(page, -1) {
			if _, err := os.Stat(filepath.Join("..", "..", filepath.Dir(name), m[1])); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
