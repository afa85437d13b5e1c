// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pidgraft/pidgraft/internal/require"
)

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
		if text, err := os.ReadFile(f); err != nil || !strings.Contains(string(text), `"const": "`+name+`"`) {
			t.Errorf("%s does not demand schema %q: %v", f, name, err)
		}
	}
	is := slices.Sorted(slices.Values(schemas))
	if !slices.Equal(is, published) {
		t.Errorf("version names %q, docs/schema has %q", is, published)
	}
}
