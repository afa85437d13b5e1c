// SPDX-License-Identifier: Apache-2.0

package require

import (
	"errors"
	"strings"
	"testing"
)

func TestJudge(t *testing.T) {
	there, missing := func() error { return nil }, func() error { return errors.New("EINVAL") }
	holds, not := State{"lockdown", func() bool { return true }}, State{"lockdown", func() bool { return false }}
	for name, c := range map[string]struct {
		r    Requirement
		want verdict
	}{
		"there":                           {Requirement{Since: "6.2", Probe: there}, run},
		"backported":                      {Requirement{Since: "6.2", Probe: there}, run},
		"older":                           {Requirement{Since: "6.2", Probe: missing}, skip},
		"older by the first number":       {Requirement{Since: "7.0", Probe: missing}, skip},
		"that very release":               {Requirement{Since: "6.1", Probe: missing}, fail},
		"newer":                           {Requirement{Since: "5.17", Probe: missing}, fail},
		"always there":                    {Requirement{Probe: missing}, fail},
		"newer, but a state takes it":     {Requirement{Since: "5.17", Unless: []State{not, holds}, Probe: missing}, skip},
		"newer, and the state is another": {Requirement{Since: "5.17", Unless: []State{not}, Probe: missing}, fail},
		"no version":                      {Requirement{Since: "new", Probe: missing}, fail},
	} {
		got, why := c.r.judge("6.1.0-43-cloud-amd64")
		if got != c.want {
			t.Errorf("%s: verdict %d (%s), want %d", name, got, why, c.want)
		}
		if got == skip && !strings.HasPrefix(why, "needs ") {
			t.Errorf("%s: a skip says %q", name, why)
		}
	}
}

func TestStateOfGuestsIsTheKernels(t *testing.T) {
	policy := Elsewhere("a policy", func() bool { return true })
	t.Setenv(Guest, "")
	if !policy.Holds() {
		t.Error("outside of a guest a policy is no excuse")
	}
	t.Setenv(Guest, "1")
	if policy.Holds() {
		t.Error("in a guest there is no policy, and it excuses")
	}
}

func TestParseConfig(t *testing.T) {
	config, err := parseConfig(strings.NewReader("CONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\nCONFIG_D=\"y\"\nCONFIG_E=n\n"))
	if err != nil || !config["CONFIG_A"] || !config["CONFIG_B"] || len(config) != 2 {
		t.Errorf("%v, %v", config, err)
	}
}
