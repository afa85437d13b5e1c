// SPDX-License-Identifier: Apache-2.0

// Package docs_test holds the documents against the tree.
package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pidgraft/pidgraft/internal/testforest"
)

// named is a package and the tests of it that a cell names.
var named = regexp.MustCompile("([a-z0-9/]+) ((?:`Test[^`]*`(?:, )?)+)")

// TestCRIU: each row of the table names a test, and each test exists.
func TestCRIU(t *testing.T) {
	text, err := os.ReadFile("criu.md")
	if err != nil {
		t.Fatal(err)
	}
	rows, tests := 0, 0
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) < 3 || strings.HasPrefix(cells[1], " kind") || strings.HasPrefix(cells[1], "-") {
			continue
		}
		rows++
		if len(cells) != 6 {
			t.Errorf("%d cells, not 4: %s", len(cells)-2, line)
			continue
		}
		found := named.FindAllStringSubmatch(cells[4], -1)
		if found == nil {
			t.Errorf("no test: %s", line)
		}
		for _, m := range found {
			for _, name := range strings.Split(strings.TrimSuffix(m[2], ", "), ", ") {
				tests++
				expectTest(t, filepath.Join("..", m[1]), strings.Trim(name, "`"))
			}
		}
	}
	if rows < 40 {
		t.Errorf("only %d rows were found", rows)
	}
	t.Logf("%d rows name %d tests", rows, tests)
}

// expectTest expects a test in a package. A case of it is a sample, or is named
// in quotes in the package's tests.
func expectTest(t *testing.T, dir, name string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var source strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source.Write(text)
	}
	test, part, parted := strings.Cut(name, "/")
	if !strings.Contains(source.String(), "\nfunc "+test+"(t *testing.T)") {
		t.Errorf("%s has no %s", dir, test)
	}
	sample := func(s testforest.Sample) bool { return s.Name == part }
	if parted && !strings.Contains(source.String(), `"`+part+`"`) && !slices.ContainsFunc(testforest.Samples(), sample) {
		t.Errorf("%s in %s has no case %q", test, dir, part)
	}
}
