// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pidgraft/pidgraft/audit/listing"
	"github.com/pidgraft/pidgraft/audit/metric"
	"github.com/pidgraft/pidgraft/forest/foresttest"
	"github.com/pidgraft/pidgraft/forest/view"
	"github.com/pidgraft/pidgraft/internal/require"
)

// members are the names in a schema.
func members(schema any, found map[string]bool) {
	switch v := schema.(type) {
	case map[string]any:
		if properties, ok := v["properties"].(map[string]any); ok {
			for name := range properties {
				found[name] = true
			}
		}
		for _, sub := range v {
			members(sub, found)
		}
	case []any:
		for _, sub := range v {
			members(sub, found)
		}
	}
}

// flagsOf are the flags of all commands.
func flagsOf(root *cobra.Command) map[string][]*pflag.Flag {
	found := map[string][]*pflag.Flag{}
	add := func(f *pflag.Flag) { found["--"+f.Name] = append(found["--"+f.Name], f) }
	root.PersistentFlags().VisitAll(add)
	for _, c := range root.Commands() {
		c.LocalNonPersistentFlags().VisitAll(add)
	}
	return found
}

// What a thing is called is the same in JSON, columns, metrics and flags, as
// docs/names.md has it.
func TestNames(t *testing.T) {
	require.Feature(t, require.Sources)
	text, err := os.ReadFile("../../docs/names.md")
	if err != nil {
		t.Fatal(err)
	}
	inJSON := map[string]bool{}
	files, err := filepath.Glob("../../docs/schema/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		var schema any
		b, err := os.ReadFile(f)
		if err == nil {
			err = json.Unmarshal(b, &schema)
		}
		if err != nil {
			t.Fatal(err)
		}
		members(schema, inJSON)
	}
	columns := map[string]bool{"NUMBER": true} // of map
	for _, name := range listing.Names() {
		columns[strings.ToUpper(name)] = true
	}
	var table bytes.Buffer
	if err := view.Table(&table, foresttest.Small(), view.Options{}); err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(table.String(), "\n")
	for _, name := range strings.Fields(head) {
		columns[name] = true
	}
	metrics := map[string]bool{}
	for _, m := range metric.All() {
		metrics[m.Name] = true
	}
	flags := map[string]bool{}
	for name := range flagsOf(rootCommand()) {
		flags[name] = true
	}

	there := []map[string]bool{inJSON, columns, metrics, flags}
	what := []string{"member of JSON", "column", "metric", "flag"}
	listed := map[string]bool{}
	word := regexp.MustCompile("`([^`]+)`")
	rows := 0
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 5 || strings.Contains(line, "---") || strings.Contains(line, "| JSON |") {
			continue
		}
		rows++
		var names [4][]string
		for i := range names {
			for _, m := range word.FindAllStringSubmatch(cells[i+1], -1) {
				names[i] = append(names[i], m[1])
				listed[m[1]] = true
				if !there[i][m[1]] {
					t.Errorf("%s: there is no %s %s", strings.TrimSpace(cells[0]), what[i], m[1])
				}
			}
		}
		for _, c := range names[1] {
			if !slices.Contains(names[0], strings.ToLower(c)) {
				t.Errorf("%s: the column %s is no %q in JSON", strings.TrimSpace(cells[0]), c, strings.ToLower(c))
			}
		}
	}
	if rows < 20 {
		t.Fatalf("docs/names.md has a table of %d rows", rows)
	}
	for c := range columns {
		if !listed[c] {
			t.Errorf("the column %s is not in docs/names.md", c)
		}
	}
	for _, m := range metric.All() {
		if len(m.Labels) > 0 && !listed[m.Name] {
			t.Errorf("the metric %s is not in docs/names.md", m.Name)
		}
	}
	// Words that others have for what has one here.
	for _, synonym := range []string{"ppid", "pgrp", "userns", "vpid", "lwp", "thread_group", "pid_namespace", "exitsig", "cmd", "command_name"} {
		if inJSON[synonym] || columns[strings.ToUpper(synonym)] || flags["--"+synonym] {
			t.Errorf("%s is another word for something that has one", synonym)
		}
	}
}

// A flag means the same to all commands: the same kind of value, shorthand and
// name for it. What differs is said in docs/names.md.
func TestFlagsAreTheSame(t *testing.T) {
	for name, flags := range flagsOf(rootCommand()) {
		if slices.Contains([]string{"--output", "--container"}, name) {
			continue
		}
		for _, f := range flags[1:] {
			is, _ := pflag.UnquoteUsage(f)
			was, _ := pflag.UnquoteUsage(flags[0])
			if f.Shorthand != flags[0].Shorthand || f.Value.Type() != flags[0].Value.Type() || is != was {
				t.Errorf("%s is -%s %s %s here, and -%s %s %s there", name, f.Shorthand, f.Value.Type(), is, flags[0].Shorthand, flags[0].Value.Type(), was)
			}
		}
	}
}
