// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pidgraft/pidgraft/internal/require"
)

// known fails the test for keywords in a schema of ours that are none: those would
// demand nothing.
func known(t *testing.T, name string, schema any) {
	t.Helper()
	switch v := schema.(type) {
	case []any:
		for _, sub := range v {
			known(t, name, sub)
		}
	case map[string]any:
		for key, sub := range v {
			switch key {
			case "properties", "$defs":
				for _, named := range sub.(map[string]any) {
					known(t, name, named)
				}
			case "$id", "$ref", "$schema", "additionalProperties", "const", "description", "enum", "items", "maxLength",
				"maximum", "minItems", "minimum", "required", "title", "type":
				known(t, name, sub)
			default:
				t.Errorf("%s: %s is no keyword of JSON Schema that is in use here", name, key)
			}
		}
	}
}

// The schemas that version names are those in docs/schema, but for that of make
// bench, which the program does not print.
func TestSchemas(t *testing.T) {
	require.Feature(t, require.Sources)
	files, err := filepath.Glob("../../docs/schema/*.json")
	if err != nil {
		t.Fatal(err)
	}
	var published []string
	for _, f := range files {
		name := "pidgraft." + strings.TrimSuffix(filepath.Base(f), ".json")
		if name != "pidgraft.bench.v1" {
			published = append(published, name)
		}
		text, err := os.ReadFile(f)
		var schema any
		if err == nil {
			err = json.Unmarshal(text, &schema)
		}
		if err != nil {
			t.Fatal(err)
		}
		known(t, f, schema)
		if !strings.Contains(string(text), `"const": "`+name+`"`) {
			t.Errorf("%s does not demand schema %q", f, name)
		}
	}
	is := slices.Sorted(slices.Values(schemas))
	if !slices.Equal(is, published) {
		t.Errorf("version names %q, docs/schema has %q", is, published)
	}
}
