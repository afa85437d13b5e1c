// SPDX-License-Identifier: Apache-2.0

package packaging

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/internal/schematest"
)

// cyclonedx has the schemas of the lists of modules.
const cyclonedx = "github.com/CycloneDX/cyclonedx-go@v0.9.3"

// modulesIn are the modules in a program, with their versions, as the go command reads
// them from it, and that of the standard library.
func modulesIn(t *testing.T, program string) map[string]string {
	t.Helper()
	modules := map[string]string{}
	for line := range strings.Lines(run(t, "/", "go", "version", "-m", program)) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 2 && strings.HasPrefix(fields[1], "go1."):
			modules["std"] = fields[1]
		case len(fields) >= 3 && fields[0] == "dep":
			modules[fields[1]] = fields[2]
		}
	}
	return modules
}

// The list of modules is what CycloneDX says that one is, names those in the two
// programs, neither more nor fewer, and is the same in the packages.
func TestModuleList(t *testing.T) {
	require.Feature(t, require.Sources)
	dist := packages(t)
	text, err := os.ReadFile(made(t, dist, ".cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	var module struct{ Dir string }
	parse(t, []byte(run(t, t.TempDir(), "go", "mod", "download", "-json", cyclonedx)), &module)
	schema := func(name string) string { return filepath.Join(module.Dir, "schema", name) }
	check := func(text []byte) []string {
		faults, err := schematest.Check(schema("bom-1.6.schema.json"), text, schema("spdx.schema.json"), schema("jsf-0.82.schemax.json"))
		if err != nil {
			t.Fatal(err)
		}
		return faults
	}
	if faults := check(text); len(faults) > 0 {
		t.Errorf("it is no CycloneDX 1.6:\n%s", strings.Join(faults, "\n"))
	}
	if faults := check(bytes.Replace(text, []byte(`"type": "library"`), []byte(`"type": "book"`), 1)); len(faults) != 1 {
		t.Errorf("a component that is a book: %q", faults)
	}

	var list struct {
		Metadata struct {
			Component struct{ Name, Version string }
		}
		Components []struct {
			Name, Version string
			Hashes        []struct{ Alg, Content string }
		}
	}
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	if c := list.Metadata.Component; c.Name != "github.com/pidgraft/pidgraft" || c.Version != version {
		t.Errorf("it is of %+v", c)
	}
	is := map[string]string{}
	for _, c := range list.Components {
		is[c.Name] = c.Version
		if c.Name != "std" && !slices.ContainsFunc(c.Hashes, func(h struct{ Alg, Content string }) bool { return h.Alg == "SHA-256" && len(h.Content) == 64 }) {
			t.Errorf("%s has no sum: %v", c.Name, c.Hashes)
		}
	}
	stage := filepath.Join(dist, "linux_"+runtime.GOARCH)
	want := modulesIn(t, filepath.Join(stage, "usr/bin/pidgraft-audit"))
	if len(want) < 10 || !maps.Equal(is, want) {
		t.Errorf("it has %v, in the program are %v", is, want)
	}
	for name, version := range modulesIn(t, filepath.Join(stage, "usr/bin/pidgraft")) {
		if is[name] != version {
			t.Errorf("it has %s %q, in the small program is %s", name, is[name], version)
		}
	}
	if in, err := os.ReadFile(filepath.Join(stage, "usr/share/doc/pidgraft/pidgraft.cdx.json")); err != nil || !bytes.Equal(in, text) {
		t.Errorf("that in the packages is another: %v", err)
	}
}
