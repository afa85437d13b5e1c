// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	apps "k8s.io/api/apps/v1"
	"sigs.k8s.io/yaml"

	"github.com/pidgraft/pidgraft/audit/metric"
	"github.com/pidgraft/pidgraft/internal/leak"
	"github.com/pidgraft/pidgraft/internal/require"
)

func TestMain(m *testing.M) { os.Exit(leak.Checked(m).Run()) }

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

const capabilities = "CAP_BPF CAP_PERFMON"

// systemd understands the unit, and finds little that it could still take away.
func TestUnit(t *testing.T) {
	require.Feature(t, require.Program("systemd-analyze", "systemd"))
	text := read(t, "systemd/pidgraft-audit.service")
	for _, name := range []string{"AmbientCapabilities", "CapabilityBoundingSet"} {
		if !strings.Contains(text, "\n"+name+"="+capabilities+"\n") {
			t.Errorf("%s is not %s", name, capabilities)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// What is to be run must be there.
	unit := filepath.Join(t.TempDir(), "pidgraft-audit.service")
	if err := os.WriteFile(unit, []byte(strings.ReplaceAll(text, "/usr/bin/pidgraft ", self+" ")), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("systemd-analyze", "verify", "--man=no", unit).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("verify: %v\n%s", err, out)
	}
	const threshold = "20" // of 100, in tenths of its exposure level
	if out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold="+threshold, unit).CombinedOutput(); err != nil {
		t.Errorf("security: %v\n%s", err, out)
	} else {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		t.Log(lines[len(lines)-1])
	}
}

// Kubernetes knows every field of the DaemonSet, and it asks for no more than it
// has to.
func TestDaemonSet(t *testing.T) {
	require.Feature(t, require.Sources)
	var d apps.DaemonSet
	if err := yaml.UnmarshalStrict([]byte(read(t, "kubernetes/daemonset.yaml")), &d); err != nil {
		t.Fatal(err)
	}
	if d.Kind != "DaemonSet" || d.APIVersion != "apps/v1" {
		t.Errorf("it is a %s of %s", d.Kind, d.APIVersion)
	}
	pod := d.Spec.Template.Spec
	for k, v := range d.Spec.Selector.MatchLabels {
		if d.Spec.Template.Labels[k] != v {
			t.Errorf("its pods have no label %s=%s", k, v)
		}
	}
	if !pod.HostPID || pod.HostNetwork || pod.HostIPC || len(pod.Volumes) > 0 || *pod.AutomountServiceAccountToken || len(pod.Containers) != 1 {
		t.Errorf("it shares more of the node than its pid namespace: %+v", pod)
	}
	c := pod.Containers[0]
	s := c.SecurityContext
	if s.Privileged != nil || *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || len(s.Capabilities.Drop) != 1 || s.Capabilities.Drop[0] != "ALL" {
		t.Errorf("it may do more than it has to: %+v", s)
	}
	var added []string
	for _, c := range s.Capabilities.Add {
		added = append(added, "CAP_"+string(c))
	}
	if got := strings.Join(added, " "); got != capabilities {
		t.Errorf("its capabilities are %s", got)
	}
	for name, port := range map[string]string{"liveness": c.LivenessProbe.HTTPGet.Port.String(), "readiness": c.ReadinessProbe.HTTPGet.Port.String()} {
		if port != c.Ports[0].Name {
			t.Errorf("%s asks port %s", name, port)
		}
	}
}

func TestRules(t *testing.T) {
	require.Feature(t, require.Program("promtool", "prometheus"))
	if out, err := exec.Command("promtool", "check", "rules", "prometheus/rules.yaml").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// The dashboard is what Grafana's own schema says, down to the options of each kind
// of panel, and its queries are PromQL.
func TestDashboard(t *testing.T) {
	require.Feature(t, require.Program("promtool", "prometheus"))
	plugins.RegisterDefaultPlugins()
	text := read(t, "grafana/pidgraft.json")
	//lint:ignore SA1019 the version before 2, which every Grafana since 10 reads, is what is written
	var d dashboard.Dashboard
	// Without an error it may give a list of none.
	if err := d.UnmarshalJSONStrict([]byte(text)); err != nil && err.Error() != "" {
		t.Error(err)
	}
	if err := d.Validate(); err != nil {
		t.Error(err)
	}
	type rule struct {
		Record string `json:"record"`
		Expr   string `json:"expr"`
	}
	var rules []rule
	variables := strings.NewReplacer("$__range", "1h", "$instance", ".*", "$namespace", ".*")
	for _, expr := range queries(t, text) {
		rules = append(rules, rule{"query", variables.Replace(expr)})
	}
	if len(rules) < len(d.Panels) {
		t.Errorf("%d queries for %d panels", len(rules), len(d.Panels))
	}
	group := map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}}
	file := filepath.Join(t.TempDir(), "queries.yaml")
	if out, err := yaml.Marshal(group); err != nil {
		t.Fatal(err)
	} else if err := os.WriteFile(file, out, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("promtool", "check", "rules", "--lint=none", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// queries are all values of "expr" in a dashboard.
func queries(t *testing.T, text string) (all []string) {
	t.Helper()
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if expr, ok := v["expr"].(string); ok {
				all = append(all, expr)
			}
			for _, inner := range v {
				walk(inner)
			}
		case []any:
			for _, inner := range v {
				walk(inner)
			}
		}
	}
	var document any
	if err := json.Unmarshal([]byte(text), &document); err != nil {
		t.Fatal(err)
	}
	walk(document)
	return all
}

// Every metric that the rules and the dashboard name is there, and every metric
// of namespaces is on the dashboard.
func TestMetrics(t *testing.T) {
	require.Feature(t, require.Sources)
	known := map[string]bool{}
	for _, m := range metric.All() {
		known[m.Name] = true
	}
	word := regexp.MustCompile(`pidgraft_[a-z_]+`)
	var dashboard any
	text := read(t, "grafana/pidgraft.json")
	if err := json.Unmarshal([]byte(text), &dashboard); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{"grafana": text, "rules": read(t, "prometheus/rules.yaml")} {
		names := word.FindAllString(text, -1)
		if len(names) == 0 {
			t.Errorf("%s names no metric", path)
		}
		for _, name := range names {
			if !known[name] {
				t.Errorf("%s: there is no metric %s", path, name)
			}
		}
	}
	shown := word.FindAllString(text, -1)
	for _, m := range metric.All() {
		if slices.Contains(m.Labels, metric.Namespace) && !slices.Contains(shown, m.Name) {
			t.Errorf("the dashboard does not show %s", m.Name)
		}
	}
}
